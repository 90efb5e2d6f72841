"""Shares of bad answers, with intervals for people to read. Decisions use `stats.e_process`."""

from __future__ import annotations

import math

from penstock.stats.normal import quantile


def wilson(bad: float, trials: float, *, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a rate (Wilson 1927, JASA 22): both limits, 0 to 1.

    Counts may be fractions, as after `clustering_factor`. Without trials nothing is known: (0, 1).

    >>> [round(limit, 4) for limit in wilson(81, 263)]
    [0.2553, 0.3662]
    """
    if trials <= 0:
        return 0.0, 1.0
    z = quantile((1 + confidence) / 2)
    rate, square = bad / trials, z * z / trials
    centre = rate + square / 2
    half = z * math.sqrt(rate * (1 - rate) / trials + square / (4 * trials))
    return max(0.0, (centre - half) / (1 + square)), min(1.0, (centre + half) / (1 + square))


def clustering_factor(bad: int, units: int) -> float:
    """Bad answers for each unit that had one, at least 1: by this much there is less evidence.

    Answers to one user fail together. Trials and bad ones divided by this factor count users, as
    if each answered once (the mean size of a cluster, as in the design effect of Kish 1965).
    """
    return max(1.0, bad / units) if units > 0 else 1.0
