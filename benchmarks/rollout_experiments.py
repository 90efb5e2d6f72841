"""Simulated A/B tests through the real judge: false positives, power, broken randomisation."""

from __future__ import annotations

import math

import numpy as np

from penstock.rollout.judge.ab import AbEvidence, AbMetric, AbOutcome, AbPlan
from penstock.rollout.judge.ab_decision import judge_ab
from penstock.stats.moments import Moments
from penstock.stats.normal import quantile
from penstock.stats.power import Design, sample_size

METRIC = "user_engagement"
MEAN, SPREAD, LIFT = 10.0, 20.0, 0.02  # of a unit; the lift is relative
DESIGN = Design(MEAN, SPREAD, LIFT, relative=True, looks=1)
UNITS = sample_size(DESIGN).total  # of the fixed design, without looks in between
# Any significant gain is a success here, as it is for the fixed design.
PLAN = AbPlan(primary=METRIC, lift=1e-9, min_units=UNITS)


def decided(tests: int, lift: float, seed: int) -> tuple[float, float]:
    """The shares of tests that found a gain and a loss, over all looks."""
    generator = np.random.default_rng(seed)
    outcomes = [_outcome(generator, lift) for _ in range(tests)]
    return outcomes.count(AbOutcome.SUCCESS) / tests, outcomes.count(AbOutcome.HARM) / tests


def fixed_power(lift: float) -> float:
    """Of one test at the end, two-sided."""
    drift = lift * MEAN / math.sqrt(DESIGN.variance_per_unit() / UNITS)
    return 1 - _phi(quantile(1 - PLAN.alpha / 2) - drift)


def mismatched(tests: int, misrouted: float, units: int, seed: int) -> float:
    """The share of tests that are found invalid within so many units, at 100 looks.

    `misrouted` of the treatment's units are sent to the control instead.
    """
    generator = np.random.default_rng(seed)
    invalid = 0
    for _ in range(tests):
        came = generator.binomial(units // 100, 0.5 * (1 - misrouted), size=100).cumsum()
        counts = [(units // 100 * (i + 1) - int(n), int(n)) for i, n in enumerate(came)]
        # Without metrics no look is taken; the sample ratio is judged all the same.
        invalid += any(
            judge_ab(AbEvidence(seconds=1.0, control_units=c, treatment_units=t), PLAN).outcome
            is AbOutcome.INVALID
            for c, t in counts
        )
    return invalid / tests


def _outcome(generator: np.random.Generator, lift: float) -> AbOutcome:
    control, treatment = Moments(), Moments()
    looks, each = (), UNITS // PLAN.looks + 1
    for look in range(1, PLAN.looks + 1):
        to_treatment = int(generator.binomial(each, PLAN.split))
        control = _more(control, generator, each - to_treatment, MEAN)
        treatment = _more(treatment, generator, to_treatment, MEAN * (1 + lift))
        judged = judge_ab(
            AbEvidence(
                seconds=PLAN.seconds * look / PLAN.looks,
                control_units=control.n,
                treatment_units=treatment.n,
                metrics={METRIC: AbMetric(control=control, treatment=treatment)},
                looks=looks,
            ),
            PLAN,
        )
        if judged.outcome is not AbOutcome.RUNNING:
            return judged.outcome
        looks = (*looks, judged.look) if judged.look else looks
    return AbOutcome.RUNNING


def _more(before: Moments, generator: np.random.Generator, n: int, mean: float) -> Moments:
    """The sums after n more units with normal values: two draws instead of n."""
    y = n * mean + math.sqrt(n) * SPREAD * generator.standard_normal()
    yy = y * y / n + SPREAD**2 * generator.chisquare(n - 1)
    return before._replace(n=before.n + n, y=before.y + y, yy=before.yy + yy)


def _phi(z: float) -> float:
    return math.erfc(-z / math.sqrt(2)) / 2
