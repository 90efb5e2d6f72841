"""What happened to a rollout, a sentence an event. Pure."""

from __future__ import annotations

from penstock.rollout import events as e
from penstock.rollout.plans import stages_of
from penstock.rollout.spec import RolloutSpec
from penstock.rollout_settings import RolloutSettings
from penstock.setting_types import duration_text


def sentence(event: e.Event, spec: RolloutSpec) -> str:
    """What happened, without when and by whom."""
    said = _of_evidence(event, spec) or _of_course(event, spec) or _of_people(event)
    reason = "" if isinstance(event, e.StagePassed) else str(getattr(event, "reason", ""))
    return f"{said}: {reason}" if reason else said


def plan(settings: RolloutSettings) -> str:
    """The plan in a line: "canary: 10 % for 2h, 25 % for 4h; error_rate, latency_p95 (hold)"."""
    stages = ", ".join(
        f"{stage.weight:.0%} for {duration_text(stage.bake)}".replace("%", " %")
        for stage in stages_of(settings)
    )
    rails = (
        rail.metric if rail.action == "rollback" else f"{rail.metric} ({rail.action})"
        for rail in settings.guardrails
    )
    return f"{settings.strategy}: {stages}; guarded by {', '.join(rails) or 'nothing'}"


def _of_evidence(event: e.Event, spec: RolloutSpec) -> str:
    match event:
        case e.Judged(verdicts=verdicts):
            told = ", ".join(f"{v.metric} {v.judgement}" for v in verdicts)
            return f"judged: {told}"
        case e.BakeEnded():
            return "the stage has had its time, the evidence does not suffice yet"
        case e.StagePassed(stage=stage):
            return f"{_stage(stage, spec)} passed"
        case e.LookTaken(look=look, outcome=outcome):
            return f"a look at {look.units:,} units: {outcome}"
        case e.Alerted(alert=alert):
            return f"alert {alert}"
    return ""


def _of_course(event: e.Event, spec: RolloutSpec) -> str:
    candidate, baseline = spec.candidate.model, spec.baseline.model
    match event:
        case e.Created():
            return f"{spec.settings.strategy} of {candidate} against {baseline} asked for"
        case e.ApprovalAwaited(point=point):
            return f"waits for approval before {point}"
        case e.Preparing():
            return f"{candidate} is loaded beside {baseline}, without a share"
        case e.StageStarted(stage=stage):
            weight = stages_of(spec.settings)[stage].weight
            return f"{_stage(stage, spec)} begins: {round(100 * weight, 2):g} % for {candidate}"
        case e.Ramped():
            return "every gateway follows"
        case e.RollingBack(quarantine=quarantine):
            away = f"rolling back: everything to {baseline}"
            return f"{away}, {candidate} into quarantine" if quarantine else away
        case e.Returning():
            return f"everything goes back to {baseline}"
        case e.Returned():
            return f"every gateway serves {baseline} alone"
        case e.RollbackFailed():
            return "a gateway does not follow"
        case e.Promoting():
            return f"{candidate} becomes the champion"
        case e.Promoted():
            return f"every gateway serves {candidate} as the champion"
        case e.Watched():
            return f"{candidate} kept well; {baseline} runs on, to go back to"
        case e.Retiring():
            return f"{baseline} is stopped"
        case e.Done(outcome=outcome):
            return f"done, {outcome}"
    return ""


def _of_people(event: e.Event) -> str:
    match event:
        case e.Approved(point=point):
            return f"approved: {point}"
        case e.PromoteRequested(full=full):
            return "to be promoted in full" if full else "to pass as soon as the evidence suffices"
    return e.action_of(event).removeprefix(e.PREFIX).replace("_", " ")


def _stage(stage: int, spec: RolloutSpec) -> str:
    return f"stage {stage + 1} of {len(stages_of(spec.settings))}"
