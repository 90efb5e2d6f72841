"""Two samples of categories: are they of one distribution, and how far apart?

Pearson's χ² holds where some are expected in each cell, so rare categories are drawn together: by
both samples as one, and so by the chance of neither.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

from penstock.stats.lift import Undefined
from penstock.stats.two_sample_tests import Significance

LEAST_EXPECTED = 5.0  # in each cell (Cochran 1954, Biometrics 10)

Counts = dict[int, int]
Key = TypeVar("Key", bound=Hashable)


def drawn_together(
    reference: Mapping[Key, int], window: Mapping[Key, int]
) -> tuple[Counts, Counts]:
    """Both over categories that chance alone fills in both; 0 is all the rare ones.

    >>> drawn_together({"a": 60, "b": 34, "c": 6}, {"a": 55, "b": 38, "d": 7})
    ({0: 6, 1: 60, 2: 34}, {0: 7, 1: 55, 2: 38})
    """
    n, m = sum(reference.values()), sum(window.values())
    needed = LEAST_EXPECTED * (n + m) / max(1, min(n, m))  # in both samples together
    keys = sorted({*reference, *window}, key=str)
    pooled = {key: reference.get(key, 0) + window.get(key, 0) for key in keys}
    common = [key for key in keys if pooled[key] >= needed]
    rare = [key for key in keys if 0 < pooled[key] < needed]
    if common and 0 < sum(pooled[key] for key in rare) < needed:
        least = min(common, key=lambda key: pooled[key])
        common.remove(least)
        rare.append(least)
    groups = ([rare] if rare else []) + [[key] for key in common]
    first = 0 if rare else 1

    def counted(sample: Mapping[Key, int]) -> Counts:
        return {i: sum(sample.get(k, 0) for k in g) for i, g in enumerate(groups, first)}

    return counted(reference), counted(window)


def chi_square(reference: Counts, window: Counts) -> Significance | Undefined:
    """Pearson's test of homogeneity, over the same categories in both.

    >>> tested = chi_square({0: 30, 1: 70}, {0: 50, 1: 50})
    >>> round(tested.statistic, 4), round(tested.p, 5)
    (8.3333, 0.00389)
    """
    from scipy.special import chdtrc

    n, m = sum(reference.values()), sum(window.values())
    if min(n, m) < 1:
        return Undefined("a sample is empty")
    if len(reference) < 2:
        return Undefined("all values are alike, or too few of each to tell")
    square = sum(
        (reference[key] * m - window[key] * n) ** 2 / (n * m * (reference[key] + window[key]))
        for key in reference
    )
    return Significance(square, float(chdtrc(len(reference) - 1, square)))


def moved_share(reference: Mapping[Key, int], window: Mapping[Key, int]) -> float:
    """The share of rows that lie elsewhere (total variation distance).

    >>> moved_share({"a": 50, "b": 50}, {"a": 60, "b": 40})
    0.1
    """
    n, m = sum(reference.values()), sum(window.values())
    keys = {*reference, *window}
    return round(sum(abs(reference.get(k, 0) / n - window.get(k, 0) / m) for k in keys) / 2, 12)
