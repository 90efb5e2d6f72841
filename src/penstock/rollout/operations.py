"""What people may do to a rollout: each gives the event, or says why it cannot be. Pure.

The event is appended at the position after the state that it was decided on: of two operations at
once, the first is written, and the other is decided again on what the first made.
"""

from __future__ import annotations

from datetime import datetime

from penstock.errors import RolloutError
from penstock.rollout import events as e
from penstock.rollout.plans import stages_of
from penstock.rollout.states import (
    CANDIDATE_IS_CHAMPION,
    GOING_BACK,
    IN_STAGE,
    Rollout,
    Status,
)


def approve(
    state: Rollout,
    *,
    actor: str,
    at: datetime,
    digest: str = "",
    point: str = "",
    reason: str = "",
) -> e.Approved:
    """An approval of the candidate's bytes, before what waits for one. Raises `RolloutError`.

    `digest`: what the person saw, if it is to be compared. `point`: start, stage:INDEX or promote.
    """
    _require_life(state, "approved")
    candidate = state.spec.candidate
    if digest and digest != candidate.digest:
        raise RolloutError(
            f"{state.id} rolls out {candidate.model} with digest {candidate.digest[:12]}, "
            f"not {digest[:12]}",
            hint="look at what is rolled out with `penstock rollout show`",
        )
    points = state.spec.settings.approval_points
    wanted = point or state.waiting_for or _first_open(state)
    if wanted not in points:
        there = ", ".join(points) or "nothing"
        raise RolloutError(
            f"{state.id} waits for no approval of {wanted or 'anything'}; it needs them before: "
            f"{there}"
        )
    if any(one.actor == actor and one.point == wanted for one in state.approvals):
        raise RolloutError(
            f"{actor} approved {state.id} before {wanted} already",
            hint="another person must approve it",
        )
    return e.Approved(at=at, actor=actor, point=wanted, digest=candidate.digest, reason=reason)


def pause(state: Rollout, *, actor: str, at: datetime, reason: str = "") -> e.Paused:
    """Stops the clock; guardrails still roll back. Raises `RolloutError`."""
    allowed = IN_STAGE | {Status.PREPARING, Status.AWAITING_APPROVAL, Status.WATCHING}
    if state.status not in allowed:
        raise _unfit(state, "paused")
    return e.Paused(at=at, actor=actor, reason=reason)


def resume(state: Rollout, *, actor: str, at: datetime, reason: str = "") -> e.Resumed:
    """Goes on where it was held or paused. Raises `RolloutError`."""
    if state.held is None or state.status not in (Status.HELD, Status.PAUSED):
        raise _unfit(state, "resumed")
    _require_own_table(state, "resumed")
    return e.Resumed(at=at, actor=actor, reason=reason)


def promote(
    state: Rollout, *, actor: str, at: datetime, full: bool = False, reason: str = ""
) -> e.PromoteRequested:
    """Ends the present stage as soon as the evidence suffices; `full`: whatever it says.

    In full it needs a reason, and the approvals that the spec asks for. Raises `RolloutError`.
    """
    if state.acting not in IN_STAGE and not (
        full and state.acting is Status.AWAITING_APPROVAL and state.stage >= 0
    ):
        raise _unfit(state, "promoted")
    _require_own_table(state, "promoted")
    if state.spec.settings.strategy == "shadow":
        raise RolloutError(
            f"{state.id} is a shadow, which promotes nothing",
            hint="start a canary of the same version",
        )
    if full and not reason.strip():
        raise RolloutError(
            f"{state.id} would be promoted whatever the evidence says, and no reason is given",
            hint="say why with --reason; it is kept in the ledger",
        )
    return e.PromoteRequested(at=at, actor=actor, full=full, reason=reason)


def abort(state: Rollout, *, actor: str, at: datetime, reason: str = "") -> e.Returning:
    """Gives everything back to the baseline; the version may come again. Raises `RolloutError`."""
    _require_way_back(state, "aborted")
    said = f"aborted by {actor}{f': {reason}' if reason else ''}"
    return e.Returning(at=at, actor=actor, reason=said, outcome=e.Outcome.ABORTED)


def rollback(state: Rollout, *, actor: str, at: datetime, reason: str = "") -> e.RollingBack:
    """Gives everything back to the baseline, and puts the candidate's bytes into quarantine.

    Raises `RolloutError`.
    """
    _require_way_back(state, "rolled back")
    said = f"rolled back by {actor}{f': {reason}' if reason else ''}"
    return e.RollingBack(at=at, actor=actor, reason=said, quarantine=True)


def _first_open(state: Rollout) -> str:
    """The next point that people must agree to."""
    points = state.spec.settings.approval_points
    given = {one.point for one in state.approvals}
    stages = [f"stage:{n}" for n in range(state.stage + 1, len(stages_of(state.spec.settings)))]
    order = [*(["start"] if not state.routed else []), *stages, "promote"]
    return next((point for point in order if point in points and point not in given), "")


def _require_life(state: Rollout, done: str) -> None:
    if state.ended or state.status in GOING_BACK:
        raise _unfit(state, done)


def _require_way_back(state: Rollout, done: str) -> None:
    _require_life(state, done)
    if state.acting is Status.RETIRING:
        raise RolloutError(
            f"{state.id} cannot be {done}: {state.spec.baseline.model} is stopped already",
            hint=f"start a rollout of {state.spec.baseline.model}",
        )


def _require_own_table(state: Rollout, done: str) -> None:
    if state.held and state.held.hands_off:
        raise RolloutError(
            f"{state.id} cannot be {done}: {state.held.reason}",
            hint="abort it, and start another against the present champion",
        )


def _unfit(state: Rollout, done: str) -> RolloutError:
    ended = state.ended or state.status in GOING_BACK
    why = f" ({state.reason})" if state.reason and ended else ""
    promoted = state.acting in CANDIDATE_IS_CHAMPION
    return RolloutError(
        f"{state.id} is {state.status}{why}, and cannot be {done}",
        hint="it can be rolled back or aborted" if promoted and not ended else "",
    )
