"""Exact sequential tests of two rates from one coin: in which arm did a bad event fall?

Units are assigned to the candidate with probability w. Given that a bad event happened, it fell in
the candidate's arm with probability θ(r) = w·r / (w·r + 1 − w), where r is the risk ratio. The rate
of bad events itself drops out, so an outage or a time of day that hits both arms does no harm.

Under "r ≤ m" the likelihood ratio of any r′ > m against m is a supermartingale of mean at most 1;
so is its mean over a fixed prior on r′. By Ville's inequality it ever exceeds 1/α with probability
at most α, however often one looks. With n events of which k fell in the candidate's arm,

    log LR(r′ : m) = k·log(r′/m) − n·log[(1 + w·(r′ − 1)) / (1 + w·(m − 1))],

which stays accurate for billions of events. The mirrored test of "r ≥ m" uses ratios below m, and
one sample against the rate p₀ is the same test with w = p₀: all trials are the n, the bad ones the
k, and r is the ratio of the odds.

The prior: |log(r′/m)| follows a Gamma distribution of shape 2 and mean log 2, on a fixed grid (so
that the test is exact for the prior as it stands). It expects a doubling. Measured to a bound of
1/40 at w = 10 %, with 1 % of bad events in the baseline, the median number of requests of the
candidate before the bound is crossed is 3,900 when its rate is 1.5 times that, 1,130 for twice,
370 for three times, 58 for ten times; the best prior for each single one of them would need
3,400, 950, 330 and 47.

Lindon and Malek 2022, "Anytime-valid inference for multinomial count data" (arXiv 2011.03567);
Lindon et al. 2022, "Rapid regression detection in software deployments through sequential
testing" (arXiv 2205.14762); Turner, Ly and Grünwald 2021, "Generic E-variables for exact
sequential k-sample tests" (arXiv 2106.02693).

Counts are arrays whose last axis is the stage: each stage has its own w. Leading axes are
independent tests. All results are natural logarithms.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_STEP = 0.1
# |log(r′/m)| up to a ratio of e⁶ ≈ 400
DISTANCES: Final[Floats] = np.arange(_STEP / 2, 6, _STEP)
_UNSCALED = DISTANCES * np.exp(-2 * DISTANCES / math.log(2))
LOG_PRIOR: Final[Floats] = np.log(_UNSCALED / _UNSCALED.sum())

# How much of the wealth bets from the first stage on; the rest waits for later ones.
FROM_THE_START = 0.8


def log_e_above(
    events: ArrayLike, candidate: ArrayLike, share: ArrayLike, *, ratio: float = 1.0
) -> Floats:
    """Evidence against "the risk ratio is at most `ratio`", over all stages as one.

    `candidate` of the `events` (both of shape (…, stages)) fell in the arm of the candidate, whose
    share of the units is `share` (stages,). The result has shape (…). At a share of 1 there is no
    other arm to compare with, and such a stage adds nothing.

    >>> float(log_e_above([100], [30], [0.1]).round(2))
    13.4
    >>> float(log_e_above([100], [10], [0.1]).round(2))
    -1.17
    """
    return _mixture(*_counts(events, candidate, share), ratio, DISTANCES)


def log_e_below(
    events: ArrayLike, candidate: ArrayLike, share: ArrayLike, *, ratio: float
) -> Floats:
    """Evidence against "the risk ratio is at least `ratio`": the certificate. See `log_e_above`.

    >>> float(log_e_below([140], [14], [0.1], ratio=2.0).round(2))
    2.97
    """
    return _mixture(*_counts(events, candidate, share), ratio, -DISTANCES)


def log_e_worsened(
    events: ArrayLike, candidate: ArrayLike, share: ArrayLike, *, ratio: float = 1.0
) -> Floats:
    """As `log_e_above`, for a candidate that may turn bad at any stage.

    Evidence of innocence from early stages would delay the alarm in a later one. So a part of the
    wealth starts betting at each stage: 0.8 at the first, 0.1 at the second, half as much at each
    that follows. Bets not yet placed are worth 1, so the whole is an e-process too.

    The product over stages of a mixture for each is one as well, but not for a candidate that is
    better when units are counted once: the baseline runs out of units that fail, and the share of
    the candidate in the late first failures rises above w. Counted from the start, each failure
    that a better candidate delays only lowers the evidence, path by path.
    """
    n, k, w = _counts(events, candidate, share)
    by_stage = k[..., None] * DISTANCES - n[..., None] * _cost(w, np.array([ratio]), DISTANCES)[0]
    from_stage = np.cumsum(by_stage[..., ::-1, :], axis=-2)[..., ::-1, :]
    bets = start_bets(n.shape[-1])
    placed = np.logaddexp.reduce(np.log(bets) + _log_mean(from_stage), axis=-1)
    total: Floats = np.logaddexp(placed, math.log(1.0 - bets.sum()))
    return total


def start_bets(stages: int) -> Floats:
    """The part of the wealth that starts betting at each stage; less than 1 in all.

    >>> start_bets(4).round(3).tolist()
    [0.8, 0.1, 0.05, 0.025]
    """
    later = (1 - FROM_THE_START) / 2.0 ** np.arange(1, max(stages, 1))
    return np.concatenate([[FROM_THE_START], later])


def log_e_beta(events: float, candidate: float, share: float) -> float:
    """Evidence against "the share is exactly `share`", for a Beta(1,1) prior on it: two-sided.

    The likelihood under a uniform prior over the one at `share`: B(k+1, n−k+1) / (wᵏ·(1−w)ⁿ⁻ᵏ).
    Serves as sequential test of the sample ratio (Lindon and Malek 2022, § 3).

    >>> round(math.exp(log_e_beta(20, 15, 0.5)), 4)
    3.2206
    """
    k, rest = candidate, events - candidate
    log_beta = math.lgamma(k + 1) + math.lgamma(rest + 1) - math.lgamma(events + 2)
    return log_beta - _times_log(k, share) - _times_log(rest, 1 - share)


def ratio_interval(
    events: ArrayLike, candidate: ArrayLike, share: ArrayLike, *, alpha: float
) -> tuple[float, float]:
    """Confidence sequence of the risk ratio: at all times at once it covers with 1 − `alpha`.

    The ratios that neither test rejects at α/2; an end that the counts leave open is 0 or infinity.
    The log-likelihood is concave in log r, so both tests are monotone in m and bisection is exact.
    """
    n, k, w = _counts(events, candidate, share)
    bound = math.log(2 / alpha)
    low = _last_rejected(n, k, w, bound, DISTANCES, (-_FAR, _FAR))
    high = _last_rejected(n, k, w, bound, -DISTANCES, (_FAR, -_FAR))
    return (
        0.0 if low is None else math.exp(low),
        math.inf if high is None else math.exp(high),
    )


def rate_interval(trials: float, bad: float, *, alpha: float) -> tuple[float, float]:
    """Confidence sequence of a rate of Bernoulli trials, as `ratio_interval`; counts may be parts.

    >>> low, high = rate_interval(1000, 20, alpha=0.05)
    >>> round(low, 4), round(high, 4)
    (0.0093, 0.0367)
    """
    odds = _NEAR / (1 - _NEAR)
    low, high = ratio_interval([trials], [bad], [_NEAR], alpha=alpha)
    return odds * low / (1 + odds * low), 1 / (1 + 1 / (odds * high))


_NEAR = 0.01  # where the range of rates that are looked at is centred; of no other consequence
_FAR = 10.0  # e¹⁰ = 22,000 is as good as any ratio
_POINTS = 33


def _last_rejected(
    n: Floats, k: Floats, w: Floats, bound: float, distances: Floats, way: tuple[float, float]
) -> float | None:
    """The log ratio, to 2 %, where rejection ceases on the way from an end; None: none began."""
    start, end = way
    for _ in range(2):
        points = np.linspace(start, end, _POINTS)
        cost = _cost(w, np.exp(points), distances)
        log_e = _log_mean(k.sum() * distances - np.tensordot(cost, n, (1, 0)))
        places = (log_e >= bound).nonzero()[0]
        if not len(places):
            return None
        last = int(places[-1])
        start, end = points[last], points[min(last + 1, _POINTS - 1)]
    return float(start)


def _mixture(n: Floats, k: Floats, w: Floats, ratio: float, distances: Floats) -> Floats:
    """log Σ prior(x)·LR(m·eˣ : m), shape (…) for counts of shape (…, stages)."""
    cost = _cost(w, np.array([ratio]), distances)[0]
    return _log_mean(k.sum(-1)[..., None] * distances - n @ cost)


def _cost(w: Floats, ratios: Floats, distances: Floats) -> Floats:
    """What each event costs each ratio of the prior, whatever its arm: (ratios, stages, prior)."""
    others = ratios[:, None, None] * np.exp(distances)
    under_null = np.log1p(w * (ratios[:, None] - 1))
    cost: Floats = np.log1p(w[:, None] * (others - 1)) - under_null[:, :, None]
    return cost


def _log_mean(log_ratios: Floats) -> Floats:
    """log of the mean over the prior, which is the last axis."""
    weighted = log_ratios + LOG_PRIOR
    peak = weighted.max(axis=-1)
    mean: Floats = peak + np.log(np.exp(weighted - peak[..., None]).sum(axis=-1))
    return mean


def _counts(
    events: ArrayLike, candidate: ArrayLike, share: ArrayLike
) -> tuple[Floats, Floats, Floats]:
    n, k, w = (np.asarray(values, dtype=np.float64) for values in (events, candidate, share))
    return n, k, w


def _times_log(count: float, chance: float) -> float:
    """count · log(chance), 0 where nothing is counted."""
    if count == 0:
        return 0.0
    return count * math.log(chance) if chance > 0 else -math.inf
