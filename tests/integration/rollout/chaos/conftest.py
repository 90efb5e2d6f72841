"""Shops in which rollouts meet with accidents."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import shops
from crashes import Nursery
from databases import empty_postgres
from flights import HEALTHY, Flight, begun
from rollout_worlds import Traffic
from shops import BASELINE, GOOD, PRODUCTION, Shop
from sqlalchemy import delete

from penstock.serving import endpoint as endpoints
from penstock.serving.routing.table import serving_only
from penstock.state.tables import quarantine

Begin = Callable[..., Flight]


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    it = Nursery()
    yield it
    it.close()


@pytest.fixture
def new_shop(template: Path, tmp_path: Path) -> Iterator[Callable[..., Shop]]:
    """Shops of a test's own, without gateways; their state is in SQLite, or at a URL."""
    made: list[Shop] = []

    def make(state: str = "") -> Shop:
        shop = shops.copied(template, tmp_path / f"shop-{len(made)}")
        if state:
            with (shop.root / "penstock.toml").open("a") as settings:
                settings.write(f'[state]\nurl = "{state}"\n')
            shop = Shop(shop.root)
            for version in (BASELINE, GOOD):
                shop.staged(version, "Sound")
        made.append(shop)
        return shop

    yield make
    for one in made:
        one.engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def state(request: pytest.FixtureRequest) -> str:
    """The address of an empty database; nothing for SQLite in the project's folder."""
    return "" if request.param == "sqlite" else str(request.getfixturevalue("postgres"))


@pytest.fixture
def postgres() -> Iterator[str]:
    """The address of an empty database."""
    with empty_postgres() as address:
        yield address


@pytest.fixture(scope="module")
def common(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    shop = shops.copied(template, tmp_path_factory.mktemp("common") / "shop")
    yield shop
    shop.engine.dispose()


@pytest.fixture
def begin(common: Shop) -> Iterator[Begin]:
    """Rollouts in a shop that the tests of a module share; whatever a test leaves, is ended."""
    flights: list[Flight] = []

    def start(traffic: Traffic = HEALTHY, **plan: Any) -> Flight:
        flights.append(begun(common, GOOD, traffic, **plan))
        return flights[-1]

    yield start
    for one in flights:
        one.gateways.silent, one.skew = True, one.skew * 0
        if not one.state.ended:
            one.shop.act(one.rollout, "abort", reason="the next test")
            one.until()
    with common.engine.begin() as connection:
        connection.execute(delete(quarantine))
    place = endpoints.place_of(common.project, PRODUCTION)
    endpoints.publish(place, serving_only(common.spec(BASELINE)))
