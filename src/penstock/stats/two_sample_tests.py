"""Classical tests of two samples at one look that was fixed beforehand, and their adjustments."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from penstock.stats.lift import Undefined, standard_error, value
from penstock.stats.moments import Moments
from penstock.stats.normal import two_sided_p


class Significance(NamedTuple):
    statistic: float
    p: float  # two-sided


def two_proportion_z(hits: tuple[int, int], units: tuple[int, int]) -> Significance | Undefined:
    """The pooled z-test of equal proportions, first minus second.

    >>> tested = two_proportion_z((5, 12), (83, 99))
    >>> round(tested.statistic, 5), round(tested.p, 5)
    (-1.40783, 0.15918)
    """
    if min(units) < 1:
        return Undefined("an arm has no units")
    pooled = sum(hits) / sum(units)
    variance = pooled * (1 - pooled) * (1 / units[0] + 1 / units[1])
    if variance <= 0:
        return Undefined("all units answered alike")
    z = (hits[0] / units[0] - hits[1] / units[1]) / math.sqrt(variance)
    return Significance(z, two_sided_p(z))


def welch_t(first: Moments, second: Moments) -> Significance | Undefined:
    """Welch's t-test of equal means with unequal variances, first minus second."""
    from scipy.special import stdtr

    if min(first.n, second.n) < 2:
        return Undefined("an arm has fewer than two units")
    a, b = standard_error(first) ** 2, standard_error(second) ** 2
    if a + b <= 0:
        return Undefined("the metric does not vary between units")
    t = (value(first) - value(second)) / math.sqrt(a + b)
    freedom = (a + b) ** 2 / (a * a / (first.n - 1) + b * b / (second.n - 1))
    return Significance(t, float(2 * stdtr(freedom, -abs(t))))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p-values: rejecting those ≤ α keeps the chance of any false one at α (Holm 1979).

    >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
    {'a': 0.03, 'b': 0.06, 'c': 0.06}
    """
    largest, adjusted = 0.0, dict[str, float]()
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


def benjamini_hochberg(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p-values: of those ≤ α, a share of at most α is false, in the mean.

    (Benjamini and Hochberg 1995, JRSS B 57.) Where nothing is true, any false one comes with
    probability at most α.

    >>> benjamini_hochberg({"a": 0.01, "b": 0.04, "c": 0.03})
    {'a': 0.03, 'b': 0.04, 'c': 0.04}
    """
    least, adjusted = 1.0, dict[str, float]()
    ordered = sorted(p_values, key=lambda name: p_values[name])
    for rank in range(len(ordered), 0, -1):
        name = ordered[rank - 1]
        least = min(least, p_values[name] * len(ordered) / rank)
        adjusted[name] = least
    return {name: adjusted[name] for name in p_values}
