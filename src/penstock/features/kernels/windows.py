"""Aggregates over time windows, for every row that is asked about."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Lock

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from penstock.features.definition import Aggregation, ViewDefinition, arrow_type
from penstock.features.kernels.keys import comparable_keys, nanoseconds
from penstock.features.kernels.latest import timeline
from penstock.features.kernels.ranges import Series, over_ranges
from penstock.features.kernels.timeline import Ranges

Ints = NDArray[np.int64]

LARGE = 100_000  # rows from which a second processor pays


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
    spans = {_window(feature): None for feature in view.aggregates}
    coarse = _span(view.resolution) or 0
    ranges = {span: line.visible(codes, times, *span, coarse) for span in spans}
    columns = _Columns(facts)

    def made(feature: Aggregation) -> pa.Array:
        found = _aggregate(feature, columns, ranges[_window(feature)])
        return found.take(pa.array(place))

    # NumPy and Arrow work on large arrays without Python's lock.
    with ThreadPoolExecutor(os.cpu_count() if len(order) > LARGE else 1) as pool:
        arrays = list(pool.map(made, view.aggregates))
    return pa.table({a.name: array for a, array in zip(view.aggregates, arrays, strict=True)})


def _aggregate(feature: Aggregation, columns: _Columns, ranges: Ranges) -> pa.Array:
    kind = arrow_type(feature.type)
    if not feature.column:
        return over_ranges("count", None, ranges.left, ranges.right, kind)
    series = columns.ordered(feature.column, ranges.rows)
    return series.over(feature.function, ranges.left, ranges.right, kind, feature.n)


class _Columns:
    """The columns of the facts in the order of their windows, each put in order once."""

    def __init__(self, facts: pa.Table) -> None:
        self._facts = facts
        self._ordered: dict[tuple[str, int], tuple[Ints, Series]] = {}
        self._lock = Lock()

    def ordered(self, name: str, rows: Ints) -> Series:
        with self._lock:
            kept = self._ordered.get((name, id(rows)))
            if kept is None:  # the rows are kept too, so that their id stays theirs
                column = self._facts[name].combine_chunks().take(pa.array(rows))
                kept = self._ordered[name, id(rows)] = (rows, Series(column))
            return kept[1]


def _window(feature: Aggregation) -> tuple[int | None, int]:
    return _span(feature.window), _span(feature.offset) or 0


def _span(value: timedelta | None) -> int | None:
    """Nanoseconds."""
    return None if value is None else value // timedelta(microseconds=1) * 1_000
