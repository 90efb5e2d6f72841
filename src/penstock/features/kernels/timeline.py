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

    All arrays are int64 in file order; times are nanoseconds since 1970, all of them multiples of
    `unit`. `missing` says which facts have no time. A `created` of `UNKNOWN` means: since it
    happened.
    """

    def __init__(
        self,
        codes: Ints,
        happened: Ints,
        missing: Flags,
        created: Ints | None = None,
        unit: int = 1,
    ) -> None:
        there = (codes >= 0) & ~missing
        places = None if there.all() else np.flatnonzero(there)
        if places is not None:
            codes, happened = codes[places], happened[places]
            created = None if created is None else created[places]
        order, codes = _order(codes, happened, created)
        self.rows: Ints = order if places is None else places[order]
        happened = happened[order]
        self.codes = codes
        self.happened = happened
        self.known = happened
        self.late = False
        if created is not None:
            self.known = np.maximum(happened, created[order])
            self.late = bool((self.known > happened).any())
        self._happened = Search(codes, happened, unit)
        if self.late:
            self._all_known = Search(codes, _largest_so_far(codes, self.known), unit)

    def until(self, codes: Ints, edge: Ints) -> Ints:
        """For each entity, where its facts that happened after the edge begin."""
        return self._happened.after(codes, edge)

    def visible(
        self, codes: Ints, at: Ints, window: int | None, offset: int = 0, resolution: int = 0
    ) -> Ranges:
        """What the window (at - offset - window, at - offset] of each entity holds at `at`.

        Nanoseconds; without a window all facts up to the right edge. The left edge is rounded down
        to a multiple of `resolution`. Entities that are -1 hold nothing.
        """
        right = self.until(codes, at - offset)
        if window is None:
            left = self._happened.beginning(codes)
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
        clear = np.clip(self._all_known.after(codes, at), left, right)
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


class Search:
    """Times of entities, sorted by (entity, time): finds where those after an edge begin."""

    def __init__(self, codes: Ints, times: Ints, unit: int = 1) -> None:
        self._times = times
        self._unit = unit
        self._entities = int(codes[-1]) + 1 if len(codes) else 0
        self._base = int(times.min(initial=2**62))
        self._size = (int(times.max(initial=self._base)) - self._base) // self._unit + 2
        self._keys: Ints | None = None
        if self._size * (self._entities + 1) < 2**63:
            self._keys = self._key(codes, times)
        else:
            self._starts = np.searchsorted(codes, np.arange(self._entities + 2))

    def after(self, codes: Ints, edges: Ints) -> Ints:
        """The first place of each entity's times after the edge; its end where there are none."""
        if self._keys is None:
            return self._bisected(codes, edges)
        asked = self._key(codes, edges)
        order = np.argsort(asked)  # neighbours find their places in memory that was just read
        places = np.empty(len(asked), dtype=np.int64)
        places[order] = np.searchsorted(self._keys, asked[order], side="right")
        return places

    def beginning(self, codes: Ints) -> Ints:
        """The first place of each entity."""
        if self._keys is not None:
            return np.searchsorted(self._keys, np.minimum(codes, self._entities) * self._size)
        return self._starts[np.clip(codes, 0, self._entities)]

    def _key(self, codes: Ints, times: Ints) -> Ints:
        """(entity, time) as one integer that sorts alike."""
        ticks = (times - self._base) // self._unit + 1
        np.clip(ticks, 0, self._size - 1, out=ticks)
        return np.minimum(codes, self._entities) * self._size + ticks

    def _bisected(self, codes: Ints, edges: Ints) -> Ints:
        """Where one integer is too small for both; as many turns as the longest entity needs."""
        codes = np.clip(codes, 0, self._entities)
        low, high = self._starts[codes], self._starts[codes + 1]
        going = np.flatnonzero(low < high)
        while len(going):
            middle = (low[going] + high[going]) >> 1
            earlier = self._times[middle] <= edges[going]
            low[going[earlier]] = middle[earlier] + 1
            high[going[~earlier]] = middle[~earlier]
            going = going[low[going] < high[going]]
        return low


def _largest_so_far(codes: Ints, times: Ints) -> Ints:
    """The running maximum of each entity's times."""
    order = np.argsort(times)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    # Higher codes come later, so that each entity begins above all before it.
    largest = np.maximum.accumulate(codes * len(order) + rank) - codes * len(order)
    return times[order[largest]]


def _order(codes: Ints, happened: Ints, created: Ints | None) -> tuple[Ints, Ints]:
    """The places by (code, happened, created, place), and their codes."""
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
        codes = codes[order]
    else:  # a code and a place in one integer sort faster than places by their code
        both = (codes << bits) | np.arange(count)
        both.sort()
        order, codes = both & ((1 << bits) - 1), both >> bits
    return (order if by_time is None else by_time[order]), codes


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
