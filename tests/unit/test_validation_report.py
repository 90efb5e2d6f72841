"""From an outcome to a check, and from checks to text, page and JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from penstock.records import Check, DataReport, from_json
from penstock.validation.checks import Outcome, check_of
from penstock.validation.page import page
from penstock.validation.suites import Expectation
from penstock.validation.validate import render, write_report

FRAME = pd.DataFrame({"order_id": [7, 8, 9], "amount": [1.5, None, -2.0]})
HOSTILE = "<script>alert('x')</script>"


def check(kind: str, kwargs: dict[str, Any], outcome: Outcome, notes: str = "") -> Check:
    expectation = Expectation(kind, kwargs, notes)
    return check_of(expectation, outcome, FRAME, suite="events", key=("order_id",))


def report(*checks: Check) -> DataReport:
    return DataReport(subject="d" * 64, checks=checks, suites=("events",))


NULL_AMOUNT = check(
    "expect_column_values_to_not_be_null",
    {"column": "amount"},
    Outcome(
        False,
        {"element_count": 3, "unexpected_count": 1, "partial_unexpected_index_list": [1]},
    ),
    notes="an order has a price",
)
PASSED = Check(name="expect_column_to_exist(amount)", passed=True, observed="", expected="")


def test_a_failure_says_what_was_seen_wanted_and_why_and_shows_the_row() -> None:
    assert (
        Check(
            name="expect_column_values_to_not_be_null(amount)",
            passed=False,
            observed="1 of 3 rows null (33.3 %)",
            expected="no nulls",
            reason="observed 1 of 3 rows null (33.3 %); suite 'events' expects no nulls "
            "(an order has a price)",
            failed_rows=1,
            sample=("row 1: amount=null, order_id=8",),
        )
        == NULL_AMOUNT
    )


def test_a_missing_column_is_said_with_those_there_are() -> None:
    raised = Outcome(False, {}, 'Error: The column "amnt" in BatchData does not exist.')
    found = check("expect_column_mean_to_be_between", {"column": "amnt", "min_value": 0}, raised)
    assert found.reason == "column 'amnt' is not in the data; it has order_id, amount"
    assert found.observed == "no such column"
    assert found.sample == ()


def test_an_error_inside_great_expectations_is_a_failure_that_says_so() -> None:
    raised = Outcome(False, {}, "missing ), unterminated subpattern at position 0")
    found = check("expect_column_values_to_match_regex", {"column": "amount", "regex": "("}, raised)
    assert not found.passed
    assert found.observed == "not evaluated"
    assert "unterminated subpattern" in found.reason


def test_a_naive_bound_on_zoned_times_comes_with_a_way_out() -> None:
    raised = Outcome(False, {}, "Invalid comparison between dtype=datetime64[us, UTC] and date")
    kwargs = {"column": "amount", "min_value": "2025-01-01"}
    found = check("expect_column_values_to_be_between", kwargs, raised)
    assert "write the bound as a time, with an offset" in found.reason


def test_values_are_shown_where_there_are_no_rows_to_point_at() -> None:
    outcome = Outcome(False, {"observed_value": None, "partial_unexpected_list": [1.5, -2.0]})
    kwargs = {"column": "amount", "value_set": []}
    found = check("expect_column_distinct_values_to_be_in_set", kwargs, outcome)
    assert found.sample == ("1.5", "-2")
    assert found.failed_rows is None


def test_the_text_has_failures_only() -> None:
    assert render(report(PASSED, NULL_AMOUNT)).splitlines() == [
        "data validation failed: 1 of 2 expectations do not hold (suite events)",
        "  ✗ expect_column_values_to_not_be_null(amount)",
        f"    {NULL_AMOUNT.reason}",
        "      row 1: amount=null, order_id=8",
    ]
    assert render(report(PASSED)) == (
        "data validation passed: 1 of 1 expectations hold (suite events)"
    )


def test_the_page_has_failures_first_and_asks_for_nothing_from_outside() -> None:
    html = page(report(PASSED, NULL_AMOUNT))
    assert html.index(NULL_AMOUNT.name) < html.index(PASSED.name)
    assert "row 1: amount=null" in html
    for outside in ("http:", "https:", "src=", "url(", "<link", "@import"):
        assert outside not in html


@pytest.mark.parametrize("field", ["name", "observed", "expected", "reason", "sample"])
def test_text_from_the_data_stays_text_on_the_page(field: str) -> None:
    value = (HOSTILE,) if field == "sample" else HOSTILE
    html = page(report(NULL_AMOUNT.model_copy(update={field: value})))
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_the_json_is_the_record(tmp_path: Path) -> None:
    written = report(PASSED, NULL_AMOUNT)
    path = write_report(written, tmp_path / "runs" / "1")
    assert path.read_text().startswith("<!doctype html>")
    assert from_json(json.loads((path.parent / "data_report.json").read_text())) == written
