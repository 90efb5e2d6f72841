"""What people may do, when it is refused, and that of two at once the first one holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from rollout_worlds import BAD, DAY, DRIFTED, GOOD, HOUR, MINUTE, THIN, World, settings_of

from penstock.audit.ledger import MemoryLedger
from penstock.errors import ConflictError, RolloutError
from penstock.rollout import events as e
from penstock.rollout import operations as do
from penstock.rollout.events import Outcome
from penstock.rollout.states import Status, apply

TWO_STAGES = {
    "watch": "10m",
    "retain": "1h",
    "stages": [{"weight": 0.1, "bake": "1h"}, {"weight": 0.5, "bake": "1h"}],
}


def world_in(status: str, **given: Any) -> World:
    world = World(settings_of(**(TWO_STAGES | given)), THIN if status == "held" else GOOD)
    world.until(status, step=MINUTE)
    return world


def refused(world: World, operation: Callable[..., e.Event], said: str, **given: Any) -> None:
    with pytest.raises(RolloutError, match=said):
        operation(world.state, actor="ann", at=world.now, **given)


def test_a_pause_stops_the_clock_and_not_the_guardrails() -> None:
    world = world_in("baking")
    world.asked(do.pause, reason="lunch")
    world.run(3 * HOUR)
    assert (world.state.status, world.state.stage) == (Status.PAUSED, 0)
    world.asked(do.resume)
    world.run(MINUTE)
    assert world.state.stage == 1  # its bake time went by meanwhile
    world.asked(do.pause)
    world.traffic = BAD
    world.run(MINUTE)
    assert world.state.status is Status.ROLLED_BACK


def test_promote_ends_the_bake_time_and_not_the_need_for_evidence() -> None:
    world = world_in("baking")
    world.run(10 * MINUTE)
    world.asked(do.promote)
    world.run(MINUTE)
    assert world.state.stage == 1
    thin = World(settings_of(**TWO_STAGES), THIN)
    thin.run(10 * MINUTE)
    thin.asked(do.promote)
    thin.run(HOUR)
    assert thin.state.stage == 0


def test_promote_in_full_needs_a_reason_and_skips_what_remains() -> None:
    world = World(settings_of(**TWO_STAGES), THIN)
    world.run(10 * MINUTE)
    refused(world, do.promote, "no reason is given", full=True, reason=" ")
    world.asked(do.promote, full=True, reason="the fair is tomorrow")
    world.until("done", step=MINUTE)
    assert world.state.outcome is Outcome.PROMOTED
    (promoting,) = [event for event in world.events if isinstance(event, e.Promoting)]
    assert promoting.reason == "promoted in full: the fair is tomorrow"
    assert world.names.count("StagePassed") == 0


def test_promote_in_full_ends_a_hold() -> None:
    world = World(settings_of(**TWO_STAGES), DRIFTED)
    world.until("held", step=MINUTE)
    world.asked(do.promote, full=True, reason="the drift is meant")
    world.until("done", step=MINUTE)
    assert world.state.outcome is Outcome.PROMOTED


def test_promote_in_full_needs_the_approvals_all_the_same() -> None:
    world = world_in("baking", approvals={"before": ["promote"]})
    world.asked(do.promote, full=True, reason="quick")
    world.run(HOUR)
    assert (world.state.status, world.state.waiting_for) == (Status.AWAITING_APPROVAL, "promote")
    world.asked(do.approve, actor="bob")
    world.until("done", step=MINUTE)
    assert world.state.outcome is Outcome.PROMOTED


def test_promote_in_full_overtakes_the_approval_of_a_stage() -> None:
    world = world_in("awaiting approval", approvals={"before": ["stage:1"]})
    refused(world, do.promote, "is awaiting approval, and cannot be promoted")
    world.asked(do.promote, full=True, reason="quick")
    world.until("done", step=MINUTE)
    assert world.state.outcome is Outcome.PROMOTED


def test_a_shadow_is_never_promoted() -> None:
    world = World(settings_of(strategy="shadow"))
    world.run(MINUTE)
    refused(world, do.promote, "a shadow, which promotes nothing", full=True, reason="x")


@pytest.mark.parametrize("status", ["baking", "held", "watching", "retaining old"])
def test_abort_gives_everything_back_without_quarantine(status: str) -> None:
    world = world_in(status)
    world.asked(do.abort, reason="changed our minds")
    world.run(MINUTE)
    assert (world.state.status, world.state.outcome) == (Status.ABORTED, Outcome.ABORTED)
    assert world.state.reason == "aborted by ann: changed our minds"
    assert not world.state.quarantine
    assert world.tables[-1].champion == "r1"
    assert set(world.tables[-1].releases) == {"r1"}


@pytest.mark.parametrize("status", ["baking", "held", "watching", "retaining old"])
def test_a_rollback_by_a_person_quarantines(status: str) -> None:
    world = world_in(status)
    world.asked(do.rollback, reason="complaints")
    world.run(MINUTE)
    assert (world.state.status, world.state.quarantine) == (Status.ROLLED_BACK, True)
    assert world.tables[-1].champion == "r1"


def test_before_anything_is_routed_abort_is_at_once() -> None:
    world = World(settings_of(**TWO_STAGES, approvals={}))
    world.run(MINUTE)
    world.asked(do.abort)
    assert (world.state.status, world.tables) == (Status.ABORTED, [])


ALL: list[tuple[Callable[..., e.Event], dict[str, Any]]] = [
    (do.approve, {}),
    (do.pause, {}),
    (do.resume, {}),
    (do.promote, {}),
    (do.promote, {"full": True, "reason": "x"}),
    (do.abort, {}),
    (do.rollback, {}),
]


@pytest.mark.parametrize(("operation", "given"), ALL)
@pytest.mark.parametrize("ends_by", [do.abort, do.rollback])
def test_nothing_can_be_done_on_the_way_back_or_after(
    operation: Callable[..., e.Event], given: dict[str, Any], ends_by: Callable[..., e.Event]
) -> None:
    world = world_in("baking")
    world.follows = False
    world.asked(ends_by, reason="enough")
    refused(world, operation, r"is (rolling back|returning) \(.*enough\), and cannot", **given)
    world.follows = True
    world.run(MINUTE)
    assert world.state.ended
    refused(world, operation, r"is (rolled back|aborted) \(.*enough\), and cannot", **given)


@pytest.mark.parametrize("operation", [do.abort, do.rollback])
def test_there_is_no_way_back_once_the_old_version_is_stopped(
    operation: Callable[..., e.Event],
) -> None:
    world = world_in("retaining old")
    world.run(59 * MINUTE)
    world.now += MINUTE
    world.tick()
    assert world.state.status is Status.RETIRING
    refused(world, operation, "churn@1 is stopped already")


def test_what_somebody_else_routes_is_not_resumed() -> None:
    world = world_in("baking")
    world.also = {"foreign_table": "bob deployed churn@9"}
    world.run(MINUTE)
    for operation in (do.resume, do.promote):
        refused(world, operation, "bob deployed churn@9")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"digest": "e" * 64}, "with digest d2d2d2d2d2d2, not eeeeeeeeeeee"),
        ({"point": "stage:1"}, "waits for no approval of stage:1; it needs them before: start"),
        ({"actor": "bob"}, "bob approved ro-1 before start already"),
    ],
)
def test_an_approval_that_says_nothing_is_refused(given: dict[str, Any], said: str) -> None:
    world = World(settings_of(**TWO_STAGES, approvals={"required": 2}))
    world.run(MINUTE)
    world.asked(do.approve, actor="bob", digest=world.state.spec.candidate.digest)
    with pytest.raises(RolloutError, match=said):
        do.approve(world.state, **({"actor": "ann", "at": world.now} | given))


def test_people_may_agree_before_they_are_asked() -> None:
    world = World(settings_of(**TWO_STAGES, approvals={"before": ["start", "promote"]}))
    world.asked(do.approve)
    world.asked(do.approve)
    assert [one.point for one in world.state.approvals] == ["start", "promote"]
    world.until("done", step=10 * MINUTE)
    assert world.now - world.events[0].at < DAY


@pytest.mark.parametrize("first", ["abort", "promote"])
def test_of_an_abort_and_a_promotion_at_once_the_first_one_holds(first: str) -> None:
    """Both were decided on the same state; the ledger takes one, and the other looks again."""
    world = world_in("baking")
    both = {
        "abort": do.abort(world.state, actor="ann", at=world.now),
        "promote": do.promote(world.state, actor="bob", at=world.now, full=True, reason="now"),
    }
    ledger = MemoryLedger()
    for number in range(1, world.state.position + 1):
        ledger.append("before", "x", digest="d", stream="rollout/ro-1", position=number)

    def write(event: e.Event) -> None:
        position = world.state.position + 1
        action = e.action_of(event)
        ledger.append(action, "x", digest="d", stream="rollout/ro-1", position=position)

    second = "promote" if first == "abort" else "abort"
    write(both[first])
    with pytest.raises(ConflictError):
        write(both[second])
    after = apply(world.state, both[first])
    if first == "abort":
        with pytest.raises(RolloutError, match="is returning"):
            do.promote(after, actor="bob", at=world.now, full=True, reason="now")
    else:  # it is still under way, so that it can be aborted: decided on what the first made
        assert do.abort(after, actor="ann", at=world.now).outcome is Outcome.ABORTED
