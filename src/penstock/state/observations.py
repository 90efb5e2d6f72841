"""What gateways observed, second by second: written by them, read by whoever judges."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from sqlalchemy import Engine, delete, select

from penstock.state.tables import observations, upsert


class Observed(NamedTuple):
    """The counts of one arm on one gateway in one second."""

    endpoint: str
    release: str
    arm: str
    gateway: str
    second: int  # since 1970, UTC
    counts: dict[str, Any]


def write(engine: Engine, observed: Iterable[Observed]) -> None:
    """All or none. Written twice, a second counts once."""
    with engine.begin() as connection:
        for one in observed:
            upsert(connection, observations, one._asdict())


def read(engine: Engine, endpoint: str, since: int, until: int) -> list[Observed]:
    """Of the seconds [since, until), oldest first."""
    table = observations
    query = (
        select(table)
        .where(table.c.endpoint == endpoint, table.c.second >= since, table.c.second < until)
        .order_by(table.c.second)
    )
    with engine.connect() as connection:
        return [Observed(**row) for row in connection.execute(query).mappings()]


def forget(engine: Engine, endpoint: str, before: int) -> None:
    """Deletes what is older than a second."""
    table = observations
    query = delete(table).where(table.c.endpoint == endpoint, table.c.second < before)
    with engine.begin() as connection:
        connection.execute(query)
