"""Blue-green on a real gateway: whatever green does, no request fails that blue can answer."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from shops import BROKEN, GOOD, OTHER, Shop

from penstock.rollout import events as e
from penstock.rollout.memory import written_at

pytestmark = pytest.mark.slow

BLUE = "shop-1-own"
SMOKE = 5


def plan(**times: str) -> dict[str, Any]:
    quick = {"before": "200ms", "watch": "300ms", "max": "2h"}
    return {"strategy": "blue_green", "blue_green": {"smoke_requests": SMOKE} | quick | times}


def test_green_is_tried_takes_over_at_once_and_blue_is_retired(shop: Shop) -> None:
    with shop.load() as seen:
        rollout = shop.start(GOOD, **plan(retain="1h"))
        shop.until(rollout, "retaining old")
        kept = shop.table()
        shop.ahead = timedelta(hours=1)
        state = shop.until(rollout)
        seen.wait_for(50)

    green = state.spec.candidate.release
    assert seen.failures == []
    assert (state.status, state.outcome) == ("done", "promoted")
    assert (kept.champion, set(kept.releases)) == (green, {green, BLUE})
    assert set(shop.table().releases) == {green}
    assert {one.release for one in seen.seen[-40:]} == {green}
    switched = next(
        event.at
        for event in shop.remembered(rollout).events
        if isinstance(event, e.StageStarted) and event.stage == 1
    )
    before = shop.logged(release=green, until=switched)
    assert [(row["arm"], row["status"]) for row in before] == [("pinned", 200)] * SMOKE


def test_green_that_fails_its_smoke_tests_gets_no_traffic(shop: Shop) -> None:
    with shop.load() as seen:
        rollout = shop.start(BROKEN, **plan())
        state = shop.until(rollout)
        seen.wait_for(50)

    assert {(one.status, one.release) for one in seen.seen} == {(200, BLUE)}
    assert (state.status, state.stage, state.quarantine) == ("rolled back", 0, True)
    assert "1 of 1 smoke tests failed: 503" in state.reason


def test_after_the_switch_a_rollback_goes_to_blue_which_runs_on(shop: Shop) -> None:
    with shop.load() as seen:
        rollout = shop.start(GOOD, **plan(retain="1h"))
        state = shop.until(rollout, "retaining old")
        promoted = shop.champion()
        blue = shop.pids(BLUE)
        shop.act(rollout, "rollback", reason="complaints")  # no controller looks meanwhile
        seen.wait_for(200)
        decided = written_at(shop.remembered(rollout), e.RollingBack)
        served = shop.logged(since=decided)
        seen.wait_for(50)
        state = shop.until(rollout)

    assert seen.failures == []
    assert (promoted, shop.champion()) == ("shop@2", "shop@1")
    assert (state.status, state.quarantine) == ("rolled back", True)
    assert served[-1]["release"] == BLUE
    assert shop.pids(BLUE) == blue  # nothing was started again


def test_green_that_fails_after_the_switch_is_taken_back(shop: Shop, tmp_path: Path) -> None:
    switch = tmp_path / "fails"
    shop.staged(OTHER, "Turning", switch=str(switch))
    with shop.load() as seen:
        rollout = shop.start(OTHER, **plan(watch="1h"))
        shop.until(rollout, "baking", stage=1)
        seen.wait_for(100)
        assert seen.failures == []
        switch.touch()
        state = shop.until(rollout)
        seen.wait_for(100)

    assert (state.status, state.quarantine) == ("rolled back", True)
    assert state.reason.startswith("error_rate: ")
    assert {one.release for one in seen.failures} <= {"", state.spec.candidate.release}
    assert {(one.status, one.release) for one in seen.since(state.updated)} == {(200, BLUE)}
