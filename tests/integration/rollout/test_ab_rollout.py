"""A/B tests on a real gateway of two processes: users, and what they did, told over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from gateways import Load, ask
from shops import GOOD, Shop

from penstock.state import outcomes

pytestmark = pytest.mark.slow

PEOPLE = [f"person-{number}" for number in range(200)]
PRIMARY = "user_engagement"
PATIENT = {"provider_patience": "30d"}  # the controller's clock is days ahead of the gateway's


@contextmanager
def begun(shop: Shop, people: list[str], **ab: Any) -> Iterator[tuple[str, Load]]:
    """A test of seven days with five looks that bakes; these people come."""
    plan = {"strategy": "ab", "ab": {"min_units": 100, "guard": ""} | ab, **PATIENT}
    with shop.load(people, connections=8) as seen:
        rollout = shop.start(GOOD, **plan)
        shop.until(rollout, "baking")
        seen.wait_for(2 * len(people))
        yield rollout, seen


def arms(shop: Shop, rollout: str, people: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {"b": [], "champion": []}
    for person in people:
        found["b" if shop.is_of_candidate(rollout, person) else "champion"].append(person)
    return found


def tell(shop: Shop, told: list[dict[str, Any]]) -> None:
    """On many connections, so that both processes hear of something."""
    for first in range(0, len(told), 50):
        assert ask(f"{shop.url}/feedback", told[first : first + 50]).status == 202


def engagement(rollout: str, people: list[str], value: float) -> list[dict[str, Any]]:
    """Of one visit each; spread about the value: one up, one down."""
    return [
        {"unit": person, "metric": PRIMARY, "value": value + (-1) ** n, "id": rollout}
        for n, person in enumerate(people)
    ]


def told_sum(shop: Shop, rollout: str) -> float:
    """As it reached the state database."""
    metrics = [PRIMARY, "last"]
    sums = outcomes.moments(shop.engine, "production", rollout, metrics).values()
    return sum(found.y for found in sums)


def exposed(shop: Shop, rollout: str) -> int:
    """Units that came, as the controller sees them."""
    found = shop.observed(rollout).ab
    return found.control_units + found.treatment_units if found else 0


def judged(shop: Shop, rollout: str, metric: str) -> str:
    """As it was written down last."""
    verdicts = {one.metric: one.judgement for one in shop.state(rollout).verdicts}
    return verdicts.get(metric, "")


def test_a_treatment_with_a_lift_wins_by_what_was_told_of_its_users(shop: Shop) -> None:
    with begun(shop, PEOPLE) as (rollout, seen):
        of = arms(shop, rollout, PEOPLE)
        tell(shop, engagement(rollout, of["b"], 12.0) + engagement(rollout, of["champion"], 10.0))
        tell(shop, engagement(rollout, of["b"], 1.0))  # told twice: the first counts
        yesterday = (datetime.now(UTC) - timedelta(days=1)).isoformat()
        early = {"unit": of["b"][0], "metric": PRIMARY, "value": 1e6, "at": yesterday}
        tell(shop, [early])  # from before the test
        after = [one for one in seen.seen[-len(PEOPLE) :] if one.prediction_id]
        tell(shop, [{"prediction_id": one.prediction_id, "label": 1} for one in after])
        tell(shop, [{"unit": person, "metric": "last", "value": 1} for person in PEOPLE])
        odd = sum(len(people) % 2 for people in of.values())
        wanted = 12.0 * len(of["b"]) + 10.0 * len(of["champion"]) + odd + len(PEOPLE)
        shop.until_seen(lambda: told_sum(shop, rollout) == wanted)
        shop.until_seen(lambda: judged(shop, rollout, PRIMARY) == "insufficient")
        before = shop.state(rollout)
        shop.restart_controller()
        shop.ahead = timedelta(days=1.5)  # the first of the five looks
        shop.until(rollout, "promoting")
        shop.ahead = timedelta(0)
        state = shop.until(rollout)

    assert seen.failures == []
    assert (before.status, before.looks) == ("baking", ())
    assert (state.status, state.outcome, shop.champion()) == ("done", "promoted", "shop@2")
    (look,) = state.looks
    assert (look.control_units, look.treatment_units) == (len(of["champion"]), len(of["b"]))
    (told,) = (one for one in shop.told_of(rollout)["timeline"] if one.get("look"))
    assert "user_engagement: better: " in told["reason"]


def test_arms_of_other_sizes_than_set_are_held_whatever_the_metric_says(shop: Shop) -> None:
    with begun(shop, PEOPLE[:8]) as (rollout, _):
        of = arms(shop, rollout, PEOPLE)
    lost = of["champion"][30:]  # these never arrive
    with shop.load([person for person in PEOPLE if person not in lost]) as seen:
        tell(shop, engagement(rollout, of["b"], 12.0) + engagement(rollout, of["champion"], 10.0))
        state = shop.until(rollout, "held")

    assert seen.failures == []
    assert "invalid: " in state.reason
    assert "the arms do not compare the same people" in state.reason
    assert (state.looks, state.passed) == ((), -1)


def test_too_few_users_go_on_and_the_end_is_no_success(shop: Shop) -> None:
    with begun(shop, PEOPLE[:40]) as (rollout, seen):
        of = arms(shop, rollout, PEOPLE[:40])
        tell(shop, engagement(rollout, of["b"], 12.0) + engagement(rollout, of["champion"], 10.0))
        shop.until_seen(lambda: judged(shop, rollout, PRIMARY) == "insufficient")
        shop.until_seen(lambda: exposed(shop, rollout) == 40)
        shop.ahead = timedelta(days=10)  # its time is over, and it waits for the units
        shop.restart_controller()
        shop.controller.tick()
        during = shop.state(rollout)
        shop.ahead = timedelta(days=14.1)
        state = shop.until(rollout, "held")

    assert seen.failures == []
    assert during.status in ("baking", "deciding")
    (look,) = during.looks  # of five: two fifths of the units have come
    assert look.units == 40
    assert "better, but 40 units are less than 100" in during.reason
    assert "inconclusive at the stage's end" in state.reason
    assert (state.passed, shop.table().champion) == (-1, "shop-1-own")


def test_without_feedback_nobody_wins(shop: Shop) -> None:
    with begun(shop, PEOPLE[:40], min_units=20) as (rollout, _):
        shop.until_seen(lambda: exposed(shop, rollout) == 40)
        shop.ahead = timedelta(days=1.5)  # the first look
        state = shop.until(rollout, "held")

    assert "there is no evidence: user_engagement: nothing was observed" in state.reason
    assert (state.looks, state.passed) == ((), -1)
