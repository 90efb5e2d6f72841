"""The state machine of a rollout: from the state, what is observed and the time to what follows.

    Draft → Validated → AwaitingApproval → Preparing → stage i {Ramping → Baking → Deciding}
    → Promoting → Watching → RetainingOld → Retiring → Done

From every live state: Held, Paused, RollingBack → RolledBack, Returning → Aborted or Done, and
RollbackFailed. Pure: the caller observes before, appends the events and acts afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from penstock.rollout import events as e
from penstock.rollout.baking import awaited, bake, guarded, to_promotion, to_stage
from penstock.rollout.evidence import Observed
from penstock.rollout.scene import ACTOR, Decision, Scene
from penstock.rollout.spec import check
from penstock.rollout.states import (
    CANDIDATE_IS_CHAMPION,
    GOING_BACK,
    IN_STAGE,
    Rollout,
    Status,
    apply,
    replay,
)

__all__ = ["Decision", "apply", "decide", "replay"]


# Where a candidate gets a share, or is about to: a word of people that ended holds it there.
GOING_FORWARD = IN_STAGE | {Status.PREPARING, Status.AWAITING_APPROVAL}


def decide(state: Rollout, observed: Observed, now: datetime) -> Decision:
    """What follows. Without events: nothing yet, and `reason` says what is waited for."""
    scene = Scene(state, observed, now)
    if state.ended:
        return Decision(reason=state.reason)
    return _interrupted(scene) or STEPS[state.status](scene)


def _interrupted(scene: Scene) -> Decision | None:
    """What comes before the state's own course."""
    state, seen = scene.state, scene.seen
    if state.status in GOING_BACK or (state.held and state.held.hands_off):
        return None
    if seen.foreign_table and state.routed:
        if state.acting in (Status.RETAINING_OLD, Status.RETIRING):
            return _done(scene, f"promoted, and replaced since: {seen.foreign_table}")
        held = scene.hold(f"another routing table was written: {seen.foreign_table}")
        return _only(held.model_copy(update={"hands_off": True}), held.reason)
    if seen.quarantined and state.status is not Status.RETIRING:
        reason = f"{state.spec.candidate.model} was put into quarantine"
        if not state.routed:
            return _only(scene.abandon(reason), reason)
        return _only(scene.roll_back(reason, quarantine=True), reason)
    if not seen.agreement.met and state.routed and state.status in GOING_FORWARD:
        reason = f"it may not serve any more: {'; '.join(seen.agreement.missing)}"
        return _only(scene.hold(reason), reason)
    return None


def _draft(scene: Scene) -> Decision:
    if refusals := check(scene.state.spec):
        reason = "; ".join(f"{one.field}: {one.reason}" for one in refusals)
        return _only(scene.abandon(reason), reason)
    return _only(e.Validated(at=scene.now, actor=ACTOR), "nothing speaks against the spec")


def _validated(scene: Scene) -> Decision:
    if scene.settings.dry_run:
        reason = "a dry run: everything was checked, nothing is routed"
        done = e.Done(at=scene.now, actor=ACTOR, outcome=e.Outcome.DRY_RUN, reason=reason)
        return _only(done, reason)
    if scene.lacking("start"):
        return _only(*awaited(scene, "start"))
    return _only(_preparing(scene), "the candidate is loaded")


def _awaiting(scene: Scene) -> Decision:
    point = scene.state.waiting_for
    if point != "start" and (rollback := guarded(scene)):
        return rollback
    if scene.lacking(point) and not (scene.state.full and point.startswith("stage:")):
        return _abandoned(scene) or _waiting(scene, awaited(scene, point)[1])
    if point == "start":
        return _only(_preparing(scene), "approved; the candidate is loaded")
    if point.startswith("stage:") and not scene.state.full:
        return _only(*to_stage(scene, int(point[6:])))
    return _only(*to_promotion(scene))


def _preparing(scene: Scene) -> e.Event:
    return e.Preparing(at=scene.now, actor=ACTOR)


def _prepare(scene: Scene) -> Decision:
    missing = _not_everywhere(scene)
    if not missing:
        return _only(*to_stage(scene, 0))
    since, patience = scene.state.since, scene.settings.prepare_timeout
    if scene.elapsed(since) >= patience:
        return _only(scene.hold(f"the candidate is not loaded everywhere: {missing}"), missing)
    return Decision(reason=missing, next_at=since + patience, next_what="held")


def _ramp(scene: Scene) -> Decision:
    if rollback := guarded(scene):
        return rollback
    if scene.state.full:
        return _only(*to_promotion(scene))
    return _when_everywhere(scene, e.Ramped(at=scene.now, actor=ACTOR), "every gateway follows")


def _promote(scene: Scene) -> Decision:
    promoted = e.Promoted(at=scene.now, actor=ACTOR)
    return _when_everywhere(scene, promoted, "every gateway serves the new champion")


def _watch(scene: Scene) -> Decision:
    if rollback := guarded(scene):
        return rollback
    settings = scene.settings
    # Blue-green has watched already: that is its second stage.
    watch = None if settings.strategy == "blue_green" else settings.watch
    if not watch or scene.endured(scene.state.since) >= watch:
        return _only(e.Watched(at=scene.now, actor=ACTOR), "the new champion keeps well")
    return Decision(
        reason="the new champion is watched",
        next_at=scene.state.since + watch,
        next_what="the old version is kept without being judged against",
        verdicts=scene.guardrails(),
    )


def _retain(scene: Scene) -> Decision:
    settings = scene.settings
    retain = settings.retain
    if settings.strategy == "blue_green":
        retain = settings.blue_green.retain
    if scene.elapsed(scene.state.since) >= retain:
        return _only(e.Retiring(at=scene.now, actor=ACTOR), "the old version is stopped")
    old = scene.state.spec.baseline.model
    until = scene.state.since + retain
    return Decision(reason=f"{old} is kept running", next_at=until, next_what=f"{old} is stopped")


def _retire(scene: Scene) -> Decision:
    late = scene.elapsed(scene.state.since) >= scene.settings.ramp_timeout
    if scene.seen.table_revision and (late or not scene.lagging):
        return _done(scene, f"{scene.state.spec.candidate.model} is the champion")
    return Decision(reason=scene.lagging, next_what="done")


def _held(scene: Scene) -> Decision:
    state = scene.state
    assert state.held, "HELD and PAUSED say why"
    judged = state.acting in IN_STAGE or state.acting in (
        Status.AWAITING_APPROVAL,
        Status.WATCHING,
    )
    if judged and state.stage >= 0 and not state.held.hands_off and (found := guarded(scene)):
        return found
    return _abandoned(scene) or _waiting(scene, state.held.reason)


def _go_back(scene: Scene) -> Decision:
    lagging = scene.lagging
    if not lagging:
        return _only(e.Returned(at=scene.now, actor=ACTOR), scene.state.reason)
    since, patience = scene.state.since, scene.settings.ramp_timeout
    if scene.state.status is Status.ROLLBACK_FAILED:
        return Decision(reason=lagging)
    if scene.elapsed(since) >= patience:
        failed = e.RollbackFailed(at=scene.now, actor=ACTOR, reason=lagging)
        return _only(failed, lagging)
    return Decision(reason=lagging, next_at=since + patience, next_what="the rollback has failed")


STEPS: dict[Status, Callable[[Scene], Decision]] = {
    Status.DRAFT: _draft,
    Status.VALIDATED: _validated,
    Status.AWAITING_APPROVAL: _awaiting,
    Status.PREPARING: _prepare,
    Status.RAMPING: _ramp,
    Status.BAKING: bake,
    Status.DECIDING: bake,
    Status.PROMOTING: _promote,
    Status.WATCHING: _watch,
    Status.RETAINING_OLD: _retain,
    Status.RETIRING: _retire,
    Status.HELD: _held,
    Status.PAUSED: _held,
    Status.ROLLING_BACK: _go_back,
    Status.RETURNING: _go_back,
    Status.ROLLBACK_FAILED: _go_back,
}


def _only(event: e.Event, reason: str) -> Decision:
    return Decision((event,), reason)


def _done(scene: Scene, reason: str) -> Decision:
    promoted = e.Outcome.PROMOTED
    return _only(e.Done(at=scene.now, actor=ACTOR, outcome=promoted, reason=reason), reason)


def _not_everywhere(scene: Scene) -> str:
    """Why the rollout cannot go forward; empty: every gateway routes as told."""
    return scene.lagging or ("" if scene.alive else "no gateway of the endpoint is alive")


def _when_everywhere(scene: Scene, event: e.Event, reason: str) -> Decision:
    missing = _not_everywhere(scene)
    if not missing:
        return _only(event, reason)
    since, patience = scene.state.since, scene.settings.ramp_timeout
    if scene.elapsed(since) >= patience:
        return _only(scene.hold(f"not every gateway follows: {missing}"), missing)
    return Decision(reason=missing, next_at=since + patience, next_what="held")


def _abandoned(scene: Scene) -> Decision | None:
    """Nobody decided for too long."""
    state, patience = scene.state, scene.settings.hold_timeout
    if scene.elapsed(state.since) < patience:
        return None
    reason = f"{state.status} for {patience}, and nobody decided"
    if state.acting in CANDIDATE_IS_CHAMPION:
        reason += "; the old version takes over again"
    return _only(scene.abandon(reason), reason)


def _waiting(scene: Scene, reason: str) -> Decision:
    until = scene.state.since + scene.settings.hold_timeout
    return Decision(reason=reason, next_at=until, next_what="abandoned, back to the baseline")
