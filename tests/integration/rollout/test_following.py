"""A version that a trigger made goes on as far as policy and approvals let it, and does so once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime

from shops import GOOD, PRODUCTION, Shop

from penstock.audit.ledger import Draft, Ledger, present_actor
from penstock.monitoring.follow_through import Done, Start, Wait
from penstock.monitoring.trigger_book import ENDED, FOLLOWED, Order, entry_about, read_book
from penstock.monitoring.triggers import Cause, Kind, Outcome
from penstock.orchestrators.following import Followed, follow
from penstock.orchestrators.triggering import decided
from penstock.project import Project


def project_of(shop: Shop) -> Project:
    """The shop's, where shadow and canary follow."""
    settings = shop.project.settings
    triggers = settings.triggers.model_copy(update={"follow": ("shadow", "canary")})
    return dataclasses.replace(
        shop.project, settings=settings.model_copy(update={"triggers": triggers})
    )


def registered(shop: Shop, version: int) -> Order:
    """As a run that a trigger started leaves it."""
    cause = Cause(Kind.MANUAL, "m", "prices changed", datetime.now(UTC), asked=True)
    _, order = decided(shop.project, shop.engine, [cause])
    assert order
    ended = entry_about(order, ENDED, "shop", "passed", model=shop.label(version))
    fields = {name: getattr(ended, name) for name in Draft.__struct_fields__}
    fields |= {"outcome": str(Outcome.REGISTERED), "digest": shop.found(version).digest}
    Ledger(shop.engine).write(Draft(**fields | {"by": present_actor()}))
    return read_book(shop.engine).orders[0]


def test_shadow_follows_approval_once_and_what_is_aborted_ends_it(
    new_shop: Callable[..., Shop],
) -> None:
    shop = new_shop(required=1)
    shop.publish_baseline()
    project = project_of(shop)

    def followed() -> Followed:
        (one,) = follow(project, shop.engine)
        return one

    assert follow(project, shop.engine) == []  # no trigger made anything
    order = registered(shop, GOOD)
    assert follow(shop.project, shop.engine) == []  # no policy
    waiting = followed().action
    assert isinstance(waiting, Wait)
    assert "approval" in waiting.reason
    shop.approve(GOOD)
    begun = followed()
    assert isinstance(begun.action, Start)
    assert begun.action.strategy == "shadow"
    assert shop.state(begun.rollout).endpoint == PRODUCTION
    assert followed().action == Wait(f"{begun.rollout} (shadow) goes on")
    (entry,) = Ledger(shop.engine).entries(FOLLOWED)
    assert entry.details["trigger"] == order.number
    assert entry.details["rollout"] == begun.rollout
    shop.act(begun.rollout, "abort")
    shop.until(begun.rollout)
    assert isinstance(followed().action, Done)
    assert len(Ledger(shop.engine).entries(FOLLOWED)) == 1
