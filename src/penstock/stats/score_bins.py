"""Bins of a model's answers that fit every model, so that any two can be compared.

A hundred equal bins from 0 to 1, where probabilities lie; beyond them geometric ones, eight to a
doubling. To compare two samples, bins are drawn together into groups that hold equal shares.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from penstock.stats.histograms import PER_DOUBLING

UNIT = 100  # bins from 0 to 1
FARTHEST = 64  # doublings beyond 1, and below: what is farther falls into the last bin
NOT_A_NUMBER = -(1 << 20)

Histogram = Mapping[int, int]  # bin -> count


def score_bins(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """The bin of each value; bins ascend with values, and `NOT_A_NUMBER` is one of its own.

    >>> score_bins(np.array([0.0, 0.425, 1.0, 2.0, -1.0, np.inf, np.nan])).tolist()
    [0, 42, 99, 108, -513, 612, -1048576]
    """
    missing = np.isnan(values)
    size = np.clip(np.abs(np.where(missing, 0.0, values)), 2.0**-FARTHEST, 2.0**FARTHEST)
    doublings = np.floor(np.log2(size) * PER_DOUBLING).astype(np.int64)
    inside = np.minimum(np.floor(np.minimum(size, 1.0) * UNIT).astype(np.int64), UNIT - 1)
    bins = np.where(size <= 1.0, inside, UNIT + doublings)
    bins = np.where(values < 0, -1 - doublings - FARTHEST * PER_DOUBLING, bins)
    return np.where(missing, NOT_A_NUMBER, bins)


def equal_shares(
    one: Histogram, other: Histogram, groups: int = 10
) -> tuple[dict[int, int], dict[int, int]]:
    """Both histograms over at most `groups` bins, of equal shares of the two together.

    Each sample weighs the same, whatever its size, so that no bin is almost empty in both. What is
    not a number stays apart.

    >>> equal_shares({1: 50, 2: 50}, {7: 4, NOT_A_NUMBER: 1}, groups=2)
    ({0: 100}, {1: 4, -1048576: 1})
    """
    numbers = sorted({*one, *other} - {NOT_A_NUMBER})
    share = (_shares(one, numbers) + _shares(other, numbers)) / 2
    middle = np.cumsum(share) - share / 2
    group = np.minimum((middle * groups).astype(int), groups - 1)
    found = dict(zip(numbers, group.tolist(), strict=True)) | {NOT_A_NUMBER: NOT_A_NUMBER}
    return _grouped(one, found), _grouped(other, found)


def _shares(histogram: Histogram, bins: list[int]) -> NDArray[np.float64]:
    counts = np.array([histogram.get(number, 0) for number in bins], dtype=np.float64)
    total: float = counts.sum()
    return counts / max(total, 1.0)


def _grouped(histogram: Histogram, group: Mapping[int, int]) -> dict[int, int]:
    found: dict[int, int] = {}
    for number, count in histogram.items():
        if count:
            found[group[number]] = found.get(group[number], 0) + count
    return found
