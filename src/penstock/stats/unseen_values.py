"""How many values nobody has seen before come by chance alone? What is more than that is news."""

from __future__ import annotations

import math


def unseen_categories_p(
    unseen: int, window: int, singletons: int, doubletons: int, reference: int
) -> float:
    """P(so many of the window's rows or more are of categories that the reference has not).

    The chance that the next row is of a new category is about the share of rows whose category
    occurs once (Good 1953, Biometrika 40), with the variance (N₁ + 2N₂)/n² for N₂ categories that
    occur twice (Robbins 1968, Annals of Mathematical Statistics 39): a new category brings several
    rows at once. As a gamma distribution of that mean and variance it makes the number of unseen
    rows a negative binomial one.

    >>> unseen_categories_p(0, 100, 3, 2, 1000)
    1.0
    >>> f"{unseen_categories_p(10, 100, 3, 2, 1000):.1e}"
    '1.5e-07'
    """
    from scipy.special import betainc

    if unseen == 0:
        return 1.0
    expected = singletons + 1  # of a large reference without singletons, still not impossible
    shape = expected**2 / (expected + 2 * doubletons)
    rows = shape * reference / expected  # of the reference, that would tell as much
    return float(betainc(unseen, shape, window / (window + rows)))


def beyond_range_p(beyond: int, window: int, reference: int) -> float:
    """P(so many of the window's values lie below or above all of the reference's).

    The outermost of both samples together all come from the window, whichever of the `beyond` + 1
    ways they are shared among the two ends: at most (r + 1)·m!/(m − r)!·(n + m − r)!/(n + m)!.

    >>> beyond_range_p(0, 100, 1000)
    1.0
    >>> round(beyond_range_p(3, 100, 1000), 5)
    0.00292
    """
    each = sum(math.log((window - i) / (window + reference - i)) for i in range(min(beyond, 2_000)))
    return min(1.0, (beyond + 1) * math.exp(each)) if beyond else 1.0
