"""Is the candidate worse than the baseline beside it, or surely not much worse?"""

from __future__ import annotations

import math
from dataclasses import dataclass

from penstock.rollout.judge.counts import Counts
from penstock.stats.e_process import log_e_below, log_e_worsened, ratio_interval

CONFIDENCE = 0.95  # of the interval that is told; it decides nothing


@dataclass(frozen=True)
class Ratio:
    """The e-values for and against the candidate, over all stages in which both arms served."""

    worse: float  # against "its risk is no greater"
    within: float  # against "its risk is `tolerance` times the baseline's, or more"
    estimate: float  # of the risk ratio; NaN: nothing bad happened in the baseline
    low: float
    high: float

    @property
    def numbers(self) -> dict[str, float]:
        return {
            "e": self.worse,
            "certificate": self.within,
            "ratio": self.estimate,
            "ratio_low": self.low,
            "ratio_high": self.high,
        }


def ratio_of(counts: Counts, tolerance: float) -> Ratio:
    """Judged by units at their first bad answer in the rollout."""
    events, candidate, share = counts.by_stage
    low, high = ratio_interval(events, candidate, share, alpha=1 - CONFIDENCE)
    return Ratio(
        worse=finite_exp(float(log_e_worsened(events, candidate, share))),
        within=finite_exp(float(log_e_below(events, candidate, share, ratio=tolerance))),
        estimate=_mantel_haenszel(events, candidate, share),
        low=low,
        high=high,
    )


def finite_exp(log_e: float) -> float:
    """An e-value as a float that JSON and databases can hold."""
    return math.exp(min(log_e, 700.0))


def _mantel_haenszel(events: list[int], candidate: list[int], share: list[float]) -> float:
    """One ratio over stages with different shares (Mantel and Haenszel 1959)."""
    triples = list(zip(events, candidate, share, strict=True))
    above = sum(k * (1 - w) for _, k, w in triples)
    below = sum((n - k) * w for n, k, w in triples)
    return above / below if below else math.nan
