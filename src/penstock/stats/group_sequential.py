"""Looking at a running experiment a few times at a known total false-positive rate.

Z-statistics at successive looks are jointly normal with independent increments of the score
S = Z·√information. The chance of crossing a bound for the first time at a look is an integral over
what was inside at the look before (Armitage, McPherson and Rowe 1969; Jennison and Turnbull 2000,
Group Sequential Methods, ch. 19). Lan and DeMets (1983) spend the error as information comes, so
that looks need not be at planned times; their O'Brien-Fleming-like function hardly spends early.
All tests are two-sided and symmetric.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.stats.normal import quantile, upper_tail

# Beyond this many standard deviations there is nothing to integrate (2·10⁻¹⁹).
EDGE = 9.0
# Looks with less new information than this share of the old are taken to have this much: the
# bound errs on the safe side.
LEAST_STEP = 1e-3
PANEL = 16  # quadrature nodes

Array = NDArray[np.float64]


class _Inside(NamedTuple):
    """The score at a look on the paths that have crossed nothing so far, as quadrature points."""

    information: float
    score: Array
    mass: Array  # density times quadrature weight


_START = _Inside(0.0, np.zeros(1), np.ones(1))


def obrien_fleming_spending(fraction: float, alpha: float) -> float:
    """The error that may be spent once `fraction` (0 to 1) of the information is in.

    >>> obrien_fleming_spending(1.0, 0.05)
    0.05
    """
    if fraction >= 1:
        return alpha
    return 4 * upper_tail(quantile(1 - alpha / 4) / math.sqrt(fraction)) if fraction > 0 else 0.0


def spending_bounds(information: Sequence[float], spent: Sequence[float]) -> tuple[float, ...]:
    """The |z| at which each look rejects, from the error spent up to and with each look.

    `information` rises, in any unit (only its ratios count): units, or 1/variance. A look that
    has nothing to spend has the bound infinity.
    """
    if len(information) != len(spent):
        raise ValueError(f"{len(information)} looks, but errors spent at {len(spent)}")
    return _spending_bounds(_steadily(information), tuple(spent))


def lan_demets_bounds(fractions: Sequence[float], alpha: float) -> tuple[float, ...]:
    """The |z| at looks at these fractions of the information, by O'Brien-Fleming spending.

    >>> [round(z, 3) for z in lan_demets_bounds([0.2, 0.4, 0.6, 0.8, 1.0], 0.05)]
    [4.877, 3.357, 2.68, 2.29, 2.031]
    """
    return spending_bounds(fractions, [obrien_fleming_spending(t, alpha) for t in fractions])


def obrien_fleming_bounds(looks: int, alpha: float) -> tuple[float, ...]:
    """The classical bounds at evenly spaced looks: C·√(K/k) (O'Brien and Fleming 1979)."""
    from scipy.optimize import brentq

    times = [k / looks for k in range(1, looks + 1)]

    def excess(constant: float) -> float:
        bounds = [constant / math.sqrt(t) for t in times]
        return sum(low + high for low, high in crossing(times, bounds)) - alpha

    constant = brentq(excess, quantile(1 - alpha / 2) * 0.99, 8.0, xtol=1e-10)
    return tuple(constant / math.sqrt(t) for t in times)


def crossing(
    information: Sequence[float],
    upper: Sequence[float],
    lower: Sequence[float] | None = None,
    drift: float = 0.0,
) -> list[tuple[float, float]]:
    """P(the first crossing is at this look, downwards) and upwards, for each look.

    `upper` and `lower` (mirrored where not given) are bounds on z; E[z] is drift·√information.
    """
    information = _steadily(information)
    lower = [-bound for bound in upper] if lower is None else lower
    inside, found = _START, list[tuple[float, float]]()
    for look, at in enumerate(information):
        found.append(
            (
                _beyond(inside, at, lower[look], drift, downwards=True),
                _beyond(inside, at, upper[look], drift, downwards=False),
            )
        )
        inside = _advanced(inside, information, look, (lower[look], upper[look]), drift)
    return found


def inflation(fractions: Sequence[float], alpha: float, power: float) -> float:
    """How many times the units of a test without interim looks these looks may need at most.

    With O'Brien-Fleming spending and the same power against the same effect.
    """
    from scipy.optimize import brentq

    bounds = lan_demets_bounds(fractions, alpha)

    def missing(drift: float) -> float:
        return sum(up for _, up in crossing(fractions, bounds, drift=drift)) - power

    fixed = quantile(1 - alpha / 2) + quantile(power)
    found = brentq(missing, fixed * 0.9, fixed * 1.5, xtol=1e-8)
    return float((found / fixed) ** 2)


@lru_cache(maxsize=512)
def _spending_bounds(information: tuple[float, ...], spent: tuple[float, ...]) -> tuple[float, ...]:
    inside, bounds, before = _START, list[float](), 0.0
    for look, at in enumerate(information):
        bound = _bound_that_spends(inside, at, max(spent[look] - before, 0.0))
        bounds.append(bound)
        before = max(spent[look], before)
        inside = _advanced(inside, information, look, (-bound, bound), 0.0)
    return tuple(bounds)


def _bound_that_spends(inside: _Inside, at: float, error: float) -> float:
    from scipy.optimize import brentq

    def excess(bound: float) -> float:
        return 2 * _beyond(inside, at, bound, 0.0, downwards=False) - error

    furthest = 4 * EDGE
    if error <= 0 or excess(furthest) > 0:
        return math.inf
    return float(brentq(excess, 0.0, furthest, xtol=1e-10)) if excess(0.0) > 0 else 0.0


def _beyond(inside: _Inside, at: float, bound: float, drift: float, *, downwards: bool) -> float:
    """P(inside so far, and then beyond the bound on z when the information is `at`)."""
    from scipy.special import ndtr

    step = at - inside.information
    distance = (bound * math.sqrt(at) - inside.score - drift * step) / math.sqrt(step)
    return float(inside.mass @ ndtr(distance if downwards else -distance))


def _advanced(
    inside: _Inside,
    information: Sequence[float],
    look: int,
    bounds: tuple[float, float],
    drift: float,
) -> _Inside:
    """What is inside the bounds (on z) at this look, on points fine enough for the next one."""
    at = information[look]
    step = at - inside.information
    following = information[look + 1] - at if look + 1 < len(information) else step
    root, centre = math.sqrt(at), drift * at
    low = max(bounds[0] * root, centre - EDGE * root)
    high = min(bounds[1] * root, centre + EDGE * root)
    width = max(high - low, 0.0)
    score, weights = _points(3 * width / math.sqrt(min(step, following)))
    score = low + width * score
    gaps = (score[:, None] - inside.score[None, :] - drift * step) / math.sqrt(step)
    density = np.exp(-gaps * gaps / 2) @ inside.mass / math.sqrt(2 * math.pi * step)
    return _Inside(at, score, density * weights * width)


def _points(wanted: float) -> tuple[Array, Array]:
    """At least so many Gauss-Legendre nodes and weights on (0, 1), in panels of equal length."""
    nodes, weights = _panel()
    panels = max(4, math.ceil(wanted / PANEL))
    return (np.arange(panels)[:, None] + nodes).ravel() / panels, np.tile(weights, panels) / panels


@lru_cache(maxsize=1)
def _panel() -> tuple[Array, Array]:
    nodes, weights = np.polynomial.legendre.leggauss(PANEL)
    return (nodes + 1) / 2, weights / 2


def _steadily(information: Sequence[float]) -> tuple[float, ...]:
    """The same, with steps of at least `LEAST_STEP`. Raises `ValueError` where it falls."""
    found = list[float]()
    for at in information:
        before = found[-1] if found else 0.0
        if not (math.isfinite(at) and at > 0 and at >= before * (1 - LEAST_STEP)):
            raise ValueError(f"information must be positive and rise, got {list(information)}")
        found.append(max(at, before * (1 + LEAST_STEP)))
    return tuple(found)
