"""Aggregates over time windows, for every row that is asked about."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from penstock.features.definition import Aggregation, ViewDefinition, arrow_type
from penstock.features.kernels.keys import comparable_keys, nanoseconds
from penstock.features.kernels.latest import timeline
from penstock.features.kernels.ranges import over_ranges
from penstock.features.kernels.timeline import Ranges

Ints = NDArray[np.int64]


def aggregates_at(view: ViewDefinition, facts: pa.Table, asked: pa.Table, at: str) -> pa.Table:
    """One column for each aggregate of the view, one row for each row asked, in its order.

    `facts` has the view's keys, times and inputs; `asked` the keys and the time `at`. Times may
    have any unit; those without a zone are UTC. A null key or time finds nothing.
    """
    keys = {column.name: column.name for column in view.keys}
    left, right, _ = comparable_keys(asked, facts, keys)
    times, no_time = nanoseconds(asked, at)
    codes = np.where(no_time, -1, left)
    line = timeline(facts, right, view.source.timestamp, view.source.created)
    # Sorted questions find their answers in memory that was just read.
    order = np.lexsort((times, codes))
    codes, times = codes[order], times[order]
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    windows: dict[tuple[int | None, int], Ranges] = {}
    columns = _Columns(facts)
    made: dict[str, pa.Array] = {}
    for feature in view.aggregates:
        span = (_span(feature.window), _span(feature.offset) or 0)
        if span not in windows:
            windows[span] = line.visible(codes, times, *span, _span(view.resolution) or 0)
        found = _aggregate(feature, columns, windows[span])
        made[feature.name] = found.take(pa.array(place))
    return pa.table(made)


def _aggregate(feature: Aggregation, columns: _Columns, ranges: Ranges) -> pa.Array:
    column = columns.ordered(feature.column, ranges.rows) if feature.column else None
    kind = arrow_type(feature.type)
    return over_ranges(feature.function, column, ranges.left, ranges.right, kind, feature.n)


class _Columns:
    """The columns of the facts in the order of their windows, each put in order once."""

    def __init__(self, facts: pa.Table) -> None:
        self._facts = facts
        self._ordered: dict[tuple[str, int], tuple[Ints, pa.Array]] = {}

    def ordered(self, name: str, rows: Ints) -> pa.Array:
        kept = self._ordered.get((name, id(rows)))
        if kept is None:  # the rows are kept too, so that their id stays theirs
            kept = (rows, self._facts[name].combine_chunks().take(pa.array(rows)))
            self._ordered[name, id(rows)] = kept
        return kept[1]


def _span(value: timedelta | None) -> int | None:
    """Nanoseconds."""
    return None if value is None else value // timedelta(microseconds=1) * 1_000
