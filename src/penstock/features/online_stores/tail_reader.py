"""Finishes the windows of entities at the time of a read."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from penstock.features.definition import Aggregation
from penstock.features.online_stores.backend import Row
from penstock.features.online_stores.columns import stored_column
from penstock.features.online_stores.events import Events, Ints, known_since
from penstock.features.online_stores.layout import FORMAT, Layout, nanoseconds
from penstock.features.online_stores.rows import NOT_FOUND, PRESENT, TAIL, Found, Values, damaged
from penstock.features.online_stores.tails import (
    HEADER,
    LEADING,
    UNREADABLE,
    Runs,
    events_of,
    over,
    slots_of,
)
from penstock.features.online_stores.values import codec_of

ZERO = ("count", "sum", "count_distinct")  # of nothing; all other functions are null


class TailReader:
    """Reads some features of the rows of one view of aggregates.

    An entity without a row has no events: its counts and sums are 0, all else null, as offline. But
    where the store has no note of the view, it may have been emptied: then all are null.
    """

    def __init__(
        self, layout: Layout, fields: Sequence[tuple[str, str]], noted: Callable[[], bool]
    ) -> None:
        assert layout.definition is not None
        self._layout, self._noted = layout, noted
        self._view = layout.definition
        by_name = {a.name: a for a in self._view.aggregates}
        self._features = [by_name[name] for name, _ in fields]
        self._codecs = [codec_of(kind) for _, kind in fields]
        self._shifted = [p for p, a in enumerate(self._features) if a.offset]
        self._unknown: Values = (None,) * len(fields)
        self._empty = self._of_nothing()
        self._plan_suffixes()

    def _plan_suffixes(self) -> None:
        """Which suffixes a read needs, the windows, and for each feature where its value is."""
        slots = list(slots_of(self._view))
        asked = [(a.column, a.function, a.n) for a in self._features]
        needed = sorted({slots.index(slot) for slot in asked})
        windows = list(dict.fromkeys(a.window for a in self._features))
        self._windows = [None if w is None else nanoseconds(w) for w in windows]
        self._resolution = nanoseconds(self._view.resolution)
        first = LEADING + len(self._view.inputs)
        self._needed = [(len(self._view.inputs) + slot, first + slot) for slot in needed]
        self._sections = first + len(slots) + 1
        self._places = [
            (needed.index(slots.index(slot)), windows.index(a.window), empty)
            for slot, a, empty in zip(asked, self._features, self._empty, strict=True)
        ]

    def read(self, rows: Sequence[Row], keys: Sequence[bytes | None], now: int) -> Found:
        """Raises `DataError` for a row that is damaged or of a newer version."""
        edges = [self._edge(now, window) for window in self._windows]
        found = Found([], [], [])
        slow: list[int] = []
        for place, row in enumerate(rows):
            values, state, when = self._empty, NOT_FOUND, 0
            if row is None:
                values = self._empty if self._noted() else self._unknown
            else:
                try:
                    form, kind, _, schema, known, count, _ = HEADER.unpack_from(row)
                    if form != FORMAT or kind != TAIL:
                        raise ValueError("its format is unknown")
                    if schema != self._layout.schema:
                        values = self._unknown  # of another definition, soon to be replaced
                    elif count:
                        state = PRESENT
                        if known > now:
                            slow.append(place)
                        else:
                            when, values = self._values(row, count, edges)
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

    def _values(self, row: bytes, count: int, edges: Sequence[int | None]) -> tuple[int, Values]:
        held = memoryview(row)
        places = held[HEADER.size : HEADER.size + 4 * self._sections].cast("I")
        if places[-1] != len(row):
            raise ValueError(f"it has {len(row)} bytes of {places[-1]}")
        happened = held[places[0] : places[1]].cast("q")
        first = [0 if edge is None else bisect_right(happened, edge) for edge in edges]
        letters = places[3]
        suffixes: list[Any] = []
        for letter, place in self._needed:
            kind = row[letters + letter]
            part = held[places[place] : places[place + 1]]
            if kind == 100:  # d
                suffixes.append(part.cast("d"))
            elif kind == 113:  # q
                suffixes.append(part.cast("q"))
            else:
                suffixes.append(range(count, 0, -1) if kind == 110 else Runs(part))
        values = []
        for slot, window, empty in self._places:
            suffix, entry = suffixes[slot], first[window]
            values.append(suffix[entry] if entry < len(suffix) else empty)
        return happened[count - 1], tuple(values)

    def _edge(self, at: int, window: int | None) -> int | None:
        """The last moment before a window."""
        if window is None:
            return None
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
        window = None if feature.window is None else nanoseconds(feature.window)
        edge = self._edge(end, window)
        left, right = bounds[:-1].copy(), bounds[1:].copy()
        for number, (a, b) in enumerate(pairwise(bounds)):
            happened = seen.happened[a:b]
            right[number] = a + np.searchsorted(happened, end, "right")
            if edge is not None:
                left[number] = a + np.searchsorted(happened, edge, "right")
        return left, np.maximum(left, right)

    def _of_nothing(self) -> Values:
        """Each feature of an entity without events."""
        zeros = {"double": 0.0}
        return tuple(zeros.get(a.type, 0) if a.function in ZERO else None for a in self._features)
