"""A stage while its evidence gathers: passes, is taken back, is held, or waits on. Pure."""

from __future__ import annotations

from penstock.rollout import events as e
from penstock.rollout.judge.verdicts import Judgement, Verdict
from penstock.rollout.plans import stages_of
from penstock.rollout.scene import ACTOR, Decision, Look, Scene, condemned, told
from penstock.rollout.states import Status
from penstock.rollout.strategies import strategy_of


def bake(scene: Scene) -> Decision:
    """BAKING and DECIDING."""
    look = _look(scene)
    if isinstance(look.ends, e.RollingBack):
        return _step(scene, look, look.ends, look.ends.reason)
    if scene.state.full:
        return _step(scene, look, *to_promotion(scene))
    if look.ends:
        return _step(scene, look, look.ends, look.ends.reason)
    if scene.state.passed == scene.state.stage:  # written down, and what follows was not
        return _step(scene, look, *after_pass(scene))
    if lost := _without_evidence(scene, look):
        return _step(scene, look, lost, lost.reason)
    if look.passes and (look.early or scene.state.hurried or _baked(scene)):
        passed = e.StagePassed(
            at=scene.now, actor=ACTOR, stage=scene.state.stage, reason=look.passes
        )
        following, _ = after_pass(scene)
        notes = _notes(scene, look, only_changes=False)
        return Decision((*notes, passed, following), look.passes, verdicts=look.verdicts)
    return _wait(scene, look)


def guarded(scene: Scene) -> Decision | None:
    """The rollback that the guardrails demand while a stage does not go forward."""
    if scene.settings.strategy == "shadow":
        return None
    verdicts = scene.guardrails()
    if ends := condemned(scene, verdicts):
        return _step(scene, Look(verdicts), ends, ends.reason)
    return None


def after_pass(scene: Scene) -> tuple[e.Event, str]:
    """What follows the present stage, and why."""
    following = scene.state.stage + 1
    if following < len(stages_of(scene.settings)):
        return to_stage(scene, following)
    if strategy_of(scene).PROMOTES:
        return to_promotion(scene)
    reason = "no fault was found"
    report = e.Outcome.REPORTED
    return e.Returning(at=scene.now, actor=ACTOR, reason=reason, outcome=report), reason


def to_stage(scene: Scene, stage: int) -> tuple[e.Event, str]:
    point = f"stage:{stage}"
    if scene.lacking(point):
        return awaited(scene, point)
    started = e.StageStarted(at=scene.now, actor=ACTOR, stage=stage)
    return started, f"stage {stage + 1} begins"


def to_promotion(scene: Scene) -> tuple[e.Event, str]:
    if scene.lacking("promote"):
        return awaited(scene, "promote")
    full = f"promoted in full: {scene.state.reason}"
    reason = full if scene.state.full else "every stage passed"
    return e.Promoting(at=scene.now, actor=ACTOR, reason=reason), reason


def awaited(scene: Scene, point: str) -> tuple[e.Event, str]:
    lacking, model = scene.lacking(point), scene.state.spec.candidate.model
    people = "one more person" if lacking == 1 else f"{lacking} more people"
    reason = f"{people} must approve {model} before {point}"
    if point == "start" and not scene.seen.agreement.met:
        reason = f"{model} may not serve yet: {'; '.join(scene.seen.agreement.missing)}"
    return e.ApprovalAwaited(at=scene.now, actor=ACTOR, point=point), reason


def _look(scene: Scene) -> Look:
    if scene.seen.metrics_error:
        broken = Verdict(
            metric="metrics",
            judgement=Judgement.ERROR,
            reason=scene.seen.metrics_error,
            numbers={},
        )
        return Look(verdicts=(broken,), patience=scene.settings.provider_patience)
    return strategy_of(scene).look(scene)


def _without_evidence(scene: Scene, look: Look) -> e.Held | e.RollingBack | None:
    """What is said of a source that gave nothing for too long."""
    broken = [v for v in look.verdicts if v.judgement is Judgement.ERROR]
    if not broken or scene.elapsed(scene.state.error_since) < look.patience:
        return None
    reason = f"there is no evidence: {told(broken[0])}"
    if scene.settings.on_provider_down == "rollback":
        return scene.roll_back(reason, quarantine=False)
    return scene.hold(reason)


def _baked(scene: Scene) -> bool:
    """Whether the stage had its time and its requests."""
    stages = scene.seen.stages
    seen = stages[-1].candidate.requests if stages else 0
    enough = seen >= scene.stage.min_events
    return enough and scene.endured(scene.state.stage_began) >= scene.stage.bake


def _wait(scene: Scene, look: Look) -> Decision:
    """Nothing is decided yet, or the time for it is over."""
    state, stage = scene.state, scene.stage
    if scene.elapsed(state.patience_began) >= stage.longest:
        return _inconclusive(scene, look)
    if _baked(scene) and state.status is Status.BAKING:
        ended = e.BakeEnded(at=scene.now, actor=ACTOR)
        return _step(scene, look, ended, "the bake time is over; the evidence does not suffice yet")
    ends_at = state.stage_began + stage.bake if state.stage_began else None
    deadline = state.patience_began + stage.longest if state.patience_began else None
    waits_for_time = ends_at is not None and scene.now < ends_at and not state.hurried
    number = f"stage {state.stage + 1} of {len(stages_of(scene.settings))}"
    return Decision(
        events=_notes(scene, look, only_changes=True),
        reason="; ".join(told(v) for v in look.verdicts if v.judgement is not Judgement.PASS)
        or f"{number} bakes",
        next_at=ends_at if waits_for_time else deadline,
        next_what=f"{number} passes if every verdict is a PASS"
        if waits_for_time
        else f"{number} is inconclusive: {scene.settings.on_inconclusive}",
        verdicts=look.verdicts,
        wants_smoke=scene.settings.strategy == "blue_green"
        and state.stage == 0
        and scene.seen.smoke is None
        and not look.passes,
    )


def _inconclusive(scene: Scene, look: Look) -> Decision:
    open_ones = [told(v) for v in look.verdicts if v.judgement is not Judgement.PASS]
    requests = f"fewer than {scene.stage.min_events:,} requests" if look.passes else "no verdict"
    reason = f"inconclusive at the stage's end: {'; '.join(open_ones) or requests}"
    if scene.settings.on_inconclusive == "rollback":
        return _step(scene, look, scene.roll_back(reason, quarantine=False), reason)
    return _step(scene, look, scene.hold(reason), reason)


def _step(scene: Scene, look: Look, event: e.Event, reason: str) -> Decision:
    """An event after the verdicts that led to it."""
    events = (*_notes(scene, look, only_changes=False), event)
    return Decision(events, reason, verdicts=look.verdicts)


def _notes(scene: Scene, look: Look, *, only_changes: bool) -> tuple[e.Event, ...]:
    """Verdicts are written down when a judgement changes, and whenever something follows."""
    if not look.verdicts:
        return look.notes
    before, after = scene.state.verdicts, look.verdicts
    if only_changes and not look.notes:
        known = _judgements(before) == _judgements(after)
    else:
        known = before == after
    if known:
        return look.notes
    return (e.Judged(at=scene.now, actor=ACTOR, verdicts=look.verdicts), *look.notes)


def _judgements(verdicts: tuple[Verdict, ...]) -> set[tuple[str, Judgement]]:
    return {(verdict.metric, verdict.judgement) for verdict in verdicts}
