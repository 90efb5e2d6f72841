"""Somebody takes production back, and dies in the middle of it."""

from __future__ import annotations

from collections.abc import Callable

import crashes
import pytest
from crashes import Nursery
from shops import BASELINE, GOOD, PRODUCTION, Shop

from penstock.audit.ledger import Ledger
from penstock.registry.champions import ROLLED_BACK, standing
from penstock.releases.rollback import RESTORED, unfinished
from penstock.serving import endpoint as endpoints
from penstock.serving.routing.table import serving_only

pytestmark = pytest.mark.slow


def test_whoever_dies_in_the_middle_the_next_goes_on_from_the_entry(
    new_shop: Callable[..., Shop], nursery: Nursery
) -> None:
    shop = new_shop()
    shop.crown(BASELINE, GOOD)
    endpoints.publish(endpoints.place_of(shop.project, PRODUCTION), serving_only(shop.spec(GOOD)))

    assert nursery.run(crashes.rolling_back, shop.root) > 3

    (entry,) = Ledger(shop.engine).entries(ROLLED_BACK)
    (end,) = Ledger(shop.engine).entries(RESTORED)
    assert (entry.subject, entry.details["archived"]) == ("shop@1", "shop@2")
    assert end.details["of"] == entry.sequence
    assert unfinished(shop.engine) is None
    assert standing(shop.engine).label == "shop@1"
    assert shop.table().releases[shop.table().champion].digest == shop.found(BASELINE).digest
    assert shop.aliases() | {"champion": BASELINE, "archived": GOOD} == shop.aliases()
