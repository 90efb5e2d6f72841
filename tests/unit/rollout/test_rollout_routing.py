"""The routing table that a state asks for, where others wrote one too."""

from __future__ import annotations

from typing import Any

import pytest
from rollout_worlds import BASELINE, MINUTE, RELEASES, World, release, settings_of

from penstock.rollout import operations
from penstock.rollout.routing import candidate_buckets, desired_table, leased
from penstock.rollout.spec import Version
from penstock.serving.routing.buckets import share
from penstock.serving.routing.routes import Router
from penstock.serving.routing.table import Arm, Mirror, RoutingTable

OTHER = release(Version(release="r9", model="churn@9", digest="d9"))
THREE = RELEASES | {"r9": OTHER}


def held_by_another_table() -> World:
    world = World(settings_of(strategy="canary"))
    world.until("baking", step=MINUTE)
    world.also = {"foreign_table": "bob deployed churn@9"}
    world.settle()
    return world


def foreign(**given: Any) -> RoutingTable:
    return RoutingTable(**({"endpoint": "production", "champion": "r9", "releases": THREE} | given))


def test_what_somebody_else_wrote_stays_as_long_as_it_is_held() -> None:
    world = held_by_another_table()
    assert desired_table(world.state, RELEASES, foreign()) is None


@pytest.mark.parametrize(
    ("present", "champion", "arms"),
    [
        pytest.param(
            foreign(arms=(Arm(name="canary", release="r2", buckets=((0, 500),)),)),
            "r9",
            (),
            id="an arm",
        ),
        pytest.param(
            foreign(
                arms=(
                    Arm(name="a", release="r2", buckets=((0, 500),)),
                    Arm(name="b", release="r1", buckets=((500, 900),)),
                )
            ),
            "r9",
            ("b",),
            id="one of two arms",
        ),
        pytest.param(foreign(champion="r2"), "r1", (), id="the champion"),
        pytest.param(foreign(mirror=Mirror(release="r2")), "r9", (), id="the mirror"),
    ],
)
def test_a_rollback_takes_the_candidate_out_of_it_and_nothing_else(
    present: RoutingTable, champion: str, arms: tuple[str, ...]
) -> None:
    world = held_by_another_table()
    world.append(operations.rollback(world.state, actor="ann", at=world.now))
    table = desired_table(world.state, RELEASES, present)
    assert table is not None
    assert (table.champion, tuple(arm.name for arm in table.arms)) == (champion, arms)
    assert "r2" not in table.releases
    assert "r9" in table.releases
    assert table.mirror is None


def test_a_table_without_the_candidate_is_left_as_it_is() -> None:
    world = held_by_another_table()
    world.append(operations.abort(world.state, actor="ann", at=world.now))
    present = foreign(releases={"r9": OTHER})
    assert desired_table(world.state, RELEASES, present) is None


def test_the_same_state_asks_for_the_same_table() -> None:
    """So that nothing is published while only the lease is renewed."""
    world = World(settings_of())
    world.until("baking", step=MINUTE)
    first = desired_table(world.state, RELEASES)
    world.run(30 * MINUTE)
    assert desired_table(world.state, dict(reversed(RELEASES.items()))) == first
    assert leased(world.state)


def test_at_a_hundred_percent_an_ended_lease_gives_all_units_to_the_baseline() -> None:
    world = World(settings_of(stages=[{"weight": 1.0, "bake": "1h"}]))
    world.until("baking", step=MINUTE)
    table = desired_table(world.state, RELEASES)
    assert table is not None
    router, units = Router(table, world.now), [f"u{n}" for n in range(300)]
    before, after = world.now.timestamp() - 1, world.now.timestamp() + 1
    assert {router.route(unit, before).release for unit in units} == {"r2"}
    assert {router.route(unit, after).release for unit in units} == {BASELINE.release}


@pytest.mark.parametrize(
    ("weights", "owned"),
    [((0.1, 0.25, 0.5, 1.0), (1_000, 2_500, 5_000, 10_000)), ((0.0001, 0.3333), (1, 3_333))],
)
def test_weights_are_buckets_of_ten_thousand(
    weights: tuple[float, ...], owned: tuple[int, ...]
) -> None:
    settings = settings_of(stages=[{"weight": weight, "bake": "1h"} for weight in weights])
    found = [share(candidate_buckets(settings, stage)) for stage in range(len(weights))]
    assert tuple(found) == owned
    assert candidate_buckets(settings, -1) == ()
