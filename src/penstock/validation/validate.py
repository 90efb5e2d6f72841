"""Runs suites on a dataset and reports: in the terminal, as a page, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.errors import DataError, ProjectError
from penstock.records import Check, DataReport, DatasetVersion, to_json
from penstock.validation.checks import SAMPLE, Outcome, check_of
from penstock.validation.page import page
from penstock.validation.parquet import read_frame
from penstock.validation.suites import Suite, bind

if TYPE_CHECKING:
    import pandas as pd

# SUMMARY has the counts and the first offenders; COMPLETE would list every one of millions.
RESULT_FORMAT = {"result_format": "SUMMARY", "partial_unexpected_count": SAMPLE}


def validate(
    dataset: DatasetVersion, parquet: Path, suites: Sequence[Suite], *, key: Sequence[str] = ()
) -> DataReport:
    """Every expectation of every suite, judged on the dataset's file.

    What fails is in the report, not raised; so is an expectation that could not be evaluated.
    `key` names columns to show with offending rows. Raises `DataError` where there are no rows,
    since most expectations hold for none, and `ProjectError` where a suite lacks a parameter.
    """
    frame = read_frame(parquet)
    if frame.empty:
        raise DataError(
            f"dataset {dataset.name!r} has no rows, so no expectation can be judged on it",
            hint="see what extract() gave",
        )
    batch = _batch(frame)
    checks = tuple(check for suite in suites for check in _judge(suite, batch, frame, key))
    return DataReport(
        subject=dataset.digest, checks=checks, suites=tuple(suite.name for suite in suites)
    )


def _batch(frame: pd.DataFrame) -> Any:
    """The frame in a context that lives in memory, writes nothing and tells nobody.

    By default Great Expectations 1.24.1 draws progress bars, and makes a temporary folder to
    learn a path for documents that nobody asked for.
    """
    import great_expectations as gx
    from great_expectations.data_context.types import base

    in_memory = base.InMemoryStoreBackendDefaults(init_temp_docs_sites=False)
    config = base.DataContextConfig(
        store_backend_defaults=in_memory,
        analytics_enabled=False,
        progress_bars=base.ProgressBarsConfig(globally=False, metric_calculations=False),
    )
    context = gx.get_context(mode="ephemeral", project_config=config)
    asset = context.data_sources.add_pandas("penstock").add_dataframe_asset("dataset")
    return asset.add_batch_definition_whole_dataframe("rows").get_batch({"dataframe": frame})


def _judge(suite: Suite, batch: Any, frame: pd.DataFrame, key: Sequence[str]) -> Iterator[Check]:
    """One expectation at a time: given a whole suite, Great Expectations 1.24.1 is little faster,
    and returns the results in another order."""
    for expectation, bound in zip(suite.expectations, bind(suite), strict=True):
        outcome = _evaluate(bound, batch, suite)
        yield check_of(expectation, outcome, frame, suite=suite.name, key=key)


def _evaluate(expectation: Any, batch: Any, suite: Suite) -> Outcome:
    from great_expectations.exceptions import SuiteParameterError

    try:
        answer = batch.validate(
            expectation,
            result_format=RESULT_FORMAT,
            expectation_parameters=dict(suite.parameters),
        )
    except SuiteParameterError as error:
        raise ProjectError(
            f"{suite.path}: {expectation.expectation_type}: {error}",
            hint='give its value under "suite_parameters" in the file, or in its place',
        ) from error
    return Outcome(bool(answer.success), answer.result, _raised(answer.exception_info))


def _raised(info: dict[str, Any]) -> str:
    """The message of the exception inside an answer, which is nested by metric if one raised."""
    parts = [info] if "raised_exception" in info else info.values()
    messages = [str(part["exception_message"]) for part in parts if part["raised_exception"]]
    return messages[0] if messages else ""


def render(report: DataReport) -> str:
    """The verdict and the failed checks, as plain text for terminal and log."""
    total, failed = len(report.checks), len(report.failures)
    suites = f"{'suite' if len(report.suites) == 1 else 'suites'} {', '.join(report.suites)}"
    if report.passed:
        return f"data validation passed: {total} of {total} expectations hold ({suites})"
    head = f"data validation failed: {failed} of {total} expectations do not hold ({suites})"
    return "\n".join([head, *map(_render_check, report.failures)])


def _render_check(check: Check) -> str:
    rows = [f"      {row}" for row in check.sample]
    return "\n".join([f"  ✗ {check.name}", f"    {check.reason}", *rows])


def write_report(report: DataReport, folder: Path) -> Path:
    """Writes `data_report.html`, which needs nothing but itself, and `data_report.json`, which
    `records.from_json` reads. Gives the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    stored = json.dumps(to_json(report), indent=2, ensure_ascii=False)
    (folder / "data_report.json").write_text(stored + "\n", encoding="utf-8")
    path = folder / "data_report.html"
    path.write_text(page(report), encoding="utf-8")
    return path
