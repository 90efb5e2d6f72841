"""Two samples of numbers in the same bins: are they of one distribution, and how far apart?

The Kolmogorov-Smirnov distance is read at the edges of the bins, and its p-value is that of these
edges: a test over continuous values would be too lenient where many rows share a value.

Small samples are tested exactly, given the rows in each bin of both together: all ways to draw the
smaller sample from the pool are counted, bin by bin (Schröer and Trenkler 1995, "Exact and
randomization distributions of Kolmogorov-Smirnov tests two or three samples", CSDA 20). Of large
ones, the distance times √(nm/(n+m)) is the farthest that a Brownian bridge is from 0 at the shares
t of the edges. A bridge at t is (1 − t) times Brownian motion at t/(1 − t) (Doob 1949), so that is
a crossing of bounds at successive looks, as `stats.group_sequential` has it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from penstock.stats.group_sequential import crossing
from penstock.stats.lift import Undefined
from penstock.stats.two_sample_tests import Significance

EXACT = 400  # of the smaller sample: up to here all ways are counted
CERTAIN = 6.0  # times the standard error: the p-value is below 10⁻³¹
THINNEST = 0.002  # the share of both samples below which a bin is drawn together with the next

Floats = NDArray[np.float64]


def kolmogorov_smirnov(reference: Sequence[int], window: Sequence[int]) -> Significance | Undefined:
    """The distance of two samples, from their counts in the same bins, and its p-value.

    >>> tested = kolmogorov_smirnov([5, 5, 5, 5], [9, 9, 1, 1])
    >>> round(tested.statistic, 2), round(tested.p, 4)
    (0.4, 0.0308)
    """
    n, m = sum(reference), sum(window)
    if min(n, m) < 1:
        return Undefined("a sample is empty")
    first, second = _drawn_together(np.array(reference), np.array(window))
    if len(first) < 2:
        return Undefined("all values are alike")
    gaps = np.abs(np.cumsum(first) / n - np.cumsum(second) / m)[:-1]
    distance = float(gaps.max())
    if distance == 0:
        return Significance(0.0, 1.0)
    small, large = (second, first) if m <= n else (first, second)
    if min(n, m) <= EXACT:
        return Significance(distance, _exact_p(small, large, distance))
    return Significance(distance, _bridge_p(first + second, distance * math.sqrt(n * m / (n + m))))


def wasserstein(
    edges: Sequence[float], reference: Sequence[int], window: Sequence[int]
) -> float | None:
    """How far values moved, in standard deviations of the reference (Wasserstein-1 distance).

    Values are spread evenly within a bin, and those beyond the outermost edges lie on them, so
    that one value far out does not decide. None where the reference has no spread.

    >>> round(wasserstein([0.0, 1.0, 2.0, 3.0], [0, 9, 9, 0, 0], [0, 0, 9, 9, 0]), 3)
    1.732
    """
    if len(edges) < 2 or not sum(reference) or not sum(window):
        return None
    places = np.array(edges)
    spread = _spread(places, np.array(reference, dtype=np.float64))
    if not spread > 0:
        return None
    difference = _cumulative(reference) - _cumulative(window)
    left, right = difference[:-1], difference[1:]
    size = np.abs(left) + np.abs(right)
    # Between two edges the difference is a line: one triangle on each side of where it is 0.
    crossed = np.divide(left**2 + right**2, 2 * size, out=np.zeros_like(size), where=size > 0)
    area = np.where(left * right < 0, crossed, size / 2)
    return float((area * np.diff(places)).sum() / spread)


def _cumulative(counts: Sequence[int]) -> Floats:
    """The share of a sample at most each edge."""
    shares: Floats = np.cumsum(counts)[:-1] / sum(counts)
    return shares


def _spread(edges: Floats, counts: Floats) -> float:
    middles = np.concatenate([edges[:1], (edges[:-1] + edges[1:]) / 2, edges[-1:]])
    within = np.concatenate([[0.0], np.diff(edges) ** 2 / 12, [0.0]])
    shares = counts / counts.sum()
    mean = shares @ middles
    return float(math.sqrt(shares @ ((middles - mean) ** 2 + within)))


def _drawn_together(
    first: NDArray[np.int64], second: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Without bins that hardly anything is in: by both samples together, so by no one's chance."""
    pooled = first + second
    least = max(1.0, THINNEST * pooled.sum())
    starts, held = [0], 0.0
    for place, count in enumerate(pooled):
        held += count
        if held >= least and pooled[place + 1 :].sum() >= least:
            starts.append(place + 1)
            held = 0.0
    return np.add.reduceat(first, starts), np.add.reduceat(second, starts)


def _exact_p(small: NDArray[np.int64], large: NDArray[np.int64], distance: float) -> float:
    """P(so far apart or farther), over all ways to draw the small sample from both."""
    m, n = int(small.sum()), int(large.sum())
    rate, drawn = m / (n + m), np.arange(m + 1)
    inside, before = np.zeros(m + 1), 0
    inside[0] = 1.0
    for size in (small + large).tolist():
        # Weights that are alike for all ways to draw m in all, and keep the sums near 1.
        inside = np.convolve(inside, _binomial(size, drawn[: size + 1], rate))[: m + 1]
        before += size
        if before < n + m:
            inside[np.abs(drawn / m - (before - drawn) / n) > distance - 1e-12] = 0.0
    all_ways = float(_binomial(n + m, drawn[m:], rate)[0])
    return float(min(1.0, max(0.0, 1.0 - inside[m] / all_ways)))


def _binomial(trials: int, hits: NDArray[np.int64], rate: float) -> Floats:
    from scipy.special import gammaln, xlog1py, xlogy

    ways = gammaln(trials + 1) - gammaln(hits + 1) - gammaln(trials - hits + 1)
    chance: Floats = np.exp(ways + xlogy(hits, rate) + xlog1py(trials - hits, -rate))
    return chance


def _bridge_p(pooled: NDArray[np.int64], farthest: float) -> float:
    """P(a Brownian bridge is so far from 0 at some edge)."""
    if farthest > CERTAIN:
        return 2 * math.exp(-2 * farthest**2)
    at = np.cumsum(pooled)[:-1] / pooled.sum()
    information = at / (1 - at)
    bounds = farthest / np.sqrt(at * (1 - at))
    crossed = crossing(information.tolist(), bounds.tolist())
    return float(min(1.0, sum(low + high for low, high in crossed)))
