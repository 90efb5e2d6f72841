"""What a feature is, in the words of its definition and as slowly as they read.

Every store and engine is compared with this. Times are integers: nanoseconds since 1970, UTC.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from fractions import Fraction
from typing import Any

from penstock.features.definition import Aggregation, ViewDefinition


@dataclass(frozen=True)
class Row:
    """One row of a source, in file order."""

    key: tuple[Any, ...]
    happened: int | None
    created: int | None = None
    values: dict[str, Any] = field(default_factory=dict)


def nanoseconds(span: timedelta) -> int:
    return span // timedelta(microseconds=1) * 1_000


def known(rows: Sequence[Row], key: tuple[Any, ...], t: int) -> list[Row]:
    """The rows of an entity that exist at t, the latest last; equal ones in file order."""
    if any(part is None for part in key):
        return []
    there = [
        row
        for row in rows
        if row.key == key
        and row.happened is not None
        and row.happened <= t
        and (row.created is None or row.created <= t)
    ]
    earliest = -(2**63)
    return sorted(there, key=lambda r: (r.happened, earliest if r.created is None else r.created))


def latest(view: ViewDefinition, rows: Sequence[Row], key: tuple[Any, ...], t: int) -> Row | None:
    """The row whose values count at t."""
    there = known(rows, key, t)
    if not there or (view.ttl and t - there[-1].happened > nanoseconds(view.ttl)):
        return None
    return there[-1]


def aggregate(
    view: ViewDefinition, feature: Aggregation, rows: Sequence[Row], key: tuple[Any, ...], t: int
) -> Any:
    """One aggregated feature at t."""
    right = t - nanoseconds(feature.offset)
    there = [row for row in known(rows, key, t) if row.happened <= right]
    if feature.window is not None:
        left = right - nanoseconds(feature.window)
        if view.resolution:
            left -= left % nanoseconds(view.resolution)
        there = [row for row in there if row.happened > left]
    if not feature.column:
        return len(there)
    return function_of(feature, [row.values[feature.column] for row in there])


def function_of(feature: Aggregation, column: Sequence[Any]) -> Any:
    values = [v for v in column if v is not None and not (isinstance(v, float) and math.isnan(v))]
    match feature.function:
        case "count":
            return len(values)
        case "sum":
            return rounded_sum(values) if feature.type == "double" else sum(map(int, values))
        case "count_distinct":
            return len(set(values))
    if not values:
        return None
    match feature.function:
        case "mean":
            total = rounded_sum(values)
            return None if total is None else total / len(values)
        case "std":
            finite = all(math.isfinite(v) for v in values)
            return statistics.stdev(map(Fraction, values)) if len(values) > 1 and finite else None
        case "min":
            return min(values)
        case "max":
            return max(values)
        case "last":
            return values[-1]
        case "first":
            return values[0]
        case "last_distinct":
            return list(dict.fromkeys(reversed(values)))[: feature.n]
    raise AssertionError(feature.function)


def rounded_sum(values: Sequence[float]) -> float | None:
    """The exact sum, rounded once: so it does not depend on the order. inf - inf is missing."""
    infinite = {v for v in values if isinstance(v, float) and math.isinf(v)}
    if infinite:
        return infinite.pop() if len(infinite) == 1 else None
    exact = sum(map(Fraction, values), Fraction(0))
    try:
        return float(exact)
    except OverflowError:
        return math.inf if exact > 0 else -math.inf
