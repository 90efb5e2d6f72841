"""Population stability index of two samples: how far apart are their distributions?

PSI = Σ (pᵢ − qᵢ)·ln(pᵢ/qᵢ) over shared bins. Two samples of the same distribution do not have
PSI 0: it is about χ² with B − 1 degrees of freedom times 1/n + 1/m. (Yurdakul and Naranjo 2020,
"Statistical properties of the population stability index", Journal of Risk Model Validation 14.)
So the mean under no drift is taken off, and decisions use the interval of what remains.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penstock.stats.normal import quantile

Shares = NDArray[np.float64]


@dataclass(frozen=True)
class Stability:
    """The index without what chance alone adds, and its confidence limits; none is below 0."""

    estimate: float
    low: float
    high: float
    observed: float  # as computed from the samples
    chance: float  # its mean where nothing has changed


def null_mean(bins: int, n: float, m: float) -> float:
    """The mean of PSI between samples of `n` and `m` of one distribution over `bins` bins.

    >>> round(null_mean(10, 20_000, 5_000), 5)
    0.00225
    """
    return (bins - 1) * (1 / n + 1 / m)


def population_stability(
    expected: Mapping[int, int], actual: Mapping[int, int], *, confidence: float
) -> Stability | None:
    """PSI of two histograms over the same bins; None where a sample is empty.

    Bins are keys, so that "missing" and "outside" are bins like others. Those that are empty in
    both do not count; one that is empty in one sample counts as half an observation.
    """
    n, m = sum(expected.values()), sum(actual.values())
    if not n or not m:
        return None
    bins = sorted(key for key in {*expected, *actual} if expected.get(key) or actual.get(key))
    p = _shares([actual.get(key, 0) for key in bins])
    q = _shares([expected.get(key, 0) for key in bins])
    observed = float(((p - q) * np.log(p / q)).sum())
    chance = null_mean(len(bins), n, m)
    variance = _sampling_variance(p, q, m) + _sampling_variance(q, p, n)
    variance += _null_variance(len(bins), n, m)
    half = quantile((1 + confidence) / 2) * math.sqrt(variance)
    estimate = observed - chance
    return Stability(
        estimate=max(0.0, estimate),
        low=max(0.0, estimate - half),
        high=max(0.0, estimate + half),
        observed=observed,
        chance=chance,
    )


def _shares(counts: list[int]) -> Shares:
    padded = np.array([count or 0.5 for count in counts], dtype=np.float64)
    total: float = padded.sum()
    return padded / total


def _sampling_variance(p: Shares, q: Shares, size: int) -> float:
    """Of the index, for the multinomial noise of the sample with shares `p` (delta method)."""
    slope = np.log(p / q) + 1 - q / p
    return float((p * slope**2).sum() - (p * slope).sum() ** 2) / size


def _null_variance(bins: int, n: int, m: int) -> float:
    """Of χ² with B − 1 degrees of freedom, scaled: what remains where the slopes are 0."""
    return 2 * (bins - 1) * (1 / n + 1 / m) ** 2
