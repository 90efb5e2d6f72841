"""Where evidence comes from is down, empty, nonsense or stale: nothing goes forward by it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flights import SECOND, STEP, Flight
from rollout_worlds import NOTHING
from shops import PRODUCTION
from sqlalchemy import text

from penstock.state import observations, routes
from penstock.state.observations import Summed

pytestmark = pytest.mark.slow

STAGES = [{"weight": weight, "bake": "2m", "max": "1h"} for weight in (0.25, 1.0)]
PATIENT: dict[str, Any] = {"provider_patience": "1m", "stages": STAGES}
Break = Callable[[Flight], Callable[[], None]]  # gives how it is mended


def no_table(one: Flight) -> Callable[[], None]:
    """Every query fails, as where the table cannot be read."""

    def rename(before: str, after: str) -> None:
        with one.shop.engine.begin() as connection:
            connection.execute(text(f"ALTER TABLE {before} RENAME TO {after}"))

    rename("observation_sums", "hidden")
    one.gateways.silent = True

    def mend() -> None:
        rename("hidden", "observation_sums")
        one.gateways.silent = False

    return mend


def stale(one: Flight) -> Callable[[], None]:
    """Gateways live and serve, and write no more observations."""
    one.gateways.silent = True

    def mend() -> None:
        one.gateways.silent = False

    return mend


def nonsense(counts: dict[str, Any]) -> Break:
    """A gateway of another make writes this beside the others."""

    def broken(one: Flight) -> Callable[[], None]:
        now = int(one.clock().timestamp())
        table = one.shop.table()
        (arm,) = table.arms
        row = Summed(PRODUCTION, table.epoch, arm.release, arm.name, "g9", now, now, counts)
        observations.write(one.shop.engine, [], [row])

        def mend() -> None:
            observations.write(one.shop.engine, [], [row._replace(counts={})])

        return mend

    return broken


NONSENSE: dict[str, dict[str, Any]] = {
    "NaN": {"requests": float("nan")},
    "no number": {"requests": "many"},
    "no object": {"errors": [1, 2]},
    "negative": {"requests": -190_000, "errors": {"model": -5}},
    "more errors than requests": {"errors": {"model": 900_000}},
    "more slow answers than requests": {"slow": 900_000, "own_slow": 900_000},
}


@pytest.mark.parametrize("broken", [no_table, stale], ids=["down", "stale"])
def test_it_is_held_after_some_patience_and_goes_on_when_it_is_mended(
    begin: Callable[..., Flight], broken: Break
) -> None:
    one = begin(**PATIENT)
    one.until("baking")
    for looks in (3, 20):
        mend = broken(one)
        for _ in range(looks):
            assert one.look().stage == 0
        mend()
        one.look()
        # For a short while, it is borne.
        assert one.state.status == ("baking" if looks == 3 else "held")
    assert "there is no evidence" in one.state.reason
    one.shop.act(one.rollout, "resume", reason="mended")
    assert one.until("promoting", step=2 * STEP).passed == 1


@pytest.mark.parametrize("broken", [no_table, stale], ids=["down", "stale"])
def test_it_is_rolled_back_where_the_plan_says_so_and_no_version_is_to_blame(
    begin: Callable[..., Flight], broken: Break
) -> None:
    one = begin(**PATIENT, on_provider_down="rollback")
    one.until("baking")
    mend = broken(one)
    state = one.until(looks=20)
    mend()
    assert state.outcome == "rolled back"
    assert not state.quarantine
    assert not one.shop.table().arms


def test_nonsense_is_no_evidence(begin: Callable[..., Flight]) -> None:
    one = begin(**PATIENT)
    one.until("baking")
    for name, counts in NONSENSE.items():
        mend = nonsense(counts)(one)
        one.look(SECOND)
        assert judged(one) == {"error"}, name
        mend()
        one.look(SECOND)
        assert judged(one) == {"pass"}, name
    nonsense(counts)(one)
    state = one.until("held", looks=20)
    assert "the evidence cannot be read" in state.reason
    assert state.stage == 0
    # Nor does it keep anybody from going back.
    one.shop.act(one.rollout, "abort", reason="a doubt")
    assert one.until(looks=5).outcome == "aborted"


def judged(one: Flight) -> set[str]:
    return {verdict.judgement.value for verdict in one.state.verdicts}


def test_where_nobody_asks_anything_nothing_passes(begin: Callable[..., Flight]) -> None:
    one = begin(NOTHING, stages=[{"weight": 1.0, "bake": "1m", "max": "3m"}])
    state = one.until("held", looks=30)
    assert "inconclusive" in state.reason
    assert "no requests of the candidate" in state.reason
    assert not {"StagePassed", "Promoting"} & {*one.shop.happened(one.rollout)}


def test_without_a_controller_gateways_go_back_by_themselves_and_bring_no_evidence(
    begin: Callable[..., Flight],
) -> None:
    one = begin()
    one.until("baking")
    one.gateways.report()
    lease = routes.lease_of(one.shop.engine, PRODUCTION)
    assert lease.until is not None
    one.clock.moment = lease.until + timedelta(seconds=1)
    seen = observations.totals(one.shop.engine, PRODUCTION, one.rollout)
    one.gateways.report()  # see `Gateways.report`: it asks the router of the real one
    assert observations.totals(one.shop.engine, PRODUCTION, one.rollout) == seen
    # The next controller renews it, and all goes on.
    one.controller = one.another()
    assert one.until("promoting").passed == 1
