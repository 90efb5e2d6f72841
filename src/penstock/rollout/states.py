"""Where a rollout stands: the fold of its events. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Any

from penstock.errors import IntegrityError
from penstock.records import Record
from penstock.rollout import events as e
from penstock.rollout.evidence import Approval
from penstock.rollout.judge.ab import AbLook, AbOutcome
from penstock.rollout.judge.verdicts import Judgement, Verdict
from penstock.rollout.plans import stages_of
from penstock.rollout.spec import RolloutSpec


class Status(StrEnum):
    """What is going on, and what routes meanwhile."""

    DRAFT = "draft"  # written down, not looked at
    VALIDATED = "validated"  # nothing speaks against it
    AWAITING_APPROVAL = "awaiting approval"  # people must agree first; the routing stays
    PREPARING = "preparing"  # the candidate is loaded beside the baseline, without a share
    RAMPING = "ramping"  # gateways take over the weights of the stage
    BAKING = "baking"  # the stage has its time; evidence gathers
    DECIDING = "deciding"  # its time is over, and the evidence does not suffice yet
    PROMOTING = "promoting"  # gateways take the candidate as the champion
    WATCHING = "watching"  # the new champion is still judged; the old one runs beside it
    RETAINING_OLD = "retaining old"  # the old version runs without a share, to go back at once
    RETIRING = "retiring"  # the old version is stopped
    DONE = "done"  # ended; `outcome` says how
    HELD = "held"  # a person must decide; the routing stays, guardrails still roll back
    PAUSED = "paused"  # a person stopped the clock; the routing stays, guardrails still roll back
    ROLLING_BACK = "rolling back"  # at fault: gateways go back to the baseline
    RETURNING = "returning"  # not at fault: gateways go back to the baseline
    ROLLED_BACK = "rolled back"  # ended: everything goes to the baseline
    ROLLBACK_FAILED = "rollback failed"  # a gateway does not follow; people are told
    ABORTED = "aborted"  # ended: everything goes to the baseline


ENDED = frozenset({Status.DONE, Status.ROLLED_BACK, Status.ABORTED})
# The way back is never left again.
GOING_BACK = frozenset({Status.ROLLING_BACK, Status.RETURNING, Status.ROLLBACK_FAILED})
WAITING = frozenset({Status.HELD, Status.PAUSED, Status.AWAITING_APPROVAL})
IN_STAGE = frozenset({Status.RAMPING, Status.BAKING, Status.DECIDING})
CANDIDATE_IS_CHAMPION = frozenset(
    {Status.PROMOTING, Status.WATCHING, Status.RETAINING_OLD, Status.RETIRING}
)


class Hold(Record):
    """Why nothing goes forward, and where it went on from."""

    reason: str
    status: Status  # before
    metric: str = ""  # whose verdict held it
    hands_off: bool = False  # somebody else wrote the routing table


class Rollout(Record):
    """The state of a rollout."""

    id: str
    endpoint: str
    spec: RolloutSpec
    status: Status = Status.DRAFT
    since: datetime  # when the status began
    stage: int = -1  # from 0; -1: none has begun; after the plan's: the new champion is watched
    stage_began: datetime | None = None  # when every gateway routed so
    patience_began: datetime | None = None  # from when the stage's `max` counts
    passed: int = -1  # the last stage that passed
    approvals: tuple[Approval, ...] = ()
    waiting_for: str = ""  # the approval: start, stage:INDEX, promote
    held: Hold | None = None  # of HELD and PAUSED
    hurried: bool = False  # a person waived the rest of the bake time; the evidence must suffice
    full: bool = False  # a person waived the evidence
    verdicts: tuple[Verdict, ...] = ()  # as last written down
    error_since: datetime | None = None  # since when evidence lacks where there should be some
    accepted: tuple[str, ...] = ()  # metrics that held the stage, and a person resumed it
    looks: tuple[AbLook, ...] = ()  # of an A/B test, taken so far
    concluded: AbOutcome = AbOutcome.RUNNING  # what the last of them came to
    routed: bool = False  # whether a routing table of this rollout was ever to be published
    quarantine: bool = False  # whether the candidate's bytes go into quarantine
    ending: e.Outcome | None = None  # what the way back leads to
    outcome: e.Outcome | None = None  # how it ended
    reason: str = ""  # of the last change
    position: int = 0  # of the last event, from 1
    updated: datetime

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    @property
    def acting(self) -> Status:
        """The status that the routing follows: what was going on before a hold."""
        return self.held.status if self.held else self.status


def begun(event: e.Created) -> Rollout:
    """The state after the first event."""
    return Rollout(
        id=event.id,
        endpoint=event.endpoint,
        spec=event.spec,
        since=event.at,
        updated=event.at,
        position=1,
    )


def replay(events: Iterable[e.Event]) -> Rollout:
    """The state after all of them, oldest first. Raises `IntegrityError`."""
    state: Rollout | None = None
    for event in events:
        if isinstance(event, e.Created) and state is None:
            state = begun(event)
        elif state is None:
            raise IntegrityError(f"a rollout begins with {e.action_of(event)}, not its creation")
        else:
            state = apply(state, event)
    if state is None:
        raise IntegrityError("there is no rollout without events")
    return state


def apply(state: Rollout, event: e.Event) -> Rollout:
    """The state after an event. Raises `IntegrityError` for one that follows the end."""
    if state.ended or isinstance(event, e.Created):
        raise IntegrityError(
            f"{e.action_of(event)} follows the end of rollout {state.id}"
            if state.ended
            else f"rollout {state.id} is created twice"
        )
    changes = _changes(state, event)
    status = changes.get("status", state.status)
    if status is not state.status:
        changes["since"] = event.at
    position = state.position + 1
    return state.model_copy(update=changes | {"position": position, "updated": event.at})


def _changes(state: Rollout, event: e.Event) -> dict[str, Any]:
    for part in (_forward, _evidence, _by_people, _back):
        if (changes := part(state, event)) is not None:
            return changes
    raise IntegrityError(f"nothing is known of {type(event).__name__}")


def _forward(state: Rollout, event: e.Event) -> dict[str, Any] | None:
    match event:
        case e.Validated():
            return {"status": Status.VALIDATED}
        case e.ApprovalAwaited(point=point):
            return {"status": Status.AWAITING_APPROVAL, "waiting_for": point}
        case e.Preparing():
            return {"status": Status.PREPARING, "waiting_for": "", "routed": True}
        case e.StageStarted(stage=stage):
            return _fresh_stage(Status.RAMPING, stage)
        case e.Ramped():
            return {
                "status": Status.BAKING,
                "stage_began": event.at,
                "patience_began": event.at,
            }
        case e.BakeEnded():
            return {"status": Status.DECIDING}
        case e.StagePassed(stage=stage, reason=reason):
            return {"passed": stage, "reason": reason}
        case e.Promoting(reason=reason):
            # What is observed of the new champion is a stage of its own, after those of the plan.
            after = len(stages_of(state.spec.settings))
            return _fresh_stage(Status.PROMOTING, after) | {"reason": reason}
        case e.Promoted():
            return {"status": Status.WATCHING, "stage_began": event.at}
        case e.Watched():
            return {"status": Status.RETAINING_OLD}
        case e.Retiring():
            return {"status": Status.RETIRING}
        case e.Done(outcome=outcome, reason=reason):
            return {"status": Status.DONE, "outcome": outcome, "reason": reason}
    return None


def _fresh_stage(status: Status, stage: int) -> dict[str, Any]:
    return {
        "status": status,
        "stage": stage,
        "stage_began": None,
        "patience_began": None,
        "waiting_for": "",
        "hurried": False,
        "accepted": (),
        "error_since": None,
    }


def _evidence(state: Rollout, event: e.Event) -> dict[str, Any] | None:
    match event:
        case e.Judged(verdicts=verdicts):
            missing = any(v.judgement is Judgement.ERROR for v in verdicts)
            since = (state.error_since or event.at) if missing else None
            return {"verdicts": verdicts, "error_since": since}
        case e.Alerted():
            return {}
        case e.LookTaken(look=look, outcome=outcome, reason=reason):
            return {"looks": (*state.looks, look), "concluded": outcome, "reason": reason}
    return None


def _by_people(state: Rollout, event: e.Event) -> dict[str, Any] | None:
    match event:
        case e.Approved(actor=actor, digest=digest, point=point, at=at):
            given = Approval(actor=actor, digest=digest, point=point, at=at)
            return {"approvals": (*state.approvals, given)}
        case e.Held(reason=reason, metric=metric, hands_off=hands_off):
            held = Hold(reason=reason, status=state.acting, metric=metric, hands_off=hands_off)
            return {"status": Status.HELD, "held": held, "reason": reason}
        case e.Paused(reason=reason):
            held = Hold(reason=reason, status=state.acting)
            return {"status": Status.PAUSED, "held": held, "reason": reason}
        case e.Resumed(reason=reason):
            return _gone_on(state, event.at) | {"reason": reason}
        case e.PromoteRequested(full=full, reason=reason):
            asked = {"full": state.full or full, "hurried": True, "reason": reason}
            return _gone_on(state, event.at) | asked
    return None


def _gone_on(state: Rollout, at: datetime) -> dict[str, Any]:
    """Where it was before it was held, with `max` counted anew."""
    changes: dict[str, Any] = {"held": None, "error_since": None}
    if state.held:
        seen = (state.held.metric,) if state.held.metric else ()
        changes |= {"status": state.held.status, "accepted": (*state.accepted, *seen)}
    if state.patience_began:
        changes["patience_began"] = at
    return changes


def _back(state: Rollout, event: e.Event) -> dict[str, Any] | None:
    match event:
        case e.RollingBack(reason=reason, quarantine=quarantine):
            ending, status = e.Outcome.ROLLED_BACK, Status.ROLLING_BACK
            return _on_the_way_back(state, status, ending, reason) | {"quarantine": quarantine}
        case e.Returning(reason=reason, outcome=outcome):
            return _on_the_way_back(state, Status.RETURNING, outcome, reason)
        case e.RollbackFailed():
            return {"status": Status.ROLLBACK_FAILED}  # the reason stays that of the rollback
        case e.Returned():
            return _at_the_end(state.ending)
    return None


def _on_the_way_back(
    state: Rollout, status: Status, ending: e.Outcome, reason: str
) -> dict[str, Any]:
    foreign = state.held if state.held and state.held.hands_off else None
    changes = {"held": foreign, "waiting_for": "", "ending": ending, "reason": reason}
    # Where nothing was routed, there is no way to go.
    return changes | ({"status": status} if state.routed else _at_the_end(ending))


def _at_the_end(ending: e.Outcome | None) -> dict[str, Any]:
    statuses = {e.Outcome.ROLLED_BACK: Status.ROLLED_BACK, e.Outcome.ABORTED: Status.ABORTED}
    status = statuses.get(ending, Status.DONE) if ending else Status.ROLLED_BACK
    return {"status": status, "outcome": ending, "held": None}
