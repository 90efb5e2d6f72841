"""Finishes the windows of entities at the time of a read."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from operator import itemgetter
from typing import Any

import numpy as np

from penstock.features.definition import Aggregation
from penstock.features.online_stores.backend import Row
from penstock.features.online_stores.columns import stored_column
from penstock.features.online_stores.coverage import BEGINNING, COVERED, coverage_of
from penstock.features.online_stores.events import Events, Ints, known_since
from penstock.features.online_stores.layout import FORMAT, Layout, nanoseconds
from penstock.features.online_stores.rows import NOT_FOUND, PRESENT, TAIL, Found, Values, damaged
from penstock.features.online_stores.tails import (
    HEADER,
    LEADING,
    UNREADABLE,
    events_of,
    over,
    run_values,
    shape_of,
    suffix_of,
)
from penstock.features.online_stores.values import codec_of

UNCOVERED = 2**63  # later than every window begins
ZERO = ("count", "sum", "count_distinct")  # of nothing; all other functions are null


class TailReader:
    """Reads some features of the rows of one view of aggregates.

    An entity without a row has no events: its counts and sums are 0, all else null, as offline. But
    windows that begin before what is covered, as the row under `beside` says it, may lack events:
    they are null, and `Found.unfilled`.
    """

    beside = (COVERED,)

    def __init__(self, layout: Layout, fields: Sequence[tuple[str, str]]) -> None:
        assert layout.definition is not None
        self._layout = layout
        self._view = layout.definition
        by_name = {a.name: a for a in self._view.aggregates}
        self._features = [by_name[name] for name, _ in fields]
        self._codecs = [codec_of(kind) for _, kind in fields]
        self._shifted = [p for p, a in enumerate(self._features) if a.offset]
        self._unknown: Values = (None,) * len(fields)
        self._shape = shape_of(layout)
        self._resolution = nanoseconds(self._view.resolution)
        windows = [None if a.window is None else nanoseconds(a.window) for a in self._features]
        self._windows = list(dict.fromkeys(windows))
        self._plan_suffixes(windows)

    def _plan_suffixes(self, windows: list[int | None]) -> None:
        """Where a read finds each feature, among the suffixes it needs at the begin of a window."""
        shape = self._shape
        asked = [suffix_of(a) for a in self._features]
        needed = [a for a in shape.numbers if suffix_of(a) in asked]
        runs = [a for a in shape.runs if suffix_of(a) in asked]
        letters = zip(shape.letters, shape.numbers, strict=True)
        self._record = struct.Struct("<" + "".join(x if a in needed else "8x" for x, a in letters))
        self._numbers = [
            (shape.numbers.index(a), shape.letters[shape.numbers.index(a)]) for a in needed
        ]
        first_run = LEADING + len(shape.inputs)
        self._runs = [first_run + shape.runs.index(a) for a in runs]
        self._offsets = struct.Struct(f"<{shape.sections + 1}I")
        self._no_numbers = [_of_nothing(a) for a in needed]
        self._no_runs = [_of_nothing(a) for a in runs]
        numbers, others = [suffix_of(a) for a in needed], [suffix_of(a) for a in runs]
        places = [
            self._windows.index(window) * len(numbers) + numbers.index(suffix)
            if suffix in numbers
            else (len(numbers) + others.index(suffix)) * len(self._windows)
            + self._windows.index(window)
            for window, suffix in zip(windows, asked, strict=True)
        ]
        self._pick = itemgetter(*places) if len(places) > 1 else lambda flat: (flat[places[0]],)
        self._empty: Values = tuple(map(_of_nothing, self._features))
        # How far back each feature reaches; none: to the beginning.
        self._reach = [
            None if a.window is None else nanoseconds(a.window + a.offset) for a in self._features
        ]
        spans = [reach for reach in self._reach if reach is not None]
        self._furthest = None if None in self._reach else max(spans, default=0)
        self._covered: tuple[Row, int] = (None, UNCOVERED)

    def read(self, rows: Sequence[Row], keys: Sequence[bytes | None], now: int) -> Found:
        """Reads rows, of which the last is that of what is covered.

        Raises `DataError` for a row that is damaged or of a newer version.
        """
        *rows, covered = rows
        since = self._covered[1] if covered == self._covered[0] else self._learn(covered)
        unfilled = () if since <= self._begin(now, self._furthest) else self._unfilled(since, now)
        if not unfilled:
            return self._read(rows, keys, now)
        if len(unfilled) == len(self._features):
            rows = [None] * len(rows)
        found = self._read(rows, keys, now)
        found.rows = [_without(values, unfilled) for values in found.rows]
        found.unfilled = unfilled
        return found

    def _learn(self, covered: Row) -> int:
        """Since when all is known."""
        about = coverage_of(self._layout, covered)
        since = about.since if about else None
        self._covered = (covered, UNCOVERED if since is None else since)
        return self._covered[1]

    def _begin(self, now: int, reach: int | None) -> int:
        """The moment from which on all must be known."""
        return BEGINNING if reach is None else self._edge(now, reach)

    def _unfilled(self, since: int, now: int) -> Sequence[int]:
        """The features whose windows begin before that moment."""
        return [p for p, reach in enumerate(self._reach) if self._begin(now, reach) < since]

    def _read(self, rows: Sequence[Row], keys: Sequence[bytes | None], now: int) -> Found:
        edges = [None if window is None else self._edge(now, window) for window in self._windows]
        found = Found([], [], [])
        slow: list[int] = []
        for place, row in enumerate(rows):
            state, when = NOT_FOUND, 0
            if row is None:
                values = self._empty
            else:
                try:
                    form, kind, _, schema, known, count, clean = HEADER.unpack_from(row)
                    if form != FORMAT or kind != TAIL:
                        raise ValueError("its format is unknown")
                    values = self._empty
                    if schema != self._layout.schema:
                        values = self._unknown  # of another definition, soon to be replaced
                    elif known > now:
                        slow.append(place)
                    elif count:
                        state = PRESENT
                        when, values = self._values(row, count, clean, edges)
                except UNREADABLE as error:
                    raise damaged(self._layout.space, keys[place], row, error) from error
            found.rows.append(values)
            found.presence.append(state)
            found.happened.append(when)
        if slow:
            self._compute(found, slow, rows, keys, now)
        if self._shifted:
            self._compute_shifted(found, set(slow), rows, keys, now)
        return found

    def _values(
        self, row: bytes, count: int, clean: int, edges: Sequence[int | None]
    ) -> tuple[int, Values]:
        """When the last event happened, and the features, of which all events are known."""
        places = self._offsets.unpack_from(row, HEADER.size)
        if places[-1] != len(row):
            raise ValueError(f"it has {len(row)} bytes of {places[-1]}")
        held = memoryview(row)
        happened = held[places[0] : places[1]].cast("q")
        record, records = self._record, places[5]
        suffixes: list[Any] = []
        firsts = []
        for edge in edges:
            first = 0 if edge is None else bisect_right(happened, edge)
            if first < clean:
                suffixes += record.unpack_from(row, records + first * record.size)
            elif first < count:
                numbers = record.unpack_from(row, records + first * record.size)
                suffixes += self._nulled(numbers, first, row, places)
            else:
                suffixes += self._no_numbers
            firsts.append(first)
        for section, nothing in zip(self._runs, self._no_runs, strict=True):
            runs = held[places[section] : places[section + 1]]
            suffixes += run_values(runs, firsts, count, nothing)
        return happened[-1], self._pick(suffixes)

    def _nulled(
        self, numbers: Sequence[Any], first: int, row: bytes, places: Sequence[int]
    ) -> list[Any]:
        """The numbers of a record, with null for those that are."""
        limits = memoryview(row)[places[4] : places[5]].cast("I")
        return [
            None if (number != number if letter == "d" else first >= limits[place]) else number
            for number, (place, letter) in zip(numbers, self._numbers, strict=True)
        ]

    def _edge(self, at: int, window: int) -> int:
        """The last moment before a window."""
        edge = at - window
        return edge - edge % self._resolution if self._resolution else edge

    def _compute_shifted(
        self,
        found: Found,
        done: set[int],
        rows: Sequence[Row],
        keys: Sequence[bytes | None],
        now: int,
    ) -> None:
        """Windows with an offset, of the rows that are not done yet."""
        there = [p for p, s in enumerate(found.presence) if s == PRESENT and p not in done]
        before = [found.rows[place] for place in there]
        if not there:
            return
        self._compute(found, there, rows, keys, now, self._shifted)
        for place, fast in zip(there, before, strict=True):
            computed = dict(zip(self._shifted, found.rows[place], strict=True))
            found.rows[place] = tuple(computed.get(p, v) for p, v in enumerate(fast))

    def _compute(
        self,
        found: Found,
        places: Sequence[int],
        rows: Sequence[Row],
        keys: Sequence[bytes | None],
        now: int,
        chosen: Sequence[int] | None = None,
    ) -> None:
        """Some features of some rows, from the events that can be seen now."""
        events = self._events([rows[place] for place in places], [keys[p] for p in places])
        seen = events.take(known_since(events) <= now)
        bounds = seen.bounds(len(places))
        columns = []
        for place in range(len(self._features)) if chosen is None else chosen:
            feature, codec = self._features[place], self._codecs[place]
            left, right = self._ranges(feature, seen, bounds, now)
            values = over(seen, feature, left, right)
            columns.append(stored_column(values, codec, f"feature {feature.name!r}"))
        for number, values in zip(range(len(places)), zip(*columns, strict=True), strict=True):
            place, last = places[number], bounds[number + 1]
            there = last > bounds[number]
            found.rows[place] = values
            found.presence[place] = PRESENT if there else NOT_FOUND
            found.happened[place] = int(seen.happened[last - 1]) if there else 0

    def _events(self, rows: list[Row], keys: list[bytes | None]) -> Events:
        try:
            return events_of(rows, self._view.inputs)
        except UNREADABLE:
            for row, key in zip(rows, keys, strict=True):
                try:
                    events_of([row], self._view.inputs)
                except UNREADABLE as error:
                    raise damaged(self._layout.space, key, row or b"", error) from error
            raise

    def _ranges(
        self, feature: Aggregation, seen: Events, bounds: Ints, now: int
    ) -> tuple[Ints, Ints]:
        """The events of a feature's window, for each entity."""
        end = now - nanoseconds(feature.offset)
        edge = None
        if feature.window is not None:
            edge = self._edge(end, nanoseconds(feature.window))
        left, right = bounds[:-1].copy(), bounds[1:].copy()
        for number, (a, b) in enumerate(pairwise(bounds)):
            happened = seen.happened[a:b]
            right[number] = a + np.searchsorted(happened, end, "right")
            if edge is not None:
                left[number] = a + np.searchsorted(happened, edge, "right")
        return left, np.maximum(left, right)


def _without(values: Values, places: Sequence[int]) -> Values:
    return tuple(None if place in places else value for place, value in enumerate(values))


def _of_nothing(feature: Aggregation) -> Any:
    """A feature of an entity without events."""
    zero = 0.0 if feature.type == "double" else 0
    return zero if feature.function in ZERO else None
