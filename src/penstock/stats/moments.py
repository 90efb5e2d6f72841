"""Sums that add: all that means, ratios and their adjusted differences need to know of an arm.

Of n units, each with a metric y, a denominator d (1 for a plain mean) and a covariate x that was
known before the unit was exposed (0 where there is none). Sums of different gateways, days or
shards of one arm are added; nothing is ever averaged. (As GrowthBook's gbstats keeps its
statistics.)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Moments(NamedTuple):
    """Σ over the units of one arm; every field is a plain sum.

    A variance of values whose mean is 10⁶ times their spread loses twelve of its sixteen digits:
    count in units in which that does not happen.
    """

    n: int = 0  # units
    y: float = 0.0
    yy: float = 0.0
    d: float = 0.0  # with dd = 0 too: the metric is a plain mean over units
    dd: float = 0.0
    yd: float = 0.0
    x: float = 0.0
    xx: float = 0.0
    xy: float = 0.0
    xd: float = 0.0


def moments_of(
    y: Sequence[float], d: Sequence[float] | None = None, x: Sequence[float] | None = None
) -> Moments:
    """The sums over units given one by one; every sequence has one value a unit.

    >>> moments_of([1.0, 3.0])[:3]
    (2, 4.0, 10.0)
    """
    n = len(y)
    d, x = d if d is not None else [0.0] * n, x if x is not None else [0.0] * n
    rows = list(zip(y, d, x, strict=True))
    return Moments(
        n=n,
        y=float(sum(y)),
        yy=float(sum(v * v for v in y)),
        d=float(sum(d)),
        dd=float(sum(v * v for v in d)),
        yd=float(sum(a * b for a, b, _ in rows)),
        x=float(sum(x)),
        xx=float(sum(v * v for v in x)),
        xy=float(sum(a * c for a, _, c in rows)),
        xd=float(sum(b * c for _, b, c in rows)),
    )


def moments_of_counts(units: int, hits: int) -> Moments:
    """Of a yes-or-no metric: `hits` of the units are 1, the others 0."""
    return Moments(n=units, y=float(hits), yy=float(hits))


def merged(parts: Iterable[Moments]) -> Moments:
    """The moments of all units of several disjoint parts of one arm."""
    columns = list(zip(*parts, strict=True))
    return Moments(int(sum(columns[0])), *map(sum, columns[1:])) if columns else Moments()
