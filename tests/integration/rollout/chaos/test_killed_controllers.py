"""The controller's process is killed amid its writes, again and again: the next one goes on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import crashes
import pytest
from crashes import Nursery
from flights import BLUE_GREEN, HEALTHY, Flight, begun
from rollout_worlds import BAD, Traffic
from shops import GOOD, PRODUCTION, Shop

from penstock.audit.ledger import Ledger
from penstock.rollout import events as e
from penstock.rollout.judge.verdicts import Judgement
from penstock.state import rollouts, routes

pytestmark = pytest.mark.slow


def copy_of(shop: Shop) -> Shop:
    """As it is now."""
    return Shop(shutil.copytree(shop.root, shop.root.with_name(f"{shop.root.name}-copy")))


def written_in(one: Flight) -> str:
    """The routing table, wherever the shop is."""
    return one.shop.table().model_dump_json().replace("-copy/", "/")


def evident(one: Flight) -> bool:
    """Whether every stage with traffic passed by a PASS of every guardrail, in the ledger."""
    events = one.shop.remembered(one.rollout).events
    first = 0 if one.state.spec.settings.strategy == "canary" else 1
    verdicts: list[Judgement] = []
    for event in events:
        if isinstance(event, e.Judged):
            verdicts = [verdict.judgement for verdict in event.verdicts]
        if (
            isinstance(event, e.StagePassed)
            and event.stage >= first
            and set(verdicts) != {Judgement.PASS}
        ):
            return False
    return True


@pytest.mark.parametrize(
    ("traffic", "plan", "writes", "least"),
    [(HEALTHY, {}, 2, 25), (BAD, {}, 1, 20), (HEALTHY, BLUE_GREEN, 4, 12)],
    ids=["canary", "rolled back", "blue-green"],
)
def test_it_ends_as_if_nothing_had_happened(
    nursery: Nursery,
    new_shop: Callable[..., Shop],
    traffic: Traffic,
    plan: dict[str, Any],
    writes: int,
    least: int,
) -> None:
    struck = begun(new_shop(), GOOD, **plan)
    spared = Flight(copy_of(struck.shop), struck.rollout)
    nursery.run(crashes.undisturbed, spared.shop.root, spared.rollout, traffic)
    deaths = nursery.run(crashes.dying, struck.shop.root, struck.rollout, traffic, writes)
    assert deaths >= least

    assert struck.told() == spared.told()  # each transition once, in the same order
    assert struck.state.outcome == ("rolled back" if traffic is BAD else "promoted")
    assert evident(struck)
    # Each table was published once, and the last one is right.
    assert written_in(struck) == written_in(spared)
    revision, until = routes.lease_of(struck.shop.engine, PRODUCTION)
    assert (revision, until) == (routes.revision_of(spared.shop.engine, PRODUCTION), None)
    # What follows from the entries was done, and what must be done once was done once.
    shop, model = struck.shop, struck.state.spec.candidate
    champions = [entry.subject for entry in Ledger(shop.engine).entries("model.promoted")]
    assert champions == ([] if traffic is BAD else [model.model])
    assert shop.champion() == ("" if traffic is BAD else model.model)
    assert (rollouts.in_quarantine(shop.engine, model.digest) is not None) == (traffic is BAD)
    written = [one["what"] for one in shop.told_of(struck.rollout)["timeline"]]
    assert written == [e.action_of(event) for event in shop.remembered(struck.rollout).events]
    assert shop.notices().count("is rolled back") >= (traffic is BAD)


def test_an_operation_that_was_written_down_is_carried_out(
    nursery: Nursery, new_shop: Callable[..., Shop]
) -> None:
    one = begun(new_shop(), GOOD)
    one.until("baking")
    nursery.run(crashes.acting, one.shop.root, one.rollout, "rollback", 1)
    assert one.state.status == "baking"  # nothing was
    nursery.run(crashes.acting, one.shop.root, one.rollout, "rollback", 2)
    assert one.state.status == "rolling back"
    assert one.shop.table().arms  # and the routing is as it was
    one.look()
    assert not one.shop.table().arms
    assert one.until().status == "rolled back"
    assert rollouts.in_quarantine(one.shop.engine, one.state.spec.candidate.digest)
