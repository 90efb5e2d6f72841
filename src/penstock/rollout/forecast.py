"""What a plan can decide with the traffic there is, stage by stage. Pure.

Expected counts are put into the very e-processes that judge the rollout: how long until a bad
candidate is found, until a good one may pass, and whether that is within the stage's `max`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from penstock.rollout.judge.counts import ArmCount, Counts, Pair
from penstock.rollout.judge.guardrails import certificate_bound, rollback_bound
from penstock.rollout.judge.limits import against_history
from penstock.rollout.plans import stages_of
from penstock.rollout_settings import RolloutSettings, StageSettings
from penstock.stats.e_process import log_e_below, log_e_worsened

DOUBLING = 2.0  # the fault that a plan is measured by
MOST = 1e12  # requests; what takes more is never


class Traffic(NamedTuple):
    """Steady, of both arms together."""

    rate: float  # requests a minute
    error_rate: float
    past_requests: float  # of the baseline, in the stages before


@dataclass(frozen=True)
class StageForecast:
    """One stage at a steady rate. Times are in minutes since it began, requests of both arms."""

    stage: int
    weight: float
    bake: float  # minutes
    longest: float  # minutes, until the evidence must suffice
    requests: float  # that arrive within `longest`
    to_pass: float  # requests until an equally good candidate passes on the error rate; inf: never
    to_detect: float  # requests until twice the error rate is found, in the middle; inf: never
    power: float  # chance that twice the error rate is found within `longest`
    rate: float  # requests a minute

    @property
    def minutes_to_pass(self) -> float:
        return self.to_pass / self.rate

    @property
    def minutes_to_detect(self) -> float:
        return self.to_detect / self.rate

    @property
    def decidable(self) -> bool:
        """Whether a good candidate is expected to pass in time."""
        return self.to_pass <= self.requests


def forecast(settings: RolloutSettings, rate: float, error_rate: float) -> list[StageForecast]:
    """Each stage of a plan, at `rate` requests a minute of which `error_rate` fail."""
    found, past = list[StageForecast](), 0.0
    for number, stage in enumerate(stages_of(settings)):
        if stage.weight > 0:
            found.append(_stage(settings, number, stage, Traffic(rate, error_rate, past)))
        past += rate * stage.bake.total_seconds() / 60 * (1 - stage.weight)
    return found


def _stage(
    settings: RolloutSettings, number: int, stage: StageSettings, traffic: Traffic
) -> StageForecast:
    rate, error_rate, _ = traffic
    weight = stage.weight * (1.0 - settings.holdback)
    longest = stage.longest.total_seconds() / 60
    requests = rate * longest
    bound, certificate = (
        math.log(rollback_bound(settings)),
        math.log(certificate_bound(settings)),
    )
    return StageForecast(
        stage=number,
        weight=weight,
        bake=stage.bake.total_seconds() / 60,
        longest=longest,
        requests=requests,
        to_pass=_least(lambda n: _passes(settings, weight, n, traffic) >= certificate),
        to_detect=_least(lambda n: _detects(weight, n, error_rate) >= bound),
        power=_power(weight, requests, error_rate, bound),
        rate=rate,
    )


def _passes(settings: RolloutSettings, weight: float, requests: float, traffic: Traffic) -> float:
    """The evidence that lets an equally good candidate pass after so many requests."""
    rate = traffic.error_rate
    bad, mine = requests * rate, requests * weight
    found = -math.inf
    if weight < 1:
        found = float(log_e_below([bad], [bad * weight], [weight], ratio=settings.tolerance))
    elif _as_before(settings, requests, traffic):
        return math.inf
    if 0 < settings.negligible < 1:
        small = float(log_e_below([mine], [mine * rate], [settings.negligible], ratio=1.0))
        found = max(found, small)
    return found


def _as_before(settings: RolloutSettings, requests: float, traffic: Traffic) -> bool:
    """Whether a candidate that has all traffic is surely no worse than the baseline was."""
    now, past = (
        _expected(count, traffic.error_rate) for count in (requests, traffic.past_requests)
    )
    alpha = 1 / rollback_bound(settings)
    stages = (Pair(0.5, ArmCount(), past), Pair(1.0, now, ArmCount()))
    return against_history(Counts(stages), alpha=alpha)[1] <= settings.tolerance


def _expected(requests: float, rate: float) -> ArmCount:
    bad = round(requests * rate)
    return ArmCount(round(requests), bad, bad)


def _detects(weight: float, requests: float, rate: float) -> float:
    """The evidence against a candidate that fails twice as often."""
    if weight >= 1:
        return -math.inf  # there is no baseline beside it
    mine, others = requests * weight * rate * DOUBLING, requests * (1 - weight) * rate
    return float(log_e_worsened([mine + others], [mine], [weight]))


def _power(weight: float, requests: float, rate: float, bound: float) -> float:
    """P(the evidence is there at the end), given the expected number of bad events."""
    if weight >= 1 or rate <= 0:
        return 0.0
    from scipy.stats import binom

    events = round(requests * rate * (1 + weight * (DOUBLING - 1)))
    theta = weight * DOUBLING / (weight * DOUBLING + 1 - weight)
    least, most = 0, events + 1
    while least < most:  # the fewest in the candidate's arm that suffice
        middle = (least + most) // 2
        if float(log_e_worsened([events], [middle], [weight])) >= bound:
            most = middle
        else:
            least = middle + 1
    return float(binom.sf(least - 1, events, theta))


def _least(suffices: Callable[[float], bool]) -> float:
    """The fewest requests that suffice, to 1 %; infinite where none do."""
    high = 1.0
    while not suffices(high):
        high *= 2
        if high > MOST:
            return math.inf
    low = high / 2
    while high / low > 1.01:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high
