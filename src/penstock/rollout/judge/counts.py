"""What the evidence says of one guardrail's metric: bad answers and units with one, by arm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from penstock.rollout.evidence import ArmEvidence, StageEvidence
from penstock.rollout_settings import GuardrailSettings
from penstock.stats.proportions import clustering_factor, wilson


@dataclass(frozen=True)
class ArmCount:
    """Of one arm in one stage, or in several: the counts add."""

    requests: int = 0
    bad: int = 0  # of the requests
    units: int = 0  # whose first bad one of the rollout this was

    def __add__(self, other: ArmCount) -> ArmCount:
        return ArmCount(
            self.requests + other.requests, self.bad + other.bad, self.units + other.units
        )

    @property
    def rate(self) -> float:
        return self.bad / self.requests if self.requests else float("nan")


@dataclass(frozen=True)
class Pair:
    """Both arms in one stage."""

    share: float  # of the units that are the candidate's
    candidate: ArmCount
    baseline: ArmCount


@dataclass(frozen=True)
class Counts:
    """One metric over the stages so far."""

    pairs: tuple[Pair, ...]

    @property
    def present(self) -> Pair:
        return self.pairs[-1]

    @property
    def candidate(self) -> ArmCount:
        return sum((pair.candidate for pair in self.pairs), ArmCount())

    @property
    def baseline(self) -> ArmCount:
        return sum((pair.baseline for pair in self.pairs), ArmCount())

    @property
    def clustering(self) -> float:
        """Bad answers for each unit that had one; both arms, since the budget is of no arm."""
        both = self.candidate + self.baseline
        return clustering_factor(both.bad, both.units)

    @property
    def by_stage(self) -> tuple[list[int], list[int], list[float]]:
        """What `stats.e_process` reads: events, those of the candidate, its share."""
        return (
            [pair.candidate.units + pair.baseline.units for pair in self.pairs],
            [pair.candidate.units for pair in self.pairs],
            [pair.share for pair in self.pairs],
        )

    def interval(self, arm: ArmCount) -> tuple[float, float]:
        """Of the arm's rate, 95 %, for people: answers to one unit count as one."""
        return wilson(arm.bad / self.clustering, arm.requests / self.clustering)


def counted(rail: GuardrailSettings, stages: Sequence[StageEvidence]) -> Counts:
    """The counts of an error rate, of a latency above its limit, or of a business event."""
    return Counts(
        tuple(
            Pair(stage.weight, _of_arm(rail, stage.candidate), _of_arm(rail, stage.baseline))
            for stage in stages
        )
    )


def _of_arm(rail: GuardrailSettings, arm: ArmEvidence) -> ArmCount:
    if rail.kind == "error_rate":
        return ArmCount(arm.requests, arm.errors, arm.error_units)
    if rail.kind == "latency":
        return ArmCount(arm.requests, arm.slow, arm.slow_units)
    units = arm.events.get(rail.metric.removeprefix("event:"), 0)
    return ArmCount(arm.requests, units, units)
