"""Shadows on a real gateway: whatever a shadow does, clients see nothing of it."""

from __future__ import annotations

from typing import Any

import pytest
from gateways import Load
from shops import BROKEN, GOOD, HANGING, Shop

from penstock.rollout.judge.verdicts import Judgement

pytestmark = pytest.mark.slow

MANY = {"entities": {"customer_id": list(range(20, 70))}}
# Wide limits: what is tested is what becomes of the copies.
PLAN: dict[str, Any] = {
    "strategy": "shadow",
    "shadow": {
        "duration": "6s",
        "max_disagreement": 0.2,
        "max_latency_ratio": 20,
        "max_cpu_ratio": 20,
    },
}


def enough(shop: Shop, rollout: str) -> bool:
    """Pairs, and a measurement of what the processes take."""
    found = shop.observed(rollout).shadow
    assert found is not None
    used = (found.baseline_cpu_us, found.candidate_cpu_us)
    return found.pairs >= 1_000 and min(used) > 0


def only_the_baseline_answered(seen: Load) -> bool:
    return {(one.status, one.release) for one in seen.seen} == {(200, "shop-1-own")}


def test_a_sound_shadow_ends_with_a_report_and_nothing_changes(shop: Shop) -> None:
    champion = shop.champion()
    with shop.load(document=MANY) as seen:
        rollout = shop.start(GOOD, **PLAN)
        shop.until(rollout, "baking")
        shop.until_seen(lambda: enough(shop, rollout))
        shop.restart_controller()
        state = shop.until(rollout)

    assert only_the_baseline_answered(seen)
    assert (state.status, state.outcome) == ("done", "reported")
    assert (shop.champion(), set(shop.table().releases)) == (champion, {"shop-1-own"})
    report = {one["metric"]: one for one in shop.told_of(rollout)["evidence"]}
    assert {one["judgement"] for one in report.values()} == {"pass"}
    wanted = {"disagreement", "dropped", "latency_ratio", "cpu_ratio", "memory_ratio"}
    assert set(report) == wanted
    assert report["disagreement"]["numbers"]["requests"] >= 1_000
    assert report["cpu_ratio"]["numbers"]["candidate"] > 0
    ids = {one.prediction_id for one in seen.seen}
    copies = shop.logged(release=state.spec.candidate.release)
    assert {row["prediction_id"] for row in copies} <= ids
    assert {row["arm"] for row in copies} == {"shadow"}


@pytest.mark.parametrize("version", [BROKEN, HANGING])
def test_a_shadow_that_fails_or_hangs_does_not_pass_and_is_seen_by_nobody(
    shop: Shop, version: int
) -> None:
    with shop.load(document=MANY) as seen:
        rollout = shop.start(version, **PLAN)
        state = shop.until(rollout)
        seen.wait_for(50)

    assert only_the_baseline_answered(seen)
    assert (state.status, state.quarantine) == ("rolled back", False)  # nobody was harmed
    found = {one.metric: one for one in state.verdicts}
    assert Judgement.FAIL in {found[name].judgement for name in ("disagreement", "dropped")}
    assert found["latency_ratio"].judgement is not Judgement.PASS
