"""Canaries on a real gateway, under the load of users."""

from __future__ import annotations

import pytest
from gateways import load
from shops import ENTITIES, GOOD, USERS, Shop

pytestmark = pytest.mark.slow


def test_a_good_version_goes_through_all_stages_and_is_the_champion(shop: Shop) -> None:
    with load(shop.url, USERS, ENTITIES) as seen:
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
