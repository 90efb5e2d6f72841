"""Drafts a suite from data: what holds today, with room for tomorrow, and why it is expected.

The draft passes on the data it was drafted from. Its author should read it: a range that today's
data happens to keep is a guess until somebody who knows the data agrees.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

from penstock.validation.profile import ColumnProfile, Numbers, profile

# Numbers that name things have no range or mean worth keeping to.
IDENTIFIER = re.compile(r"(^|_)(id|key|uuid)$", re.IGNORECASE)
FEWEST_ROWS = 20  # to call a column unique
FEWEST_ROWS_FOR_OUTLIERS = 1000  # below, the outer quantiles are single rows
OUTLIERS_ALLOWED = 0.01

Expectation = dict[str, Any]


def suggest(parquet: Path, name: str) -> dict[str, Any]:
    """A suite in the JSON that Great Expectations 1.x writes. `penstock validate --suggest` puts
    it into `expectations/`. Raises `DataError` if the file is not Parquet."""
    return draft(profile(parquet), name)


def draft(columns: Sequence[ColumnProfile], name: str) -> dict[str, Any]:
    """The suite that follows from a profile."""
    expectations = [*_table(columns)]
    for column in columns:
        if column.present:
            expectations += _column(column)
    return {
        "name": name,
        "id": None,
        "expectations": expectations,
        "meta": {"great_expectations_version": version("great-expectations")},
        "notes": None,
    }


def _expect(kind: str, notes: str, **kwargs: Any) -> Expectation:
    return {
        "type": f"expect_{kind}",
        "kwargs": kwargs,
        "meta": {"notes": notes},
        "severity": "critical",
    }


def _table(columns: Sequence[ColumnProfile]) -> Iterator[Expectation]:
    rows = columns[0].rows if columns else 0
    yield _expect(
        "table_columns_to_match_set",
        "later steps rely on these columns; a new one should be a decision",
        column_set=[column.name for column in columns],
        exact_match=True,
    )
    yield _expect(
        "table_row_count_to_be_between",
        f"{rows:,} rows when drafted; half or twice as many points to a broken extract",
        min_value=rows // 2,
        max_value=rows * 2,
    )


def _column(column: ColumnProfile) -> Iterator[Expectation]:
    yield from _nulls(column)
    yield from _type(column)
    if column.unique and column.present >= FEWEST_ROWS:
        yield _expect(
            "column_values_to_be_unique",
            f"all {column.present:,} values differed when drafted",
            column=column.name,
        )
    if column.values and len(column.values) * 10 <= column.present:
        yield _expect(
            "column_values_to_be_in_set",
            f"only these {len(column.values)} occurred when drafted",
            column=column.name,
            value_set=list(column.values),
        )
    elif column.numbers and _measures(column):
        yield from _range(column, column.numbers)
        yield from _mean(column, column.numbers)


def _nulls(column: ColumnProfile) -> Iterator[Expectation]:
    kind = "column_values_to_not_be_null"
    if column.present == column.rows:
        yield _expect(kind, "no row lacked it when drafted", column=column.name)
        return
    present = column.present / column.rows
    mostly = math.floor(100 * present - 1) / 100  # at least one percent of room
    if mostly > 0:
        notes = f"{present:.1%} of rows had it when drafted"
        yield _expect(kind, notes, column=column.name, mostly=mostly)


def _type(column: ColumnProfile) -> Iterator[Expectation]:
    if column.batch_type:
        yield _expect(
            "column_values_to_be_of_type",
            "the type of the column in a pandas batch when drafted",
            column=column.name,
            type_=column.batch_type,
        )


def _measures(column: ColumnProfile) -> bool:
    """Whether the numbers measure something, rather than name it."""
    numbers = column.numbers
    finite = numbers is not None and math.isfinite(numbers.minimum + numbers.maximum)
    return finite and not column.unique and not IDENTIFIER.search(column.name)


def _range(column: ColumnProfile, numbers: Numbers) -> Iterator[Expectation]:
    """From half the usual spread below the usual values to half of it above. Rows may lie
    outside, if some did."""
    lowest, _, _, highest = numbers.quantiles
    if column.present < FEWEST_ROWS_FOR_OUTLIERS:
        lowest, highest = numbers.minimum, numbers.maximum
    room = (highest - lowest) / 2
    low = _outward(lowest - room, up=False)
    high = _outward(highest + room, up=True)
    if numbers.minimum >= 0:
        low = max(low, 0)
    bounds: dict[str, Any] = {"min_value": low, "max_value": high}
    if numbers.minimum < low or numbers.maximum > high:
        bounds["mostly"] = 1 - OUTLIERS_ALLOWED
    yield _expect(
        "column_values_to_be_between",
        f"values lay between {numbers.minimum:.6g} and {numbers.maximum:.6g} when drafted, "
        f"99.8 % of them between {lowest:.6g} and {highest:.6g}",
        column=column.name,
        **bounds,
    )


def _mean(column: ColumnProfile, numbers: Numbers) -> Iterator[Expectation]:
    """Within a quarter of the mean or of the interquartile range, whichever is wider."""
    _, lower_quartile, upper_quartile, _ = numbers.quantiles
    room = max(abs(numbers.mean), upper_quartile - lower_quartile) / 4
    if room > 0:
        yield _expect(
            "column_mean_to_be_between",
            f"the mean was {numbers.mean:.6g} when drafted; a shift of the whole distribution "
            "shows here though each value is in range",
            column=column.name,
            min_value=_outward(numbers.mean - room, up=False),
            max_value=_outward(numbers.mean + room, up=True),
        )


def _outward(value: float, *, up: bool) -> float:
    """Rounded to two digits, away from the values that the bound should hold.

    >>> _outward(439.2, up=True), _outward(-0.123, up=False)
    (440, -0.13)
    """
    exact = Decimal(value)
    step = Decimal(1).scaleb(exact.adjusted() - 1)
    rounded = exact.quantize(step, rounding=ROUND_CEILING if up else ROUND_FLOOR)
    return int(rounded) if step >= 1 else float(rounded)
