"""Two models on the same requests: what they disagree on, and how much slower one of them is.

Every pair is its own control, so what all requests share (hard hours, large payloads) drops out.
Pairs are taken as independent of each other.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from penstock.stats.confidence_sequences import Interval, asymptotic_interval
from penstock.stats.e_process import log_e_above, log_e_below, log_e_beta, ratio_interval
from penstock.stats.normal import two_sided_p
from penstock.stats.two_sample_tests import Significance


class PairedSums(NamedTuple):
    """Of a difference within pairs, such as a log latency ratio: sums that add."""

    n: int = 0
    total: float = 0.0
    squares: float = 0.0

    @property
    def mean(self) -> float:
        return self.total / self.n if self.n else math.nan

    @property
    def error(self) -> float:
        """Standard error of the mean; infinite below two pairs."""
        if self.n < 2:
            return math.inf
        centred = max(self.squares - self.total**2 / self.n, 0.0)
        return math.sqrt(centred / (self.n - 1) / self.n)


def mcnemar(b: int, c: int) -> Significance:
    """McNemar's test at one look: of the pairs in which one model alone was right, b and c.

    Without continuity correction (McNemar 1947); no discordant pair gives p = 1, exactly.

    >>> round(mcnemar(121, 59).statistic, 4)
    21.3556
    """
    if b + c == 0:
        return Significance(0.0, 1.0)
    square = (b - c) ** 2 / (b + c)
    return Significance(square, two_sided_p(math.sqrt(square)))


def log_e_discordant(b: int, c: int) -> float:
    """Sequential McNemar: evidence, at any time, against "b and c are equally likely" (log).

    Given that a pair is discordant, which model was right is a fair coin under the null; the
    alternative is a uniform prior on its bias.
    """
    return log_e_beta(b + c, c, 0.5)


def log_e_worse(b: int, c: int) -> float:
    """As `log_e_discordant`, one-sided: against "b is at most as likely as c" (natural log)."""
    return float(log_e_above([b + c], [b], [0.5]))


def mean_interval(sums: PairedSums, *, alpha: float, tightest_at: int) -> Interval:
    """Always-valid interval of the mean difference within pairs."""
    return asymptotic_interval(sums.mean, sums.error, sums.n, alpha=alpha, tightest_at=tightest_at)


def equivalence(
    interval: Interval, *, low: float = -math.inf, high: float = math.inf
) -> Literal["within", "beyond", "open"]:
    """Two one-sided tests by an interval: all of it within the margins, all beyond one, or neither.

    (Schuirmann 1987.) With an always-valid interval it may be asked at any time.
    """
    if low <= interval.low and interval.high <= high:
        return "within"
    return "beyond" if interval.low > high or interval.high < low else "open"


def log_e_rate_above(hits: int, trials: int, limit: float) -> float:
    """Evidence, at any time, against "the rate is at most `limit`" (natural log)."""
    return float(log_e_above([trials], [hits], [limit]))


def log_e_rate_below(hits: int, trials: int, limit: float) -> float:
    """Evidence, at any time, against "the rate is at least `limit`" (natural log)."""
    return float(log_e_below([trials], [hits], [limit], ratio=1.0))


def rate_interval(hits: int, trials: int, *, near: float, alpha: float) -> Interval:
    """Always-valid interval of a rate, tightest for rates within a few times of `near`."""
    low, high = ratio_interval([trials], [hits], [near], alpha=alpha)
    odds = near / (1 - near)

    def rate(ratio: float) -> float:
        return odds * ratio / (1 + odds * ratio) if math.isfinite(ratio) else 1.0

    return Interval(rate(low), rate(high))
