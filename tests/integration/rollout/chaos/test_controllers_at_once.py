"""Two controllers that both believe to lead; one that slept, and wakes in another world; people."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import crashes
import pytest
from crashes import Nursery
from flights import HEALTHY, Flight, begun
from rollout_worlds import BAD
from shops import GOOD, Shop
from sqlalchemy import select

from penstock.audit.ledger import Ledger
from penstock.state import routes
from penstock.state.tables import quarantine, rollouts

pytestmark = pytest.mark.slow

ORDER = [
    *("Created", "Validated", "Preparing"),
    *("StageStarted", "Ramped", "StagePassed", "StageStarted", "Ramped", "StagePassed"),
    *("Promoting", "Promoted", "Watched", "Retiring", "Done"),
]


def facts(one: Flight) -> dict[str, Any]:
    """All that a controller writes, but for which one lives."""
    shop = one.shop
    with shop.engine.connect() as connection:
        rows = [connection.execute(select(table)).all() for table in (rollouts, quarantine)]
    files = shop.project.folder / "rollouts" / one.rollout
    return {
        "routes": routes.published(shop.engine, "production"),
        "ledger": [(entry.action, entry.subject) for entry in Ledger(shop.engine).entries()],
        "champion": shop.champion(),
        "tables": rows,
        "files": {file.name: file.read_text() for file in sorted(files.glob("[!.]*"))},
    }


def test_of_two_that_look_at_once_each_transition_is_one_s(
    nursery: Nursery, new_shop: Callable[..., Shop], state: str
) -> None:
    one = begun(new_shop(state), GOOD)
    first = routes.revision_of(one.shop.engine, "production")
    nursery.run(crashes.together, one.shop.root, one.rollout, HEALTHY)
    told = [name for name in one.shop.happened(one.rollout) if name not in ("Judged", "BakeEnded")]
    assert told == ORDER
    # Loaded, two stages, promoted, retired: nobody published twice, or what was over.
    assert routes.revision_of(one.shop.engine, "production") - first == 5
    assert one.shop.table().champion == one.state.spec.candidate.release
    champions = [entry.subject for entry in Ledger(one.shop.engine).entries("model.promoted")]
    assert champions == ["shop@2"]


def bake(one: Flight) -> None:
    """Until the next look of another controller is the one after the bake time."""
    one.until("baking")
    one.look()
    one.look()


def sleeper(nursery: Nursery, one: Flight, *points: Any) -> int:
    """A controller that stops in the middle of its next look; others may lead from then on."""
    pid = nursery.run(crashes.asleep, one.shop.root, one.rollout, one.traffic, *points)
    one.clock.moment = one.earliest()
    return pid


def test_who_slept_through_transitions_writes_none(
    nursery: Nursery, new_shop: Callable[..., Shop]
) -> None:
    one = begun(new_shop(), GOOD)
    bake(one)
    # It has read the evidence, and is about to write down what follows.
    deciding = sleeper(nursery, one, "after_reading", "first_event_counts")
    one.until("ramping")
    bake(one)
    # It has written down what follows, and is about to publish the table for it.
    publishing = sleeper(nursery, one, "after_reading", "FROM routes", 3)
    assert one.state.status == "promoting"
    assert one.shop.table().champion == one.state.spec.baseline.release
    one.until("watching")
    one.shop.act(one.rollout, "abort", reason="a doubt")
    one.until()
    before = facts(one)
    for pid in (deciding, publishing):
        nursery.run(crashes.awake, pid)
        assert facts(one) == before
    assert one.shop.table().champion == one.state.spec.baseline.release


def test_who_slept_while_it_made_a_champion_unmakes_no_other(
    nursery: Nursery, new_shop: Callable[..., Shop]
) -> None:
    one = begun(new_shop(), GOOD)
    one.until("promoting")
    promoting = sleeper(nursery, one, "after_reading", "model.promoted")
    one.until("watching")
    assert one.shop.champion() == "shop@2"
    one.shop.act(one.rollout, "rollback", reason="a doubt")
    one.until()
    before = facts(one)
    assert before["champion"] == "shop@1"
    nursery.run(crashes.awake, promoting)
    assert facts(one) == before


def test_who_slept_over_its_report_leaves_the_whole_story(
    nursery: Nursery, new_shop: Callable[..., Shop]
) -> None:
    one = begun(new_shop(), GOOD, BAD)
    one.until("ramping")
    reporting = sleeper(nursery, one, "at_files", "post-mortem.json")
    assert one.until().status == "rolled back"
    before = facts(one)
    assert "rollout.returned" in before["files"]["post-mortem.json"]
    nursery.run(crashes.awake, reporting)
    after = facts(one)
    for name in ("post-mortem.json", "post-mortem.md"):  # but for when they were written
        assert after["files"].pop(name) == before["files"].pop(name)
    assert after == before


def test_of_an_abort_and_a_promotion_at_once_one_is_the_end(
    nursery: Nursery, new_shop: Callable[..., Shop]
) -> None:
    doings = [("abort", {"reason": "a doubt"}), ("promote", {"full": True, "reason": "sure"})]
    shop = new_shop()
    for order in (doings, doings[::-1]):
        one = begun(shop, GOOD)
        one.until("baking")
        told = nursery.run(crashes.at_once, shop.root, one.rollout, *order)
        # An abort may follow the wish to promote, but no such wish an abort.
        assert told["abort"] == ""
        assert told["promote"] == "" or "cannot be promoted" in told["promote"]
        assert one.until().outcome == "aborted"
        events = shop.happened(one.rollout)
        assert events.count("Returning") == 1
        assert events.count("PromoteRequested") == (told["promote"] == "")
        assert shop.table().champion == one.state.spec.baseline.release
        assert shop.champion() != "shop@2"


def test_an_abort_after_the_promotion_s_end_is_refused_and_changes_nothing(
    nursery: Nursery, new_shop: Callable[..., Shop]
) -> None:
    one = begun(new_shop(), GOOD)
    one.until("baking")
    # Its abort was decided on while the candidate baked, and is written when it is the champion.
    late = nursery.run(crashes.late, one.shop.root, one.rollout, "abort")
    one.until()
    before = facts(one)
    assert before["champion"] == "shop@2"
    said = nursery.run(crashes.heard, late)
    assert said.startswith(f"{one.rollout} is done")
    assert "cannot be aborted" in said
    assert facts(one) == before
