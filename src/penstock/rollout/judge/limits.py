"""One arm against a number: above its limit, or negligible; and against the past of the other.

Answers to one user fail together, so that all counts are divided by the clustering factor: they
then count users, about. The limits hold at all looks at once.
"""

from __future__ import annotations

import math

from penstock.rollout.judge.counts import ArmCount, Counts
from penstock.stats.e_process import log_e_above, log_e_below, rate_interval


def surely_above(arm: ArmCount, limit: float, clustering: float, *, alpha: float) -> bool:
    """Whether the arm's rate exceeds the limit; wrong at any look with probability alpha."""
    if not 0 < limit < 1:
        return limit <= 0 < arm.bad
    trials, bad = arm.requests / clustering, arm.bad / clustering
    return float(log_e_above([trials], [bad], [limit])) >= math.log(1 / alpha)


def log_e_negligible(counts: Counts, negligible: float) -> float:
    """Evidence that the candidate's rate is below `negligible`, over all stages."""
    if not 0 < negligible < 1:
        return -math.inf if negligible <= 0 else math.inf
    return _log_e_within(counts.candidate, negligible, counts.clustering)


def log_e_inside(counts: Counts, limit: float) -> float:
    """Evidence that the candidate's rate is below a limit, at the load of the present stage."""
    if not 0 < limit < 1:
        return -math.inf
    return _log_e_within(counts.present.candidate, limit, counts.clustering)


def _log_e_within(arm: ArmCount, limit: float, clustering: float) -> float:
    trials, bad = arm.requests / clustering, arm.bad / clustering
    return float(log_e_below([trials], [bad], [limit], ratio=1.0))


def against_history(counts: Counts, *, alpha: float) -> tuple[float, float]:
    """How many times the baseline's rate of all stages the candidate's present one surely is:

    at least, and at most. For when no baseline serves beside it. Time alone may have changed the
    rate, so that callers leave a margin.
    """
    present, past, clustering = counts.present.candidate, counts.baseline, counts.clustering
    low, high = rate_interval(present.requests / clustering, present.bad / clustering, alpha=alpha)
    before = rate_interval(past.requests / clustering, past.bad / clustering, alpha=alpha)
    return low / before[1], high / before[0] if before[0] > 0 else math.inf
