"""The guardrails of a rollout: one verdict each, from the evidence of all stages so far. Pure.

A guardrail fails when the candidate is surely worse than the baseline beside it: at an e-value of
g/α, where g guardrails that may roll back share the budget α of the whole rollout. It passes when
"at least `tolerance` times as risky" is refuted at 1/β, or its rate is surely negligible; being
within an absolute limit alone is no proof. All of this holds at any number of looks.

An absolute limit rolls back only what is also worse than the baseline: an outage that hits both
arms puts both above it, and is no fault of the candidate. For latency the limit is the objective: a
candidate that is surely within it, and not shown to be slower than the baseline, passes. One that
is slower, yet within the limit, is not rolled back; nor does it pass, unless it is surely less than
`tolerance` times as often slow.

Where the candidate has all traffic, only the past of the baseline is there to compare with. Time
alone may change a rate, so that a rollback then needs surely more than `tolerance` times as much as
before, and a pass surely less. Set `holdback` to keep a baseline beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from penstock.rollout.evidence import StageEvidence
from penstock.rollout.judge.counts import Counts, counted
from penstock.rollout.judge.drift import judge_drift
from penstock.rollout.judge.limits import (
    against_history,
    log_e_inside,
    log_e_negligible,
    surely_above,
)
from penstock.rollout.judge.missing import missing_data
from penstock.rollout.judge.ratio import finite_exp, ratio_of
from penstock.rollout.judge.verdicts import Judgement, Verdict
from penstock.rollout.judge.wording import observed, percent
from penstock.rollout_settings import GuardrailSettings, RolloutSettings


def judge_stage(
    settings: RolloutSettings, stages: Sequence[StageEvidence], *, now: datetime
) -> tuple[Verdict, ...]:
    """A verdict for each guardrail, in their order. `stages` are all so far, the present one last.

    A stage passes when all verdicts are PASS.
    """
    missing = missing_data(settings, stages, now)
    if missing is None:
        return tuple(_judge(settings, rail, stages) for rail in settings.guardrails)
    judgement, reason = missing
    return tuple(
        Verdict(metric=rail.metric, judgement=judgement, reason=reason, action=rail.action)
        for rail in settings.guardrails
    )


def rollback_bound(settings: RolloutSettings) -> float:
    """The e-value at which a guardrail fails: those that may roll back share the budget."""
    sharing = sum(rail.action == "rollback" for rail in settings.guardrails)
    return max(1, sharing) / settings.alpha


def certificate_bound(settings: RolloutSettings) -> float:
    """The e-value at which a guardrail passes. All must, so that nothing is to be shared."""
    return 1 / settings.beta


def limit_of(settings: RolloutSettings, rail: GuardrailSettings, stage: int) -> float:
    """What the candidate's rate may be in that stage; 1: there is no limit."""
    if rail.kind == "latency":
        return rail.slow_share
    if rail.kind == "error_rate" and settings.strategy == "canary":
        return settings.stages[min(stage, len(settings.stages) - 1)].error_rate
    if rail.kind == "error_rate" and settings.strategy == "blue_green":
        return settings.blue_green.error_rate
    return 1.0


def _judge(
    settings: RolloutSettings, rail: GuardrailSettings, stages: Sequence[StageEvidence]
) -> Verdict:
    if rail.kind == "prediction_drift":
        return judge_drift(rail, stages)
    case = _case(settings, rail, stages)
    judgement, because = _judged(case)
    return Verdict(
        metric=rail.metric,
        judgement=judgement,
        reason=f"{observed(rail, case.counts)}: {because}",
        numbers=case.numbers,
        action=rail.action,
    )


@dataclass(frozen=True)
class _Case:
    """All numbers that a judgement rests on."""

    rail: GuardrailSettings
    counts: Counts
    numbers: dict[str, float]
    tolerance: float
    negligible: float
    above: bool  # the candidate is surely above the limit of the stage
    both_above: bool  # so is the baseline
    history: tuple[float, float] | None  # times the baseline's past; None: it serves beside

    @property
    def worse(self) -> bool:
        return self.numbers["e"] >= self.numbers["bound"]

    @property
    def within(self) -> bool:
        return self.numbers["certificate"] >= self.numbers["certificate_bound"]

    @property
    def is_negligible(self) -> bool:
        return self.numbers["negligible"] >= self.numbers["certificate_bound"]

    @property
    def inside(self) -> bool:
        """Surely below a limit which is an objective."""
        return self.numbers.get("inside_limit", 0.0) >= self.numbers["certificate_bound"]


def _case(
    settings: RolloutSettings, rail: GuardrailSettings, stages: Sequence[StageEvidence]
) -> _Case:
    counts = counted(rail, stages)
    present, clustering = counts.present, counts.clustering
    limit, bound = limit_of(settings, rail, stages[-1].stage), rollback_bound(settings)
    above = surely_above(present.candidate, limit, clustering, alpha=1 / bound)
    alone = present.share >= 1
    numbers = ratio_of(counts, settings.tolerance).numbers | {
        "bound": bound,
        "certificate_bound": certificate_bound(settings),
        "negligible": finite_exp(log_e_negligible(counts, settings.negligible)),
        "limit": limit,
        "above_limit": float(above),
        "clustering": clustering,
    }
    if rail.kind == "latency":
        numbers["inside_limit"] = finite_exp(log_e_inside(counts, limit))
    return _Case(
        rail=rail,
        counts=counts,
        numbers=numbers | _rates(counts),
        tolerance=settings.tolerance,
        negligible=settings.negligible,
        above=above,
        both_above=surely_above(present.baseline, limit, clustering, alpha=1 / bound),
        history=against_history(counts, alpha=1 / bound) if alone else None,
    )


def _rates(counts: Counts) -> dict[str, float]:
    """Of the present stage."""
    found = dict[str, float]()
    present = (("candidate", counts.present.candidate), ("baseline", counts.present.baseline))
    for name, arm in present:
        low, high = counts.interval(arm)
        found |= {f"{name}_requests": arm.requests, f"{name}_bad": arm.bad}
        if arm.requests:
            found |= {f"{name}_rate": arm.rate, f"{name}_low": low, f"{name}_high": high}
    return found


def _judged(case: _Case) -> tuple[Judgement, str]:
    both = case.counts.candidate + case.counts.baseline
    if case.rail.kind == "event" and not both.bad:
        return Judgement.INSUFFICIENT, "none was told of either arm, as if no feedback came"
    if case.worse and (case.above or case.rail.kind != "latency"):
        return Judgement.FAIL, _e_value(case)
    if case.above:
        return _above_limit(case)
    if case.is_negligible:
        return Judgement.PASS, f"surely below {percent(case.negligible)}, which is negligible"
    if case.inside and not case.worse:
        return Judgement.PASS, f"surely within the limit of {percent(case.numbers['limit'])}"
    if case.history:
        return _against_the_past(case, case.history)
    if case.within:
        return Judgement.PASS, _certificate(case)
    return Judgement.INSUFFICIENT, _undecided(case)


def _against_the_past(case: _Case, history: tuple[float, float]) -> tuple[Judgement, str]:
    """With all traffic, the candidate must do as well as the baseline did before.

    What the e-values of earlier stages certified, they certified of less traffic.
    """
    past = case.counts.baseline
    if not past.requests:
        says = f"no baseline to compare with, and not surely below {percent(case.negligible)}"
        return Judgement.INSUFFICIENT, says
    says = f"times the {percent(past.rate)} that the baseline had before"
    if history[1] <= case.tolerance:
        return Judgement.PASS, f"at most {history[1]:.2g} {says}, of {case.tolerance:g} tolerated"
    return (
        Judgement.INSUFFICIENT,
        f"between {history[0]:.2g} and {history[1]:.2g} {says}; to pass, it must surely be less "
        f"than {case.tolerance:g}",
    )


def _above_limit(case: _Case) -> tuple[Judgement, str]:
    """The candidate is above its limit, and not shown to be worse than a baseline beside it."""
    says = f"above the limit of {percent(case.numbers['limit'])}"
    if case.history is None:
        if case.both_above:
            return Judgement.INSUFFICIENT, f"both arms are {says}, so the cause lies elsewhere"
        worse = _e_value(case)
        return Judgement.INSUFFICIENT, f"{says}, not surely worse than the baseline: {worse}"
    past = case.counts.baseline
    if not past.requests:
        return Judgement.FAIL, f"{says}, and there is no baseline to compare with"
    least = f"{case.history[0]:.2g} times the {percent(past.rate)} that the baseline had before"
    judgement = Judgement.FAIL if case.history[0] > case.tolerance else Judgement.INSUFFICIENT
    return judgement, f"{says} and at least {least}; a rollback needs {case.tolerance:g}"


def _undecided(case: _Case) -> str:
    worse = _e_value(case)
    if case.worse:  # latency
        worse = f"worse than the baseline, if within the limit; {worse}"
    return f"{worse}, {case.numbers['certificate']:.3g} of {_certificate_bound(case)} to pass"


def _e_value(case: _Case) -> str:
    return f"e-value {case.numbers['e']:.3g} of {case.numbers['bound']:.3g} needed to roll back"


def _certificate(case: _Case) -> str:
    return (
        f"surely less than {case.tolerance:g} times the baseline's risk: e-value "
        f"{case.numbers['certificate']:.3g} of {_certificate_bound(case)} needed"
    )


def _certificate_bound(case: _Case) -> str:
    return f"{case.numbers['certificate_bound']:.3g}"
