"""Steps that a project adds to its plan."""

from __future__ import annotations

# It fails once where there is a file `trouble`, and may be tried again.
COUNT_ROWS = """
from penstock import step
from penstock.records import DatasetVersion


@step(after="validate_data", before="train_model")
def count_rows(context, dataset: DatasetVersion):
    trouble = context.project / "trouble"
    if trouble.exists():
        trouble.unlink()
        raise ConnectionError("the counter does not answer")
    print("counted", dataset.rows, "rows")
"""
# One for each of `survey: {regions: …}` in params.yaml.
SURVEY = """

@step(after="extract_data", map="regions")
def survey(context, dataset: DatasetVersion):
    print("surveyed", context.item)
"""
