"""What an A/B test is judged on: the plan, the evidence, and what the test may come to. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pydantic import Field

from penstock.records import Record
from penstock.rollout.judge.verdicts import Verdict
from penstock.stats.moments import Moments


@dataclass(frozen=True)
class AbGuard:
    """A metric of which the treatment may not have more than a limit."""

    metric: str
    limit: float  # of its mean or ratio; of a p95 latency: 0.05 of the answers above the threshold


@dataclass(frozen=True)
class AbPlan:
    """What was fixed before the first unit came."""

    primary: str
    secondaries: tuple[str, ...] = ()
    guards: tuple[AbGuard, ...] = ()
    lift: float = 0.02  # of the primary, that counts as success
    relative: bool = True  # lifts are shares of the control's mean
    alpha: float = 0.05
    one_sided: bool = False  # alpha is for a false gain alone; harm has as much again
    split: float = 0.5  # the treatment's share of the units
    seconds: float = 7 * 86_400.0
    looks: int = 5
    min_units: int = 10_000  # both arms together
    sample_ratio_alpha: float = 0.001

    @property
    def two_sided_alpha(self) -> float:
        return 2 * self.alpha if self.one_sided else self.alpha


class AbMetric(Record):
    """Of one metric, over the units exposed so far."""

    control: Moments = Moments()
    treatment: Moments = Moments()


class AbLook(Record):
    """A look that was taken, or is: where the plan stood and how many units there were."""

    fraction: float  # of the plan, 0 to 1
    control_units: int
    treatment_units: int

    @property
    def units(self) -> int:
        return self.control_units + self.treatment_units

    @property
    def information(self) -> float:
        """1/variance of a difference of means, up to a constant."""
        return self.control_units * self.treatment_units / self.units if self.units else 0.0


class AbEvidence(Record):
    """What was observed of an A/B test so far."""

    seconds: float = 0.0  # since both arms serve
    control_units: int = 0  # exposed, each counted once
    treatment_units: int = 0
    metrics: dict[str, AbMetric] = Field(default_factory=dict)
    looks: tuple[AbLook, ...] = ()  # taken so far, in order


class AbOutcome(StrEnum):
    """What the test has come to; all but RUNNING end it."""

    RUNNING = "running"  # no look is due, or this one decided nothing and more will come
    SUCCESS = "success"  # the treatment is better, by as much as was asked, and harms no guard
    HARM = "harm"  # the treatment is worse, or beyond a guard's limit
    HOLD = "hold"  # a secondary metric is worse: somebody must weigh it
    INVALID = "invalid"  # units do not come in the shares that were set: nothing can be concluded
    INCONCLUSIVE = "inconclusive"  # the last look is taken, and there was no success


class AbJudgement(Record):
    """The verdicts, what they come to, and the look that they used up."""

    outcome: AbOutcome
    reason: str
    verdicts: tuple[Verdict, ...]
    look: AbLook | None = None  # taken by this judgement: it must be remembered
    next_look: float | None = None  # the share of the plan at which the next look is due
