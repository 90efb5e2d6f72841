"""The course of each strategy, on a clock of its own."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from rollout_worlds import (
    BAD,
    CANDIDATE,
    DAY,
    DRIFTED,
    GOOD,
    HOUR,
    MINUTE,
    NOON,
    NOTHING,
    OUTAGE,
    SLOW,
    THIN,
    Traffic,
    World,
    settings_of,
)

from penstock.errors import IntegrityError
from penstock.rollout import events as e
from penstock.rollout import operations
from penstock.rollout.events import Outcome
from penstock.rollout.evidence import Approval, GatewayView, SmokeResult
from penstock.rollout.judge.ab import AbEvidence, AbLook, AbMetric, AbOutcome
from penstock.rollout.judge.shadow import ShadowEvidence
from penstock.rollout.routing import candidate_arm, candidate_share, epoch_of, leased
from penstock.rollout.states import Status, apply, replay
from penstock.stats.moments import Moments
from penstock.stats.paired import PairedSums

QUICK = {"watch": "10m", "retain": "1h"}


def one_stage(**given: Any) -> dict[str, Any]:
    return QUICK | {"stages": [{"weight": 0.2, "bake": "1h", "error_rate": 0.05}]} | given


def hold_reason(world: World) -> str:
    assert world.state.status is Status.HELD
    assert world.state.held is not None
    return world.state.held.reason


# Canary


def test_the_seed_canary_takes_as_long_as_it_says_and_promotes_at_its_end() -> None:
    world = World(settings_of(watch="1h", retain="24h"))
    world.until("done", step=30 * MINUTE)
    began = {x.stage: x.at - NOON for x in world.events if isinstance(x, e.StageStarted)}
    # 10 % for 2 h, 25 % for 4 h, 50 % for 8 h, then everything.
    assert began == {0: 0 * HOUR, 1: 2 * HOUR, 2: 6 * HOUR, 3: 14 * HOUR}
    assert world.state.outcome is Outcome.PROMOTED
    # 2 + 4 + 8 + 24 h of stages, 1 h of watching, 24 h with the old version beside it.
    assert world.now - NOON == 63 * HOUR
    assert world.table is not None
    assert (world.table.champion, set(world.table.releases)) == ("r2", {"r2"})


def test_weights_go_up_as_the_seed_says_and_the_baseline_is_champion_until_the_end() -> None:
    world = World(settings_of())
    world.until("done")
    shares = [(t.champion, t.weights().get("canary"), t.epoch) for t in world.tables]
    assert shares == [
        ("r1", 0.0, ""),  # loaded
        ("r1", 0.1, "ro-1/0"),
        ("r1", 0.25, "ro-1/1"),
        ("r1", 0.5, "ro-1/2"),
        ("r1", 1.0, "ro-1/3"),
        ("r2", None, "ro-1/4"),  # promoted; the old version runs
        ("r2", None, ""),  # and is stopped
    ]
    assert [set(t.releases) for t in world.tables] == [{"r1", "r2"}] * 6 + [{"r2"}]


@pytest.mark.parametrize(
    ("traffic", "metric"), [(BAD, "error_rate"), (SLOW, "latency_p95")], ids=["errors", "latency"]
)
def test_a_bad_candidate_is_taken_back_at_the_first_look(traffic: Traffic, metric: str) -> None:
    world = World(settings_of())
    world.until("baking")
    world.traffic = traffic
    world.run(MINUTE)
    assert (world.state.status, world.state.outcome) == (Status.ROLLED_BACK, Outcome.ROLLED_BACK)
    assert world.state.quarantine
    assert world.state.reason.startswith(f"{metric}: ")
    # The verdict with its numbers comes before what follows from it.
    judged, back = world.events[-3:-1]
    assert isinstance(judged, e.Judged)
    assert isinstance(back, e.RollingBack)
    assert next(v for v in judged.verdicts if v.metric == metric).numbers["e"] > 40
    assert world.table is not None
    assert (world.table.champion, world.table.arms, set(world.table.releases)) == (
        "r1", (), {"r1"},
    )  # fmt: skip


def test_an_outage_of_both_arms_is_held_and_not_rolled_back() -> None:
    world = World(settings_of(**one_stage()))
    world.until("baking")
    world.traffic = OUTAGE
    world.run(MINUTE)
    assert "both arms are above the limit of 5 %" in hold_reason(world)
    # It is over; a person lets it go on, and the stage passes by new evidence.
    world.traffic = GOOD
    world.asked(operations.resume, reason="the database was down")
    world.until("done")
    assert world.state.outcome is Outcome.PROMOTED


@pytest.mark.parametrize(
    ("policy", "status", "quarantined"),
    [("hold", Status.HELD, False), ("rollback", Status.ROLLED_BACK, False)],
)
def test_too_little_evidence_bakes_on_and_is_never_a_pass(
    policy: str, status: Status, quarantined: bool
) -> None:
    world = World(settings_of(**one_stage(on_inconclusive=policy)), THIN)
    world.run(59 * MINUTE)
    assert world.state.status is Status.BAKING
    world.run(2 * MINUTE)
    assert world.state.status is Status.DECIDING
    assert world.decision.next_at == NOON + 4 * HOUR  # four times the bake time
    world.run(timedelta(hours=2, minutes=58))
    assert world.state.status is Status.DECIDING
    world.run(MINUTE)
    assert world.state.status is status
    assert "inconclusive" in world.state.reason
    assert world.state.quarantine is quarantined


def test_a_stage_that_is_resumed_has_its_patience_anew() -> None:
    world = World(settings_of(**one_stage()), THIN)
    world.until("held")
    world.run(HOUR)
    world.asked(operations.resume)
    again = world.now
    world.run(4 * HOUR - MINUTE)
    assert world.state.status is Status.DECIDING
    world.run(MINUTE)
    assert world.state.status is Status.HELD
    assert world.now - again == 4 * HOUR


def test_a_stage_waits_for_its_events() -> None:
    stages = [{"weight": 0.2, "bake": "1m", "max": "1h", "min_events": 50_000}]
    world = World(settings_of(**one_stage(stages=stages)))
    world.run(10 * MINUTE)
    assert world.state.status is Status.BAKING  # 40,000 of 50,000 requests
    world.traffic = Traffic(requests=260_000)
    world.run(MINUTE)
    assert world.state.passed == 0


def test_drift_is_held_and_a_person_who_goes_on_is_not_asked_again() -> None:
    world = World(settings_of(**one_stage()), DRIFTED)
    world.run(2 * MINUTE)
    assert "prediction_drift" in hold_reason(world)
    world.asked(operations.resume, reason="expected")
    world.run(30 * MINUTE)
    assert world.state.status is Status.BAKING
    # It does not pass all the same: nothing is promoted without every PASS.
    world.run(5 * HOUR)
    assert "inconclusive" in hold_reason(world)


def test_while_held_a_guardrail_still_takes_it_back() -> None:
    world = World(settings_of(**one_stage()), DRIFTED)
    world.until("held")
    world.traffic = BAD
    world.run(MINUTE)
    assert world.state.status is Status.ROLLED_BACK


@pytest.mark.parametrize(("policy", "status"), [("hold", "held"), ("rollback", "rolled back")])
def test_a_broken_source_is_borne_for_its_patience_and_feeds_no_judge(
    policy: str, status: str
) -> None:
    world = World(settings_of(**one_stage(on_provider_down=policy)), GOOD)
    world.until("baking", step=MINUTE)
    world.traffic, world.also = BAD, {"metrics_error": "no route to host"}  # BAD is not looked at
    began = world.now
    world.run(4 * MINUTE)
    assert world.state.status is Status.BAKING
    world.run(MINUTE)
    assert world.state.status == status
    assert world.now - began == 5 * MINUTE
    assert "no route to host" in world.state.reason
    assert not world.state.quarantine


def test_a_source_that_comes_back_in_time_is_forgiven() -> None:
    world = World(settings_of(**one_stage()))
    world.until("baking", step=MINUTE)
    for _ in range(3):
        world.also = {"metrics_error": "no route to host"}
        world.run(4 * MINUTE)
        world.also = {}
        world.run(MINUTE)
    assert world.state.status is Status.BAKING


def test_no_requests_at_all_is_an_error_and_no_pass() -> None:
    world = World(settings_of(**one_stage()), NOTHING)
    world.run(4 * MINUTE)
    assert world.state.status is Status.BAKING
    world.run(2 * MINUTE)
    assert "there is no evidence" in hold_reason(world)


def test_the_new_champion_is_judged_until_it_is_kept() -> None:
    world = World(settings_of(**one_stage()))
    world.until("watching", step=MINUTE)
    assert candidate_arm(world.state.spec.settings, world.state.stage) == "champion"
    world.traffic = BAD
    world.run(MINUTE)
    assert world.state.status is Status.ROLLED_BACK
    assert world.table is not None
    assert world.table.champion == "r1"


# Gateways


def test_a_stage_begins_when_every_gateway_routes_so() -> None:
    world = World(settings_of(**one_stage()))
    while world.state.status is not Status.RAMPING:
        world.tick()
    world.follows = False
    world.served = world.revision - 1
    world.run(MINUTE)
    assert world.state.stage_began is None
    assert f"g1 serves revision {world.served} instead of {world.revision}" in world.decision.reason
    world.follows = True
    world.tick()
    world.tick()
    assert world.state.stage_began == world.now


def test_gateways_that_do_not_follow_hold_it() -> None:
    world = World(settings_of(**one_stage()))
    world.follows = False
    world.run(9 * MINUTE)
    assert world.state.status is Status.PREPARING
    world.run(MINUTE)
    assert "the candidate is not loaded everywhere: g1 serves revision 7" in hold_reason(world)


def test_a_gateway_that_is_gone_is_not_waited_for_but_one_must_be_there() -> None:
    world = World(settings_of(**one_stage()))
    silent = GatewayView(name="old", revision=3, seen_at=NOON - HOUR)
    stopped = GatewayView(name="ended", revision=3, seen_at=NOON, state="stopped")
    world.also = {"gateways": (silent, stopped)}
    world.run(10 * MINUTE)
    assert "no gateway of the endpoint is alive" in hold_reason(world)
    world.also = {}
    world.asked(operations.resume)
    world.run(MINUTE)
    assert world.state.status is Status.BAKING


def test_a_rollback_that_a_gateway_does_not_follow_is_told_and_tried_on() -> None:
    world = World(settings_of(**one_stage()))
    world.until("baking", step=MINUTE)
    world.follows, world.traffic = False, BAD
    world.run(MINUTE)
    assert world.state.status is Status.ROLLING_BACK
    world.run(MINUTE)
    assert world.state.status is Status.ROLLBACK_FAILED
    assert "g1 serves revision" in world.decision.reason
    world.follows = True
    world.run(MINUTE)
    assert (world.state.status, world.state.outcome) == (Status.ROLLED_BACK, Outcome.ROLLED_BACK)
    assert world.state.reason.startswith("error_rate: ")  # what it was taken back for


def test_a_clock_that_jumps_promotes_nothing_without_evidence() -> None:
    world = World(settings_of(**one_stage()), THIN)
    world.until("baking", step=MINUTE)
    world.run(timedelta(minutes=1))
    world.now -= 2 * HOUR  # back: nothing is due
    world.run(MINUTE)
    assert world.state.status is Status.BAKING
    world.now += 40 * DAY
    world.settle()
    assert world.state.status is Status.HELD


# Others who act


def test_another_routing_table_holds_it_and_is_left_alone() -> None:
    world = World(settings_of(**one_stage()))
    world.until("baking", step=MINUTE)
    tables = len(world.tables)
    world.also = {"foreign_table": "bob deployed churn@9"}
    world.run(MINUTE)
    assert "bob deployed churn@9" in hold_reason(world)
    world.run(HOUR)
    assert len(world.tables) == tables
    assert not leased(world.state) or world.state.held is not None
    world.asked(operations.abort)
    world.run(MINUTE)
    assert world.state.status is Status.ABORTED


def test_a_version_put_into_quarantine_is_taken_back() -> None:
    world = World(settings_of(**one_stage()))
    world.until("baking", step=MINUTE)
    world.also = {"quarantined": True}
    world.run(MINUTE)
    assert world.state.status is Status.ROLLED_BACK
    assert "quarantine" in world.state.reason


def test_one_in_quarantine_is_never_routed() -> None:
    world = World(settings_of(**one_stage()))
    world.also = {"quarantined": True}
    world.run(MINUTE)
    assert (world.state.status, world.tables) == (Status.ABORTED, [])


def test_a_spec_that_cannot_be_is_never_routed() -> None:
    world = World(settings_of(**one_stage()), baseline=CANDIDATE)
    world.run(MINUTE)
    assert (world.state.status, world.tables) == (Status.ABORTED, [])
    assert "candidate: churn@2 has the bytes of the baseline" in world.state.reason


def test_a_dry_run_routes_nothing() -> None:
    world = World(settings_of(**one_stage(dry_run=True)))
    world.run(MINUTE)
    assert (world.state.outcome, world.tables) == (Outcome.DRY_RUN, [])


# Approvals


def test_nothing_begins_before_enough_people_agreed() -> None:
    world = World(settings_of(**one_stage(approvals={"required": 2})))
    world.run(HOUR)
    assert (world.state.status, world.tables) == (Status.AWAITING_APPROVAL, [])
    assert "2 more people must approve churn@2 before start" in world.decision.reason
    world.asked(operations.approve, actor="ann")
    world.run(HOUR)
    assert "one more person" in world.decision.reason
    world.asked(operations.approve, actor="bob")
    world.run(MINUTE)
    assert world.state.status is Status.BAKING


@pytest.mark.parametrize(
    ("digest", "begins"), [(CANDIDATE.digest, True), ("e" * 64, False)], ids=["these", "others"]
)
def test_an_approval_of_the_model_counts_for_its_bytes_alone(digest: str, begins: bool) -> None:
    world = World(settings_of(**one_stage(approvals={})))
    world.also = {"approvals": (Approval(actor="ann", digest=digest, at=NOON),)}
    world.run(MINUTE)
    assert (world.state.status is Status.BAKING) is begins


def test_a_stage_may_wait_for_people_with_the_share_before_it() -> None:
    stages = [{"weight": 0.1, "bake": "1h"}, {"weight": 0.5, "bake": "1h"}]
    approvals = {"before": ["stage:1", "promote"]}
    world = World(settings_of(**QUICK, stages=stages, approvals=approvals))
    world.run(3 * HOUR)
    assert (world.state.status, world.state.waiting_for) == (Status.AWAITING_APPROVAL, "stage:1")
    assert world.tables[-1].weights()["canary"] == 0.1
    world.asked(operations.approve)
    world.run(2 * HOUR)
    assert (world.state.status, world.state.waiting_for) == (Status.AWAITING_APPROVAL, "promote")
    assert world.tables[-1].champion == "r1"
    world.asked(operations.approve)
    world.until("done", step=MINUTE)
    assert world.state.outcome is Outcome.PROMOTED


def test_while_people_are_waited_for_guardrails_watch() -> None:
    world = World(settings_of(**one_stage(approvals={"before": ["promote"]})))
    world.until("awaiting approval", step=MINUTE)
    world.traffic = BAD
    world.run(MINUTE)
    assert world.state.status is Status.ROLLED_BACK


@pytest.mark.parametrize("approvals", [{}, {"required": 0}], ids=["unapproved", "held"])
def test_what_nobody_decides_on_is_abandoned(approvals: dict[str, Any]) -> None:
    world = World(settings_of(**one_stage(approvals=approvals)), THIN)
    world.until("aborted", within=9 * DAY)
    assert "nobody decided" in world.state.reason
    assert not world.state.quarantine


# Blue-green


def test_green_is_asked_before_it_gets_everything_and_blue_stays_champion_until_the_end() -> None:
    world = World(settings_of(strategy="blue_green"))
    world.run(2 * MINUTE)
    assert world.decision.wants_smoke
    assert [t.weights().get("green") for t in world.tables] == [0.0, 0.0]
    world.also = {"smoke": SmokeResult(requests=20, failures=0)}
    world.run(MINUTE)
    assert (world.state.stage, world.tables[-1].weights()["green"]) == (1, 1.0)
    assert world.tables[-1].champion == "r1"
    assert leased(world.state)
    world.run(HOUR)
    assert world.tables[-1].champion == "r2"
    assert "r1" in world.tables[-1].releases
    assert not leased(world.state)
    world.run(23 * HOUR)
    assert world.state.status is Status.RETAINING_OLD
    world.run(HOUR)
    assert world.state.outcome is Outcome.PROMOTED
    assert set(world.tables[-1].releases) == {"r2"}


def test_green_that_fails_its_smoke_tests_gets_no_traffic() -> None:
    world = World(settings_of(strategy="blue_green"))
    world.also = {"smoke": SmokeResult(requests=20, failures=3, reason="500 for row 7")}
    world.run(2 * MINUTE)
    assert world.state.status is Status.ROLLED_BACK
    assert "3 of 20 smoke tests failed: 500 for row 7" in world.state.reason
    assert max(t.weights().get("green", 0) for t in world.tables) == 0


def test_smoke_tests_that_are_not_made_are_no_pass() -> None:
    world = World(settings_of(strategy="blue_green"))
    world.run(HOUR)
    assert "inconclusive" in hold_reason(world)
    assert max(t.weights().get("green", 0) for t in world.tables) == 0


def test_a_bad_green_gives_everything_back_to_blue() -> None:
    world = World(settings_of(strategy="blue_green"))
    world.also = {"smoke": SmokeResult(requests=20, failures=0)}
    world.run(2 * MINUTE)
    world.traffic = Traffic(errors=(0.2, 0.001))
    world.run(MINUTE)
    assert world.state.status is Status.ROLLED_BACK
    assert world.tables[-1].champion == "r1"


# A/B


def ab_world(**given: Any) -> World:
    ab = {"duration": "10h", "looks": 5, "min_units": 1_000, "secondaries": [], "guard": ""}
    plan = {"strategy": "ab", "unit": {"field": "user"}, "ab": ab | given}
    return World(settings_of(**QUICK, **plan))


def moments(mean: float, n: int) -> Moments:
    """Of a metric with a standard deviation of 1."""
    return Moments(n=n, y=n * mean, yy=n * (mean**2 + 1))


def observe_lift(world: World, lift: float) -> None:
    """The primary metric of 1,000 users an hour in each arm; the baseline's is 10 ± 1."""
    hours = (world.now - NOON) / HOUR
    n = max(2, int(1_000 * hours) // 2 * 2)
    metric = AbMetric(control=moments(10.0, n), treatment=moments(10.0 * (1 + lift), n))
    world.also["ab"] = AbEvidence(
        seconds=hours * 3600,
        control_units=n,
        treatment_units=n,
        metrics={"user_engagement": metric},
    )


def run_ab(world: World, hours: float, lift: float) -> None:
    for _ in range(int(hours * 4)):
        world.now += timedelta(minutes=15)
        observe_lift(world, lift)
        world.settle()


def test_a_gain_ends_an_ab_test_at_a_look_and_is_promoted_by_people() -> None:
    world = ab_world()
    world.state = world.state.model_copy(
        update={"spec": world.state.spec.model_copy(update={"settings": with_promote(world)})}
    )
    run_ab(world, 1.75, lift=0.1)
    assert (world.state.status, world.state.looks) == (Status.BAKING, ())
    run_ab(world, 1, lift=0.1)  # the first of five looks is at 2 h
    assert world.state.concluded is AbOutcome.SUCCESS
    assert len(world.state.looks) == 1
    assert (world.state.status, world.state.waiting_for) == (Status.AWAITING_APPROVAL, "promote")
    world.asked(operations.approve)
    world.also.clear()
    world.until("done", step=MINUTE)
    assert world.state.outcome is Outcome.PROMOTED


def with_promote(world: World) -> Any:
    approvals = {"required": 1, "before": ["promote"]}
    given = world.state.spec.settings.model_dump(mode="json") | {"approvals": approvals}
    return settings_of(**given)


def test_no_gain_ends_at_the_baseline_and_says_so() -> None:
    world = ab_world()
    run_ab(world, 9.75, lift=0.0)
    assert world.state.status is Status.BAKING
    assert len(world.state.looks) == 4
    run_ab(world, 0.5, lift=0.0)
    assert (world.state.status, world.state.outcome) == (Status.DONE, Outcome.BASELINE_KEPT)
    assert "no gain was found" in world.state.reason
    assert not world.state.quarantine
    assert world.tables[-1].champion == "r1"
    assert world.tables[-1].arms == ()


def test_harm_takes_the_treatment_back() -> None:
    world = ab_world()
    run_ab(world, 2.25, lift=-0.1)
    assert (world.state.status, world.state.concluded) == (Status.ROLLED_BACK, AbOutcome.HARM)


def test_a_guardrail_takes_an_ab_test_back_between_looks() -> None:
    world = ab_world()
    run_ab(world, 0.5, lift=0.0)
    world.traffic = BAD
    run_ab(world, 0.25, lift=0.0)
    assert (world.state.status, world.state.looks) == (Status.ROLLED_BACK, ())


def test_units_in_wrong_shares_hold_it() -> None:
    world = ab_world()
    run_ab(world, 1, lift=0.1)
    found = world.also["ab"]
    world.also["ab"] = found.model_copy(update={"treatment_units": found.control_units * 2})
    world.settle()
    assert "do not compare the same people" in hold_reason(world)


def test_a_look_is_taken_once_though_the_controller_is_killed_after_it() -> None:
    """Between two entries: the look is written down, what follows from it is not."""
    world = ab_world()
    run_ab(world, 1.75, lift=0.1)
    world.now += timedelta(minutes=15)
    observe_lift(world, 0.1)
    world.tick()
    written = world.events.index(next(x for x in world.events if isinstance(x, e.LookTaken)))
    world.events = world.events[: written + 1]
    world.state = replay(world.events)
    world.settle()
    assert world.names.count("LookTaken") == 1
    assert world.names.count("Promoting") == 1


def test_an_ab_test_is_on_users_and_half_of_them() -> None:
    world = ab_world()
    world.run(MINUTE)
    table = world.tables[-1]
    assert (table.weights()["b"], table.unit.field, table.track_units) == (0.5, "user", True)


# Shadow


def shadow_world(**evidence: Any) -> World:
    world = World(settings_of(strategy="shadow", shadow={"duration": "10h"}))
    seen: dict[str, Any] = {
        "seconds": 3600.0,
        "pairs": 100_000,
        # ln(1.05) ± 0.1
        "log_latency": PairedSums(100_000, 4_879.0, 1_238.0),
        "baseline_requests": 100_000,
        "candidate_requests": 100_000,
        "baseline_cpu_us": 10**8,
        "candidate_cpu_us": 10**8,
        "baseline_memory_bytes": 10**8,
        "candidate_memory_bytes": 10**8,
    }
    world.also = {"shadow": ShadowEvidence(**(seen | evidence))}
    return world


def test_a_shadow_gets_a_copy_and_no_share_and_ends_with_a_report() -> None:
    world = shadow_world()
    world.run(9 * HOUR)
    table = world.tables[-1]
    assert (table.champion, table.arms) == ("r1", ())
    assert table.mirror is not None
    assert (table.mirror.release, table.mirror.buckets) == ("r2", 10_000)
    assert candidate_arm(world.state.spec.settings, 0) == "shadow"
    world.run(2 * HOUR)
    assert (world.state.status, world.state.outcome) == (Status.DONE, Outcome.REPORTED)
    assert (world.tables[-1].champion, world.tables[-1].mirror) == ("r1", None)
    assert "Promoting" not in world.names


def test_a_shadow_that_answers_otherwise_is_retired_without_quarantine() -> None:
    world = shadow_world(disagreements=5_000)  # 5 % where 1 % may differ
    world.run(HOUR)
    assert world.state.status is Status.ROLLED_BACK
    assert world.state.reason.startswith("disagreement: ")
    assert not world.state.quarantine


def test_a_shadow_that_needs_more_memory_is_told_at_its_end() -> None:
    world = shadow_world(candidate_memory_bytes=10**9)
    world.run(9 * HOUR)
    assert world.state.status is Status.BAKING
    world.run(2 * HOUR)
    assert world.state.status is Status.ROLLED_BACK
    assert world.state.reason.startswith("memory_ratio: ")


def test_a_shadow_that_nothing_is_mirrored_to_is_held() -> None:
    world = World(settings_of(strategy="shadow"))
    world.also = {"shadow": ShadowEvidence(seconds=60)}
    world.run(4 * MINUTE)
    assert world.state.status is Status.BAKING
    world.run(2 * MINUTE)
    assert "no request was mirrored" in hold_reason(world)


# What is observed, and the fold


def test_the_evidence_of_a_stage_has_a_name_a_share_and_an_arm() -> None:
    world = World(settings_of(**one_stage(holdback=0.1)))
    assert epoch_of(world.state) == ""
    world.until("baking", step=MINUTE)
    settings = world.state.spec.settings
    assert epoch_of(world.state) == "ro-1/0"
    assert candidate_share(settings, 0) == pytest.approx(0.18)  # 20 % of the 90 % not held back
    assert candidate_arm(settings, 0) == "canary"
    assert candidate_share(settings, 1) == 1.0  # the new champion
    assert world.tables[-1].holdback == 1_000


def test_business_events_that_are_watched_are_named_to_the_gateways() -> None:
    rails = ["error_rate", {"metric": "latency_p99", "limit_ms": 120}, "event:refund"]
    world = World(settings_of(**one_stage(guardrails=rails)))
    world.run(MINUTE)
    assert (world.tables[-1].slow_us, world.tables[-1].events) == (120_000, ("refund",))


def test_nothing_follows_an_end() -> None:
    world = World(settings_of(**one_stage()), BAD)
    world.until("rolled back", step=MINUTE)
    with pytest.raises(IntegrityError, match="follows the end"):
        apply(world.state, e.Validated(at=world.now, actor="controller"))
    assert world.tick(DAY) == []


def test_a_stream_begins_with_its_creation() -> None:
    with pytest.raises(IntegrityError, match=r"begins with rollout\.ramped"):
        replay([e.Ramped(at=NOON, actor="controller")])
    with pytest.raises(IntegrityError, match="without events"):
        replay([])
    world = World(settings_of())
    with pytest.raises(IntegrityError, match="created twice"):
        apply(world.state, world.events[0])


@pytest.mark.parametrize(
    ("action", "details"),
    [("rollout.levitated", {}), ("rollout.stage_started", {"at": NOON, "actor": "x"})],
)
def test_an_entry_of_a_later_version_is_refused(action: str, details: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError, match=f"'{action}' that cannot be read"):
        e.event_of(action, details)


def test_the_verdicts_are_written_down_when_they_change_and_not_at_every_look() -> None:
    world = World(settings_of(**one_stage()), THIN)
    world.run(50 * MINUTE)
    assert world.names.count("Judged") == 1


@pytest.mark.parametrize("look", [AbLook(fraction=0.2, control_units=5, treatment_units=6)])
def test_looks_are_read_back(look: AbLook) -> None:
    taken = e.LookTaken(at=NOON, actor="c", look=look, outcome=AbOutcome.RUNNING, reason="r")
    assert e.event_of(e.action_of(taken), taken.model_dump(mode="json")) == taken
