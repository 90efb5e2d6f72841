"""Distinct values of each of many ranges, in time that does not depend on their lengths."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def count_distinct(codes: Ints, left: Ints, right: Ints) -> Ints:
    """How many different codes each range holds.

    A row is the first of its kind in [l, r) when the one before it lies before l. All rows before l
    are such rows too, so they are subtracted.
    """
    before = _same(codes)[0] + 1  # 0: there is none
    return _count_less(before, right, left + 1) - left


def newest_distinct(codes: Ints, left: Ints, right: Ints, n: int) -> tuple[Ints, Ints]:
    """Where the n newest different codes of each range are, newest first; and how many there are.

    The places of all ranges lie one behind the other.
    """
    after = _same(codes)[1]
    tree = _MaxTree(after)
    found = np.full((len(left), n), -1, dtype=np.int64)
    edge = right.copy()
    for turn in range(n):
        edge = tree.last_at_least(edge, right)
        edge = np.where(edge >= left, edge, -1)
        found[:, turn] = edge
        edge = np.maximum(edge, 0)
    there = found >= 0
    # Once nothing is found, what later turns find lies before the range, or nowhere.
    return found[there], there.sum(axis=1)


def _same(codes: Ints) -> tuple[Ints, Ints]:
    """The places of the same code before (-1: none) and after (len: none) each place."""
    count = len(codes)
    order = np.argsort(codes, kind="stable")
    equal = codes[order][1:] == codes[order][:-1]
    before = np.full(count, -1, dtype=np.int64)
    after = np.full(count, count, dtype=np.int64)
    before[order[1:][equal]] = order[:-1][equal]
    after[order[:-1][equal]] = order[1:][equal]
    return before, after


def _count_less(values: Ints, ends: Ints, limits: Ints) -> Ints:
    """How many of values[:end] are below the limit; a wavelet matrix, walked level by level.

    (Claude, Navarro and Ordóñez 2015, "The wavelet matrix".) Values and limits are not negative.
    """
    start, end = np.zeros_like(ends), ends.copy()
    found = np.zeros_like(ends)
    top = max(int(values.max(initial=0)), int(limits.max(initial=0))).bit_length()
    for bit in reversed(range(top)):
        one = (values >> bit) & 1
        zeros = np.zeros(len(values) + 1, dtype=np.int64)
        np.cumsum(1 - one, out=zeros[1:])
        start_zero, end_zero, all_zero = zeros[start], zeros[end], zeros[-1]
        above = (limits >> bit) & 1 == 1
        found += np.where(above, end_zero - start_zero, 0)
        start = np.where(above, all_zero + start - start_zero, start_zero)
        end = np.where(above, all_zero + end - end_zero, end_zero)
        ones = one == 1
        values = np.concatenate((values[~ones], values[ones]))
    return found


class _MaxTree:
    """The maxima of halves, quarters, … of an array: finds the last place with a large value."""

    def __init__(self, values: Ints) -> None:
        self._size = 1 << max(len(values) - 1, 0).bit_length()
        self._tree = np.full(2 * self._size, -1, dtype=np.int64)
        self._tree[self._size : self._size + len(values)] = values
        level = self._size
        while level > 1:
            pairs = self._tree[level : 2 * level]
            np.maximum(pairs[0::2], pairs[1::2], out=self._tree[level // 2 : level])
            level //= 2

    def last_at_least(self, before: Ints, least: Ints) -> Ints:
        """The last place below `before` whose value is at least `least`; -1 where there is none."""
        found = np.full(len(before), -1, dtype=np.int64)
        asking = np.flatnonzero(before > 0)
        node = before[asking] - 1 + self._size
        while len(asking):
            here = self._tree[node] >= least[asking]
            found[asking[here]] = node[here]
            # Up to the largest block that begins here, then to the one on its left. A power of two
            # is the first block of its level: nothing is on its left.
            going = ~here & ((node & (node - 1)) != 0)
            asking, node = asking[going], node[going]
            node = node // (node & -node) - 1
        return self._down(found, least)

    def _down(self, found: Ints, least: Ints) -> Ints:
        """From a block that holds one to the last place in it that does."""
        going = np.flatnonzero((found > 0) & (found < self._size))
        while len(going):
            right = 2 * found[going] + 1
            found[going] = np.where(self._tree[right] >= least[going], right, right - 1)
            going = going[found[going] < self._size]
        return np.where(found >= 0, found - self._size, -1)
