"""Canaries on a real gateway, under the load of users."""

from __future__ import annotations

import pytest
from gateways import Load
from shops import BROKEN, GOOD, HANGING, OTHER, SLOW, USERS, Shop

from penstock.errors import RolloutError
from penstock.rollout.states import Rollout

pytestmark = pytest.mark.slow

LATENCY = [{"metric": "error_rate"}, {"metric": "latency_p95", "limit_ms": 250}]


def test_a_good_version_goes_through_all_stages_and_is_the_champion(shop: Shop) -> None:
    with shop.load() as seen:
        rollout = shop.start(GOOD)
        state = shop.until(rollout)

    assert seen.failures == []
    assert (state.status, state.outcome) == ("done", "promoted")
    assert shop.champion() == "shop@2"
    table = shop.table()
    assert table.releases[table.champion].model == "shop@2"
    assert len(table.releases) == 1
    told = shop.happened(rollout)
    order = ["Validated", "Preparing", "StageStarted", "Ramped", "StagePassed", "StageStarted"]
    order += ["Ramped", "StagePassed", "Promoting", "Promoted", "Watched", "Retiring", "Done"]
    assert [name for name in told[1:] if name not in ("Judged", "BakeEnded")] == order


def rolled_back(shop: Shop, version: int, connections: int, **plan: object) -> tuple[Rollout, Load]:
    """A version that fails its users in a canary; load goes on for a while after it is gone."""
    champion = shop.champion()
    with shop.load(connections=connections) as seen:
        rollout = shop.start(version, **plan)
        state = shop.until(rollout)
        seen.wait_for(100)

    assert (state.status, state.outcome) == ("rolled back", "rolled back")
    assert shop.champion() == champion
    table = shop.table()
    assert (table.champion, list(table.releases), table.arms) == ("shop-1-own", ["shop-1-own"], ())
    after = seen.since(state.updated)
    assert {(one.status, one.release) for one in after} == {(200, "shop-1-own")}
    assert {user for user in failed(seen) if not shop.is_of_candidate(rollout, user)} == set()
    return state, seen


def failed(seen: Load) -> set[str]:
    return {one.unit for one in seen.failures}


def test_a_broken_version_is_rolled_back_and_does_not_come_again(shop: Shop) -> None:
    state, seen = rolled_back(shop, BROKEN, 4)

    assert 0 < len(failed(seen)) < 0.5 * len(USERS)  # less than met it in later stages
    assert state.reason.startswith("error_rate: ")
    assert "[production] shop@3 is rolled back" in shop.notices()
    assert state.reason in shop.notices()
    with pytest.raises(RolloutError, match="candidate: shop@3 is in quarantine: a rollout of"):
        shop.start(BROKEN)

    told = shop.told_of(state.id)
    what = [one["what"] for one in told["timeline"]]
    assert what[0] == "rollout.created"
    assert what[-2:] == ["rollout.rolling_back", "rollout.returned"]
    (evidence,) = told["evidence"]
    assert (evidence["metric"], evidence["judgement"]) == ("error_rate", "fail")
    assert evidence["numbers"]["e"] >= evidence["numbers"]["bound"] == 20
    assert evidence["numbers"]["baseline_bad"] == 0
    last = told["last_predictions"]
    assert {(one["arm"], one["status"], one["error"]) for one in last} == {
        ("canary", 503, "features")
    }
    assert {one["prediction_id"] for one in last} <= {row["prediction_id"] for row in shop.logged()}
    markdown = shop.project.folder / "rollouts" / state.id / "post-mortem.md"
    assert "error_rate: **fail**" in markdown.read_text()


def test_a_slow_version_is_rolled_back_by_its_latency(shop: Shop) -> None:
    state, seen = rolled_back(shop, SLOW, 12, guardrails=LATENCY)

    assert seen.failures == []
    assert state.reason.startswith("latency_p95: ")
    (verdict,) = (one for one in state.verdicts if one.judgement == "fail")
    assert verdict.numbers["candidate_rate"] > 0.5 > verdict.numbers["baseline_rate"]


def test_a_version_that_hangs_is_rolled_back_by_its_time_outs(shop: Shop) -> None:
    state, seen = rolled_back(shop, HANGING, 24)

    assert state.reason.startswith("error_rate: ")
    assert {one.status for one in seen.failures} == {504}


def test_a_version_that_does_not_come_up_gets_no_traffic(shop: Shop) -> None:
    shop.staged(OTHER, "Stuck")
    with shop.load() as seen:
        rollout = shop.start(OTHER, prepare_timeout="500ms")
        held = shop.until(rollout, "held")
        shop.act(rollout, "abort", reason="it does not come up")
        state = shop.until(rollout)

    assert "the candidate is not loaded everywhere" in held.reason
    assert (state.status, state.quarantine) == ("aborted", False)
    assert {(one.status, one.release) for one in seen.seen} == {(200, "shop-1-own")}
