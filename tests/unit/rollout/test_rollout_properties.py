"""Whatever happens to a rollout: what holds at every moment, and that it ends."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rollout_worlds import (
    BAD,
    DAY,
    DRIFTED,
    GOOD,
    HOUR,
    MINUTE,
    NOTHING,
    OUTAGE,
    THIN,
    Traffic,
    World,
    settings_of,
)

from penstock.errors import RolloutError
from penstock.rollout import events as e
from penstock.rollout import operations as do
from penstock.rollout.evidence import SmokeResult
from penstock.rollout.judge.verdicts import Judgement
from penstock.rollout.plans import stages_of
from penstock.rollout.states import CANDIDATE_IS_CHAMPION, GOING_BACK, Status
from penstock.serving.routing.buckets import BUCKETS, share
from penstock.serving.routing.table import RoutingTable

pytestmark = pytest.mark.slow

Act = Callable[[World], None]


def sees(traffic: Traffic) -> Act:
    def act(world: World) -> None:
        world.traffic = traffic

    return act


def notes(**also: Any) -> Act:
    def act(world: World) -> None:
        world.also = also

    return act


def asks(operation: Callable[..., e.Event], **given: Any) -> Act:
    def act(world: World) -> None:
        with contextlib.suppress(RolloutError):
            world.asked(operation, **given)

    return act


def follows(yes: bool) -> Act:
    def act(world: World) -> None:
        world.follows = yes

    return act


ACTS: dict[str, Act] = {
    "good": sees(GOOD),
    "bad": sees(BAD),
    "thin": sees(THIN),
    "drifted": sees(DRIFTED),
    "outage": sees(OUTAGE),
    "nothing": sees(NOTHING),
    "fine": notes(smoke=SmokeResult(requests=20, failures=0)),
    "source down": notes(metrics_error="down"),
    "foreign": notes(foreign_table="bob"),
    "quarantined": notes(quarantined=True),
    "gateways follow": follows(True),
    "gateways stay": follows(False),
    "approve": asks(do.approve),
    "approve too": asks(do.approve, actor="bob"),
    "pause": asks(do.pause),
    "resume": asks(do.resume),
    "promote": asks(do.promote),
    "promote in full": asks(do.promote, full=True, reason="because"),
    "abort": asks(do.abort),
    "rollback": asks(do.rollback),
}
# Most of the time things go well, so that the late states are reached too.
HAPPENS = st.sampled_from([*ACTS, *["good", "fine", "gateways follow", "approve", "resume"] * 3])
STORIES = st.lists(st.tuples(HAPPENS, st.integers(0, 6 * 60)), max_size=25)
WEIGHTS = st.lists(st.sampled_from([0.01, 0.1, 0.25, 0.5, 1.0]), min_size=2, max_size=4)
APPROVALS = [{"required": 0}, {"required": 1}, {"required": 2, "before": ["stage:1", "promote"]}]


def staged(weights: list[float]) -> list[dict[str, Any]]:
    return [{"weight": weight, "bake": "2h", "error_rate": 0.05} for weight in sorted(weights)]


SPECS = st.fixed_dictionaries(
    {
        "strategy": st.sampled_from(["canary", "canary", "blue_green"]),
        "on_inconclusive": st.sampled_from(["hold", "rollback"]),
        "on_provider_down": st.sampled_from(["hold", "rollback"]),
        "approvals": st.sampled_from(APPROVALS),
        "stages": WEIGHTS.map(staged),
    }
)
often = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Watcher:
    """Looks at every table, as the world goes on."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.seen = 0

    def look(self) -> None:
        for table in self.world.tables[self.seen :]:
            assert_shares_are_whole(table)
        self.seen = len(self.world.tables)
        state, table = self.world.state, self.world.table
        if table is not None and not state.ended and not (state.held and state.held.hands_off):
            promoted = state.acting in CANDIDATE_IS_CHAMPION
            assert table.champion == ("r2" if promoted else "r1")


def assert_shares_are_whole(table: RoutingTable) -> None:
    owned = sum(share(arm.buckets) for arm in table.arms)
    assert 0 <= owned <= BUCKETS
    weights = table.weights()
    assert sum(weights.values()) == pytest.approx(1.0, abs=1e-12)
    assert min(weights.values()) >= 0


def lived(spec: dict[str, Any], story: list[tuple[str, int]]) -> World:
    world = World(settings_of(**spec))
    watcher = Watcher(world)
    for name, minutes in story:
        ACTS[name](world)
        if world.state.ended:
            break
        watcher.look()
        world.now += timedelta(minutes=minutes)
        world.settle()
        watcher.look()
    return world


@often
@given(SPECS, STORIES)
def test_replaying_the_ledger_gives_the_same_state(
    spec: dict[str, Any], story: list[tuple[str, int]]
) -> None:
    world = lived(spec, story)
    assert world.replayed().model_dump_json() == world.state.model_dump_json()
    assert world.state.position == len(world.events)


@often
@given(SPECS, STORIES)
def test_no_unit_changes_arm_within_a_stage_nor_leaves_an_arm_that_grows(
    spec: dict[str, Any], story: list[tuple[str, int]]
) -> None:
    world = lived(spec, story)
    owners: dict[str, set[int]] = {}
    before: set[int] = set()
    for table in world.tables:
        if not table.arms:
            continue
        buckets = {bucket for first, end in table.arms[0].buckets for bucket in range(first, end)}
        assert owners.setdefault(table.epoch, buckets) == buckets
        assert before <= buckets
        before = buckets
        assert table.salt == "ro-1"  # another salt would move units as well


@often
@given(SPECS, STORIES)
def test_nothing_is_promoted_without_every_pass_or_a_person_who_says_why(
    spec: dict[str, Any], story: list[tuple[str, int]]
) -> None:
    world = lived(spec, story)
    passed, verdicts, in_full = set[int](), (), False
    for event in world.events:
        if isinstance(event, e.Judged):
            verdicts = event.verdicts
        if isinstance(event, e.StagePassed):
            assert verdicts
            assert {verdict.judgement for verdict in verdicts} == {Judgement.PASS}
            passed.add(event.stage)
        if isinstance(event, e.PromoteRequested):
            in_full = in_full or (event.full and bool(event.reason))
        if isinstance(event, e.Promoting):
            all_stages = set(range(len(stages_of(world.state.spec.settings))))
            assert in_full or passed == all_stages
            required = world.state.spec.settings.approvals.required
            for point in world.state.spec.settings.approval_points:
                if not point.startswith("stage:"):
                    given = {a.actor for a in world.state.approvals if a.point == point}
                    assert len(given) >= required


@often
@given(SPECS, STORIES, STORIES)
def test_an_abort_is_final(
    spec: dict[str, Any], story: list[tuple[str, int]], after: list[tuple[str, int]]
) -> None:
    world = lived(spec, story)
    if world.state.ended or world.state.status in GOING_BACK:
        return
    try:
        world.asked(do.abort)
    except RolloutError:
        assert world.state.acting is Status.RETIRING
        return
    known = len(world.tables)
    for name, minutes in after:
        assert world.state.status in {Status.RETURNING, Status.ROLLBACK_FAILED, Status.ABORTED}
        assert all(table.champion == "r1" for table in world.tables[known - 1 :])
        if world.state.ended:
            break
        ACTS[name](world)
        world.now += timedelta(minutes=minutes)
        world.settle()


@often
@given(SPECS, STORIES, st.sampled_from(["good", "bad", "thin", "drifted", "outage", "nothing"]))
def test_every_rollout_ends_though_nobody_comes(
    spec: dict[str, Any], story: list[tuple[str, int]], traffic: str
) -> None:
    world = lived(spec, story)
    world.follows, world.also = True, {}
    ACTS[traffic](world)
    until = world.now + 60 * DAY
    while not world.state.ended:
        assert world.now < until, f"{world.state.status}: {world.decision.reason}"
        world.now += 3 * HOUR
        world.settle()
    world.now += MINUTE
    assert world.tick() == []


@often
@given(SPECS, STORIES)
def test_a_killed_controller_goes_on_from_the_ledger(
    spec: dict[str, Any], story: list[tuple[str, int]]
) -> None:
    """It comes to the same, wherever it was interrupted."""
    whole, killed = lived(spec, story), World(settings_of(**spec))
    for name, minutes in story:
        ACTS[name](killed)
        if killed.state.ended:
            break
        killed.now += timedelta(minutes=minutes)
        while decided_and_killed(killed):
            assert len(killed.events) < 1_000
    assert (killed.state.status, killed.state.stage) == (whole.state.status, whole.state.stage)
    assert killed.state.outcome == whole.state.outcome


def decided_and_killed(world: World) -> bool:
    """Another process reads the stream, decides, and is killed after it wrote one entry."""
    world.state = world.replayed()
    known = world.state.position
    wrote = world.tick()
    world.events = world.events[: known + 1]
    world.state = world.replayed()
    return bool(wrote)
