"""Step 1: the project's extract() → a dataset version."""

from __future__ import annotations

from penstock.errors import DataError, ProjectError
from penstock.pipeline.context import StepContext
from penstock.pipeline.inputs import matching
from penstock.records import DatasetVersion


def extract_data(context: StepContext) -> DatasetVersion:
    from penstock.data.extract import version_dataset

    project = context.project
    for source in project.settings.data.sources:
        if not matching(project, source):
            raise DataError(
                f"[data] sources names {source!r}, and no such file is there",
                hint="put the file there, or correct [data] sources",
            )
    extract = context.user_function("pipeline", "extract")
    if extract is None:
        raise ProjectError(
            f"{project.root / 'pipeline.py'} has no extract()",
            hint="write `def extract(context)` that returns a data frame, an Arrow table or a path",
        )
    context.progress("extracting")
    value = extract(context.for_user("extract"))
    context.progress("writing and versioning")
    return version_dataset(value, project, context.as_of)
