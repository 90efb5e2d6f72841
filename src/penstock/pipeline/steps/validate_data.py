"""Step 2: Great Expectations suites on the dataset → a report, which blocks if it fails."""

from __future__ import annotations

from penstock.pipeline.context import StepContext
from penstock.records import DataReport, DatasetVersion


def validate_data(context: StepContext, dataset: DatasetVersion) -> DataReport:
    from penstock.validation.suites import read_suites
    from penstock.validation.validate import render, validate, write_report

    project = context.project
    suites = read_suites(project.root / "expectations")
    context.progress(f"validating {dataset.rows:,} rows")
    report = validate(
        dataset, project.absolute(dataset.path), suites, key=project.settings.data.key
    )
    write_report(report, project.folder / "runs" / context.run_id / "validation")
    print(render(report))
    return report
