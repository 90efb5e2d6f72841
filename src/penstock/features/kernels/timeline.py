"""The facts of all entities in one order, and which of them a window holds at a time.

Facts are sorted by (entity, happened, created, file order), so what a window holds is a range of
them, found by binary search: it costs the same for an entity with ten facts and one with millions.
Only around facts that arrived late a window has holes. Those windows are copied out, one by one;
with many late facts of a very frequent entity that is slow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

COPIED = 1 << 22  # facts of windows with holes that are looked at in one go


@dataclass(frozen=True)
class Ranges:
    """What each window holds: facts[rows[left[i]:right[i]]], in order."""

    rows: Ints
    left: Ints
    right: Ints


class Timeline:
    """Facts by the number of their key (-1: none), happened and, perhaps, created.

    All arrays are int64 in file order; times are nanoseconds since 1970. `missing` says which facts
    have no time. A `created` of `UNKNOWN` means: since it happened.
    """

    def __init__(
        self, codes: Ints, happened: Ints, missing: Flags, created: Ints | None = None
    ) -> None:
        there = (codes >= 0) & ~missing
        places = None if there.all() else np.flatnonzero(there)
        if places is not None:
            codes, happened = codes[places], happened[places]
            created = None if created is None else created[places]
        order = _order(codes, happened, created)
        self.rows: Ints = order if places is None else places[order]
        codes, happened = codes[order], happened[order]
        self.codes = codes
        self.happened = happened
        self.known = happened
        self.late = False
        if created is not None:
            self.known = np.maximum(happened, created[order])
            self.late = bool((self.known > happened).any())
        self._ticks = _Ticks(happened, self.known if self.late else None, codes)
        self._keys = self._ticks.keys(codes, happened)
        if self.late:
            self._all_known = np.maximum.accumulate(self._ticks.keys(codes, self.known))

    def until(self, codes: Ints, edge: Ints) -> Ints:
        """For each entity, where its facts that happened after the edge begin."""
        return np.searchsorted(self._keys, self._ticks.keys(codes, edge), side="right")

    def beginning(self, codes: Ints) -> Ints:
        """Where each entity's facts begin."""
        return np.searchsorted(self._keys, self._ticks.lowest(codes), side="left")

    def visible(
        self, codes: Ints, at: Ints, window: int | None, offset: int = 0, resolution: int = 0
    ) -> Ranges:
        """What the window (at - offset - window, at - offset] of each entity holds at `at`.

        Nanoseconds; without a window all facts up to the right edge. The left edge is rounded down
        to a multiple of `resolution`. Entities that are -1 hold nothing.
        """
        right = self.until(codes, at - offset)
        if window is None:
            left = self.beginning(codes)
        else:
            edge = at - offset - window
            edge = edge - edge % resolution if resolution else edge
            left = self.until(codes, edge)
        nobody = codes < 0
        left[nobody], right[nobody] = 0, 0
        np.maximum(left, 0, out=left)
        right = np.maximum(right, left)
        return self._without_unknown(codes, at, left, right) if self.late else Ranges(
            self.rows, left, right
        )  # fmt: skip

    def _without_unknown(self, codes: Ints, at: Ints, left: Ints, right: Ints) -> Ranges:
        """The ranges without facts that nobody knew yet."""
        # Up to here all of the entity's facts are known.
        clear = np.searchsorted(self._all_known, self._ticks.keys(codes, at), side="right")
        clear = np.clip(clear, left, right)
        right, copies = right.copy(), [self.rows]
        start = len(self.rows)
        for asking in _chunks(np.flatnonzero(clear < right), right - clear):
            owner, place = _expanded(asking, clear[asking], right[asking])
            known = self.known[place] <= at[owner]
            owner, place = owner[known], place[known]
            right[asking] = clear[asking]
            holed = np.unique(owner)
            if len(holed):
                first, before = _expanded(holed, left[holed], clear[holed])
                both = np.concatenate((before, place))
                whose = np.concatenate((first, owner))
                copies.append(self.rows[both[np.argsort(whose, kind="stable")]])
                size = np.bincount(np.searchsorted(holed, whose), minlength=len(holed))
                left[holed] = start + np.concatenate(([0], np.cumsum(size)[:-1]))
                right[holed] = left[holed] + size
                start += len(both)
        return Ranges(np.concatenate(copies) if len(copies) > 1 else self.rows, left, right)


class _Ticks:
    """(entity, time) as one integer that sorts alike."""

    def __init__(self, happened: Ints, known: Ints | None, codes: Ints) -> None:
        times = [happened] if known is None else [happened, known]
        self._base = int(happened.min(initial=2**62)) if len(happened) else 0
        last = max((int(t.max()) for t in times if len(t)), default=0)
        self._unit = next(u for u in (10**9, 10**6, 10**3, 1) if _divides(u, self._base, times))
        self._size = (last - self._base) // self._unit + 2
        self._distinct: Ints | None = None
        entities = int(codes.max(initial=0)) + 1
        if self._size * entities >= 2**62:  # too far apart: count the distinct times instead
            self._distinct = np.unique(np.concatenate(times))
            self._size = len(self._distinct) + 1
        self._entities = entities

    def keys(self, codes: Ints, times: Ints) -> Ints:
        """Of times between two facts it is that of the earlier one."""
        if self._distinct is not None:
            ticks = np.searchsorted(self._distinct, times, side="right")
        else:
            ticks = (times - self._base) // self._unit + 1
            np.clip(ticks, 0, self._size - 1, out=ticks)
        return np.minimum(codes, self._entities) * self._size + ticks

    def lowest(self, codes: Ints) -> Ints:
        return np.minimum(codes, self._entities) * self._size


def _divides(unit: int, base: int, times: list[Ints]) -> bool:
    """Whether all times are whole units apart; a look at some spares most of the work."""
    return all(not ((part - base) % unit).any() for time in times for part in (time[:1000], time))


def _order(codes: Ints, happened: Ints, created: Ints | None) -> Ints:
    """By (code, happened, created, place)."""
    count = len(codes)
    by_time: Ints | None = None
    steps = happened[1:] - happened[:-1] if count else happened
    if created is not None and (steps == 0).any():
        by_time = np.lexsort((created, happened))
    elif (steps < 0).any():
        by_time = _stable(happened) if created is None else np.lexsort((created, happened))
    bits = max(count, 1).bit_length()
    codes = codes if by_time is None else codes[by_time]
    if int(codes.max(initial=0)).bit_length() + bits > 62:
        order = np.argsort(codes, kind="stable")
    else:  # a code and a place in one integer sort faster than places by their code
        both = (codes << bits) | np.arange(count)
        both.sort()
        order = both & ((1 << bits) - 1)
    return order if by_time is None else by_time[order]


def _stable(times: Ints) -> Ints:
    """The order of the times; equal ones keep theirs. Faster than a stable sort where few are."""
    order = np.argsort(times)
    ordered = times[order]
    equal = ordered[1:] == ordered[:-1]
    if not equal.any():
        return order
    tied = np.zeros(len(times), dtype=bool)
    tied[1:] = equal
    tied[:-1] |= equal
    places = np.flatnonzero(tied)
    order[places] = order[places][np.lexsort((order[places], ordered[places]))]
    return order


def _chunks(asking: Ints, lengths: Ints) -> Iterator[Ints]:
    """Windows with holes, a bounded number of facts at a time."""
    if not len(asking):
        return
    parts = np.cumsum(lengths[asking]) // COPIED
    yield from np.split(asking, np.flatnonzero(np.diff(parts)) + 1)


def _expanded(owners: Ints, left: Ints, right: Ints) -> tuple[Ints, Ints]:
    """All places of the ranges, each with its owner."""
    sizes = right - left
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1])) if len(sizes) else sizes
    places = np.arange(int(sizes.sum())) + np.repeat(left - starts, sizes)
    return np.repeat(owners, sizes), places
