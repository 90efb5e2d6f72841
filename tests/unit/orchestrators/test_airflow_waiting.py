"""Whether a task of Airflow that waits may go on."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rollout_worlds import BAD, DAY, GOOD, MINUTE, THIN, Traffic, World, settings_of

from penstock.access.roles import Role
from penstock.approvals.decision import Approval, BrokenGlass, Decision
from penstock.approvals.statement import Verdict
from penstock.orchestrators.airflow.waiting import on_approval, on_rollout, on_turn
from penstock.rollout import operations as do

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def approval(person: str) -> Approval:
    return Approval(
        *(Verdict.APPROVED, "shop@2", "m", "production", "tested", person, NOW, ""),
        entry=person,
        sequence=1,
        written=NOW,
        role=Role.APPROVER,
        had_users=True,
    )


def glass(person: str) -> BrokenGlass:
    return BrokenGlass(
        *(Verdict.BROKE_GLASS, "shop@2", "m", "production", "the shop is down", person, NOW, ""),
        entry=person,
        sequence=1,
        written=NOW,
        role=Role.APPROVER,
        had_users=True,
    )


def test_who_approved_is_told() -> None:
    answer = on_approval(Decision(True, (approval("bob"), approval("ann"))), "")
    assert (answer.what, answer.reason) == ("go", "approved by ann, bob")
    assert on_approval(Decision(True), "").reason == "no approval is required"


def test_a_broken_glass_is_called_by_its_name() -> None:
    answer = on_approval(Decision(True, glass=glass("eve")), "")
    assert (answer.what, answer.reason) == ("go", "eve broke the glass: the shop is down")


def test_a_later_version_takes_the_place_of_one_that_waits_and_not_of_an_approved_one() -> None:
    waiting = on_approval(Decision(False, missing=("one more person must approve it",)), "shop@3")
    assert (waiting.what, "shop@3" in waiting.reason) == ("stop", True)
    assert on_approval(Decision(True, (approval("ann"),)), "shop@3").what == "go"


@given(st.lists(st.text(min_size=1), min_size=1, max_size=3))
def test_what_is_missing_is_what_is_waited_for(missing: list[str]) -> None:
    answer = on_approval(Decision(False, missing=tuple(missing)), "")
    assert answer.what == "wait"
    assert all(one in answer.reason for one in missing)


ONE_STAGE = {"watch": "5m", "retain": "5m", "stages": [{"weight": 0.5, "bake": "20m"}]}


def ended(traffic: Traffic) -> World:
    world = World(settings_of(**ONE_STAGE), traffic)
    world.run(DAY)
    return world


def test_a_rollout_that_promoted_goes_on_with_its_model() -> None:
    world = ended(GOOD)
    answer = on_rollout(world.state)
    candidate = world.state.spec.candidate
    assert answer.what == "go"
    assert answer.facts == {
        "outcome": "promoted",
        "model": candidate.model,
        "digest": candidate.digest,
    }


def test_one_that_was_rolled_back_or_aborted_stops_and_says_why() -> None:
    answer = on_rollout(ended(BAD).state)
    assert (answer.what, answer.facts["outcome"]) == ("stop", "rolled back")
    assert len(answer.reason) > len("rolled back")
    world = World(settings_of(**ONE_STAGE), GOOD)
    world.until("baking", step=MINUTE)
    world.asked(do.abort, reason="the wrong one")
    world.run(MINUTE)
    assert on_rollout(world.state).what == "stop"


def test_one_that_is_held_is_waited_for_with_its_reason() -> None:
    world = World(settings_of(**ONE_STAGE), THIN)
    world.until("held", step=MINUTE)
    answer = on_rollout(world.state)
    assert world.state.held is not None
    assert answer.what == "wait"
    assert world.state.held.reason in answer.reason


@pytest.mark.parametrize(
    ("champion", "digest", "what", "facts"),
    [
        ("", "new", "go", {}),  # the first release
        ("old", "new", "go", {}),
        ("new", "new", "go", {"rollout": ""}),  # promoted by hand meanwhile
    ],
)
def test_on_a_free_endpoint_a_rollout_starts_unless_it_is_over(
    champion: str, digest: str, what: str, facts: dict[str, str]
) -> None:
    answer = on_turn([], champion, digest)
    assert (answer.what, answer.facts) == (what, facts)


def test_a_task_that_is_tried_again_finds_the_rollout_that_it_has_started() -> None:
    world = World(settings_of(**ONE_STAGE), GOOD)
    world.until("baking", step=MINUTE)
    candidate = world.state.spec.candidate
    answer = on_turn([world.state], "old", candidate.digest)
    assert (answer.what, answer.facts) == ("go", {"rollout": world.state.id})
    other = on_turn([world.state], "old", "another")
    assert other.what == "wait"
    assert candidate.model in other.reason


def test_a_promoted_candidate_that_is_still_watched_is_not_started_again() -> None:
    world = World(settings_of(**(ONE_STAGE | {"watch": "10h"})), GOOD)
    world.until("watching", step=MINUTE)
    digest = world.state.spec.candidate.digest
    assert on_turn([world.state], digest, digest).facts == {"rollout": world.state.id}
