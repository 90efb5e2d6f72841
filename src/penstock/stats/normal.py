"""The standard normal distribution, exact far out in its tails."""

from __future__ import annotations

import math
from statistics import NormalDist

_STANDARD = NormalDist()


def upper_tail(z: float) -> float:
    """P(Z > z).

    >>> round(upper_tail(1.959964), 6)
    0.025
    """
    return math.erfc(z / math.sqrt(2)) / 2


def two_sided_p(z: float) -> float:
    """P(|Z| > |z|)."""
    return math.erfc(abs(z) / math.sqrt(2))


def quantile(p: float) -> float:
    """The z below which Z lies with probability p, 0 < p < 1."""
    return _STANDARD.inv_cdf(p)
