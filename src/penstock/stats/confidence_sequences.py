"""Intervals that hold at all times at once, so that one may look whenever one likes.

Howard, Ramdas, McAuliffe and Sekhon 2021, "Time-uniform, nonparametric, nonasymptotic confidence
sequences" (Annals of Statistics 49): a sum S with variance process V crosses the normal mixture's
bound u(V) at any time ever with probability at most α. Waudby-Smith, Arbour, Sinha, Kennedy and
Ramdas 2021, "Time-uniform central limit theory and asymptotic confidence sequences" (arXiv
2103.06476): u serves for any mean with an estimated standard error once a few hundred are in.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from penstock.stats.normal import upper_tail

# With fewer observations the normal approximation is not to be built upon.
LEAST_OBSERVATIONS = 100


class Interval(NamedTuple):
    """Covers the true value at every time at once, with the stated confidence."""

    low: float
    high: float


def asymptotic_interval(
    estimate: float, error: float, n: int, *, alpha: float, tightest_at: int
) -> Interval:
    """The always-valid interval of a mean or difference from its estimate and standard error.

    `n` observations are behind it; the interval is tightest when there are `tightest_at`, which
    must be chosen beforehand. All of the line below `LEAST_OBSERVATIONS`.
    """
    if n < LEAST_OBSERVATIONS or not math.isfinite(error):
        return Interval(-math.inf, math.inf)
    bound = normal_mixture_bound(n, alpha, v_opt=tightest_at, alpha_opt=alpha)
    half = error * bound / math.sqrt(n)
    return Interval(estimate - half, estimate + half)


def log_e_value(z: float, n: int, *, tightest_at: int, alpha_opt: float = 0.05) -> float:
    """Evidence against "the mean is zero", from its z-statistic over n observations (natural log).

    Reaches log(1/α) when the always-valid interval at α leaves out zero.
    """
    return normal_log_mixture(z * math.sqrt(n), n, v_opt=tightest_at, alpha_opt=alpha_opt)


def normal_mixture_bound(
    v: float, alpha: float, *, v_opt: float, alpha_opt: float = 0.05, one_sided: bool = False
) -> float:
    """u(v): a sum of variance v is ever beyond ±u (one-sided: above u) with probability ≤ alpha.

    `v_opt` is the variance at which u is to be tightest, `alpha_opt` the alpha it is tuned for.

    >>> round(normal_mixture_bound(100, 0.05, v_opt=100), 5)
    30.35209
    """
    rho = _best_rho(v_opt, 2 * alpha_opt if one_sided else alpha_opt)
    wanted = math.log(1 / alpha)
    two_sided = math.sqrt((v + rho) * (math.log1p(v / rho) + 2 * wanted))
    if not one_sided:
        return two_sided
    low, high = 0.0, two_sided  # the one-sided mixture is the larger for every positive sum
    for _ in range(80):
        middle = (low + high) / 2
        if normal_log_mixture(middle, v, v_opt=v_opt, alpha_opt=alpha_opt, one_sided=True) < wanted:
            low = middle
        else:
            high = middle
    return high


def normal_log_mixture(
    s: float, v: float, *, v_opt: float, alpha_opt: float = 0.05, one_sided: bool = False
) -> float:
    """The log of the mixture supermartingale at the sum s with variance v."""
    rho = _best_rho(v_opt, 2 * alpha_opt if one_sided else alpha_opt)
    value = math.log(rho / (v + rho)) / 2 + s * s / (2 * (v + rho))
    if not one_sided:
        return value
    below = upper_tail(-s / math.sqrt(v + rho))
    return value + math.log(2) + math.log(below) if below > 0 else -math.inf


def _best_rho(v_opt: float, alpha_opt: float) -> float:
    """The prior's precision that makes the bound about tightest at v_opt (Howard et al. § 3.5)."""
    wanted = 2 * math.log(1 / alpha_opt)
    return v_opt / (wanted + math.log1p(wanted))
