"""How much better one arm is than another: mean or ratio, absolute or relative, covariate-adjusted.

A ratio of sums R = Σy/Σd is, to first order, the mean of the units' (y − R·d)/d̄ (delta method;
Deng, Knoblich and Lu 2018, Applying the delta method in metric analytics, KDD). CUPED takes from
it what a covariate known before exposure explains, with one slope for both arms (Deng, Xu, Kohavi
and Walker 2013, Improving the sensitivity of online controlled experiments, WSDM). A relative lift
is a ratio too: of the difference to the control's mean.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from penstock.stats.moments import Moments, merged

# Below this many standard errors from zero, the control's mean is no base to divide by.
LEAST_BASE_Z = 4.0


class Lift(NamedTuple):
    """The treatment's metric against the control's."""

    estimate: float  # treatment − control; as a share of the control where relative
    error: float  # standard error of the estimate
    z: float  # of the absolute difference against none: the same hypothesis, without a quotient
    control: float  # the arms' own means or ratios, not adjusted
    treatment: float
    slope: float  # of CUPED; 0: not adjusted


class Undefined(NamedTuple):
    """A statistic that these data do not have, and why."""

    reason: str


class _Arm(NamedTuple):
    """Of the linearised metric l and the covariate x of one arm, per unit."""

    n: int
    value: float  # the mean or ratio
    variance: float
    covariance: float  # of l and x
    x_mean: float
    x_variance: float

    def residual_variance(self, slope: float) -> float:
        spread = self.variance - 2 * slope * self.covariance + slope * slope * self.x_variance
        return max(spread, 0.0)


def lift(
    control: Moments, treatment: Moments, *, relative: bool, adjust: bool = True
) -> Lift | Undefined:
    """The lift of the treatment with its standard error; CUPED where a covariate varies.

    Needs two units an arm, metrics that vary, and for a relative lift a control clearly above 0.
    """
    if reason := _unusable(control) or _unusable(treatment):
        return Undefined(reason)
    a, b, both = _arm(control), _arm(treatment), _arm(merged([control, treatment]))
    slope = both.covariance / both.x_variance if adjust and both.x_variance > 0 else 0.0
    difference = b.value - a.value - slope * (b.x_mean - a.x_mean)
    noise = a.residual_variance(slope) / a.n + b.residual_variance(slope) / b.n
    if noise <= 0:
        return Undefined("the metric does not vary between units")
    z = difference / math.sqrt(noise)
    if not relative:
        return Lift(difference, math.sqrt(noise), z, a.value, b.value, slope)
    if a.value < LEAST_BASE_Z * math.sqrt(a.variance / a.n) or a.value <= 0:
        return Undefined(
            f"the baseline's mean {a.value:.4g} is not clearly above 0: "
            "a relative lift has no meaning"
        )
    share, noise = difference / a.value, _relative_noise(a, slope, difference / a.value, noise)
    return Lift(share, math.sqrt(noise), z, a.value, b.value, slope)


def standard_error(moments: Moments) -> float:
    """Of the arm's own mean or ratio; NaN below two units."""
    return math.sqrt(_arm(moments).variance / moments.n) if moments.n > 1 else math.nan


def value(moments: Moments) -> float:
    """The arm's mean or ratio; NaN of no units."""
    base = moments.d or moments.n
    return moments.y / base if base else math.nan


def share_interval(moments: Moments, z: float) -> tuple[float, float]:
    """Wilson's interval, z standard errors to each side, of a mean or ratio within 0 to 1.

    Σd of a ratio are no independent trials: it counts as many as give the standard error that
    the units show. All 0 or all 1, it counts units. (Korn and Graubard 1998; Wilson 1927.)
    """
    share, error = value(moments), standard_error(moments)
    if not math.isfinite(share) or not math.isfinite(z):
        return 0.0, 1.0
    spread = share * (1 - share)
    trials = spread / error**2 + 1 if spread > 0 and error > 0 else float(moments.n)
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z * math.sqrt(spread / trials + (z / (2 * trials)) ** 2) / (1 + z * z / trials)
    return max(centre - half, 0.0), min(centre + half, 1.0)


def _relative_noise(control: _Arm, slope: float, share: float, noise: float) -> float:
    """Variance of difference/control by the delta method, from the difference's own, `noise`."""
    common = control.variance - slope * control.covariance  # −n·Cov(difference, control)
    added = (2 * share * common + share * share * control.variance) / control.n
    return max(noise + added, 0.0) / control.value**2


def _unusable(moments: Moments) -> str:
    if moments.n < 2:
        return f"an arm has {moments.n} units with this metric; it takes two"
    if not all(map(math.isfinite, moments)):
        return "the metric has values that are not finite"
    if moments.d <= 0 and moments.dd > 0:
        return "the denominator adds up to nothing"
    return ""


def _arm(moments: Moments) -> _Arm:
    n, y, yy, d, dd, yd, x, xx, xy, xd = moments
    if d == 0 and dd == 0:  # a plain mean: every unit's denominator is 1
        d, dd, yd, xd = n, n, y, x
    ratio, scale = y / d, d / n

    def centred(product: float, first: float, second: float) -> float:
        return (product - first * second / n) / (n - 1)

    variance = (
        centred(yy, y, y) - 2 * ratio * centred(yd, y, d) + ratio * ratio * centred(dd, d, d)
    ) / scale**2
    covariance = (centred(xy, x, y) - ratio * centred(xd, x, d)) / scale
    return _Arm(n, ratio, max(variance, 0.0), covariance, x / n, max(centred(xx, x, x), 0.0))
