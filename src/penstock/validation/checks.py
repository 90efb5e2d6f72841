"""From one result of Great Expectations to one check of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from penstock.records import Check
from penstock.validation import wording
from penstock.validation.suites import Expectation

if TYPE_CHECKING:
    import pandas as pd

SAMPLE = 5  # offending rows or values shown


@dataclass(frozen=True)
class Outcome:
    """What Great Expectations said about one expectation, free of its classes."""

    success: bool
    result: Mapping[str, Any]  # of its format SUMMARY
    error: str = ""  # why it could not be evaluated


def check_of(
    expectation: Expectation,
    outcome: Outcome,
    frame: pd.DataFrame,
    *,
    suite: str,
    key: Sequence[str] = (),
) -> Check:
    """The outcome in words. `key` names columns that help to find an offending row."""
    kind, kwargs = expectation.type, expectation.kwargs
    columns = wording.columns_of(kind, kwargs)
    absent = [column for column in columns if column not in frame.columns]
    seen = "no such column" if absent else wording.observed(kind, outcome.result)
    by_row = "element_count" in outcome.result
    return Check(
        name=wording.title(kind, kwargs),
        passed=outcome.success,
        observed="not evaluated" if outcome.error and not absent else seen,
        expected=wording.expected(kind, kwargs),
        reason="" if outcome.success else _reason(expectation, outcome, frame, absent, suite),
        failed_rows=outcome.result.get("unexpected_count") if by_row else None,
        sample=_sample(outcome.result, frame, list(dict.fromkeys([*columns, *key]))),
    )


def _reason(
    expectation: Expectation,
    outcome: Outcome,
    frame: pd.DataFrame,
    absent: Sequence[str],
    suite: str,
) -> str:
    if absent:
        return f"column {absent[0]!r} is not in the data; it has {wording.listing(frame.columns)}"
    if outcome.error:
        return f"Great Expectations could not evaluate it: {_explained(outcome.error)}"
    seen = wording.observed(expectation.type, outcome.result)
    wanted = wording.expected(expectation.type, expectation.kwargs)
    notes = f" ({expectation.notes})" if expectation.notes else ""
    return f"observed {seen}; suite {suite!r} expects {wanted}{notes}"


def _explained(error: str) -> str:
    """Great Expectations' own words, and a way out where they do not show one.

    1.24.1 reads a bound of "2025-01-01" as a date and one without an offset as naive, and pandas
    compares neither with timestamps that have a time zone.
    """
    if "datetime64" in error or "offset-naive" in error or "Timestamp with datetime.date" in error:
        return f"{error} (write the bound as a time, with an offset if the column has a time zone)"
    return error


def _sample(
    result: Mapping[str, Any], frame: pd.DataFrame, columns: Sequence[str]
) -> tuple[str, ...]:
    """Some offending rows, each with its position in the file; else some offending values."""
    positions = result.get("partial_unexpected_index_list")
    if positions is None:
        values = result.get("partial_unexpected_list") or ()
        return tuple(wording.show(value) for value in values[:SAMPLE])
    shown = [column for column in columns if column in frame.columns]
    return tuple(_row(frame, position, shown) for position in positions[:SAMPLE])


def _row(frame: pd.DataFrame, position: int, columns: Sequence[str]) -> str:
    """ "row 73: amount_usd=null, customer_id=12" """
    values = (f"{column}={wording.show(frame[column].iloc[position])}" for column in columns)
    return f"row {position}: {', '.join(values)}"
