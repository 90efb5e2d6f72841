"""How many values nobody has seen before come by chance alone? What is more than that is news."""

from __future__ import annotations

import math

from penstock.stats.normal import upper_tail


def unseen_categories_p(unseen: int, window: int, singletons: int, reference: int) -> float:
    """P(so many of the window's rows or more are of categories that the reference has not).

    The chance that the next row is of a new category is about the share of rows whose category
    occurs once (Good 1953, Biometrika 40); the difference of the two rates is tested by z.

    >>> unseen_categories_p(0, 100, 3, 1000)
    1.0
    >>> f"{unseen_categories_p(10, 100, 3, 1000):.1e}"
    '2.3e-10'
    """
    if unseen == 0:
        return 1.0
    expected = singletons + 1  # of a large reference without singletons, still not impossible
    pooled = (unseen + expected) / (window + reference)
    variance = pooled * (1 - pooled) * (1 / window + 1 / reference)
    if variance <= 0:
        return 1.0
    return upper_tail((unseen / window - expected / reference) / math.sqrt(variance))


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
