"""Histograms that add: counts in fixed bins, so that any number of them make one.

Bins of positive quantities (latencies) are geometric, eight to a doubling: a quantile read from
them is at most 9 % above the true one, whatever its size, as in HdrHistogram's idea of a fixed
relative error.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

PER_DOUBLING = 8

Histogram = Mapping[int, int]  # bin -> count


def bins_of(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """The bin of each of many positive quantities; what is below 1 falls into bin 0.

    >>> bins_of(np.array([0.3, 1.0, 2.0, 1000.0])).tolist()
    [0, 0, 8, 79]
    """
    return (np.log2(np.maximum(values, 1.0)) * PER_DOUBLING).astype(np.int64)


def upper_edge(number: int) -> float:
    """The least quantity beyond a bin.

    >>> upper_edge(7), upper_edge(79)
    (2.0, 1024.0)
    """
    return float(2.0 ** ((number + 1) / PER_DOUBLING))


def quantile(histogram: Histogram, q: float) -> float | None:
    """The upper edge of the bin that holds the q-quantile; None of no observations.

    >>> quantile({0: 90, 79: 10}, 0.95)
    1024.0
    """
    total = sum(histogram.values())
    if total == 0:
        return None
    rank, seen = math.ceil(q * total) or 1, 0
    for number in sorted(histogram):
        seen += histogram[number]
        if seen >= rank:
            return upper_edge(number)
    raise AssertionError("the counts add up to their total")


def above(histogram: Histogram, limit: float) -> int:
    """How many observations lie in bins that begin at or above `limit`."""
    return sum(n for number, n in histogram.items() if upper_edge(number - 1) >= limit)


def added(histograms: Iterable[Histogram]) -> dict[int, int]:
    """One histogram of all observations."""
    total: dict[int, int] = {}
    for histogram in histograms:
        for number, count in histogram.items():
            total[number] = total.get(number, 0) + count
    return total
