"""Where a gateway's table and lease come from: the database, or the copy of what it said last."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from penstock.serving.endpoint import Place, publish
from penstock.serving.release import ReleaseSpec
from penstock.serving.routing.source import TableSource, Versioned
from penstock.serving.routing.table import serving_only
from penstock.state import routes
from penstock.state.routes import Lease

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SPEC = ReleaseSpec(id="r1", endpoint="shop", model="m@1", digest="d", path="/m", replicas=1)


class World:
    """A database that may be away."""

    def __init__(self, folder: Path) -> None:
        self.place = Place("shop", folder)
        self.away = False
        self.source = TableSource(self._engine, "shop", folder / "table.json")

    def _engine(self) -> Engine:
        if self.away:
            raise OSError("away")
        return self.place.engine()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_lease_that_is_renewed_is_seen_without_the_table(world: World) -> None:
    assert world.source.look(0) == Lease(0, None)
    table = serving_only(SPEC)
    publish(world.place, table, lease_until=NOON)
    assert world.source.look(0) == Versioned(1, table, NOON)
    assert world.source.look(1) == Lease(1, NOON)
    later = NOON + timedelta(seconds=30)
    routes.renew(world.place.engine(), "shop", 1, later)
    assert world.source.look(1) == Lease(1, later)
    publish(world.place, table)
    assert world.source.look(1) == Versioned(2, table, None)


def test_without_the_database_the_last_table_holds_no_longer_than_its_last_lease(
    world: World,
) -> None:
    first = Versioned(1, serving_only(SPEC), NOON)
    world.source.keep(first)
    renewed = first._replace(lease_until=NOON + timedelta(seconds=30))
    world.source.keep_lease(renewed)
    world.away = True
    assert world.source.look(0) == renewed
    assert world.source.look(1) is None  # what is served goes on
    # A renewal that comes late changes nothing in another table's copy.
    world.source.keep(Versioned(2, serving_only(SPEC), None))
    world.source.keep_lease(renewed)
    assert world.source.look(0) == Versioned(2, serving_only(SPEC), None)
