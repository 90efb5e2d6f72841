"""Routing tables and gateways: what shall be served, and who serves it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Engine, insert, select, update
from sqlalchemy.exc import IntegrityError

from penstock.errors import PenstockError
from penstock.state.tables import gateways, routes, upsert


class ConflictError(PenstockError):
    """Somebody else changed the routing table in the meantime."""


class Published(NamedTuple):
    """A routing table as it stands."""

    revision: int
    document: dict[str, Any]
    written_at: datetime
    actor: str


class Gateway(NamedTuple):
    """What a gateway last said."""

    endpoint: str
    gateway: str
    url: str
    state: str
    revision: int
    error: str
    seen_at: datetime


def revision_of(engine: Engine, endpoint: str) -> int:
    """Of the routing table; 0 where there is none."""
    query = select(routes.c.revision).where(routes.c.endpoint == endpoint)
    with engine.connect() as connection:
        return int(connection.execute(query).scalar() or 0)


def published(engine: Engine, endpoint: str) -> Published | None:
    """The routing table of an endpoint."""
    query = select(routes).where(routes.c.endpoint == endpoint)
    with engine.connect() as connection:
        row = connection.execute(query).mappings().first()
    return None if row is None else _published(row)


def publish(
    engine: Engine,
    endpoint: str,
    document: dict[str, Any],
    *,
    expected: int,
    actor: str,
    at: datetime,
) -> int:
    """Writes a routing table in place of revision `expected` (0: the first), and gives its own.

    Raises `ConflictError` when another one was written meanwhile.
    """
    values = {
        "revision": expected + 1,
        "document": document,
        "written_at": at,
        "actor": actor,
    }
    with engine.begin() as connection:
        if expected == 0:
            try:
                connection.execute(insert(routes).values(endpoint=endpoint, **values))
            except IntegrityError as error:
                raise _conflict(endpoint) from error
        else:
            change = update(routes).values(**values)
            change = change.where(routes.c.endpoint == endpoint, routes.c.revision == expected)
            if connection.execute(change).rowcount != 1:
                raise _conflict(endpoint)
    return expected + 1


def endpoints(engine: Engine) -> list[tuple[str, Published]]:
    """All endpoints that were ever served, by name."""
    with engine.connect() as connection:
        rows = connection.execute(select(routes).order_by(routes.c.endpoint)).mappings().all()
    return [
        (
            row["endpoint"],
            Published(row["revision"], row["document"], row["written_at"], row["actor"]),
        )
        for row in rows
    ]


def say(engine: Engine, gateway: Gateway) -> None:
    """Records what a gateway is doing."""
    with engine.begin() as connection:
        upsert(connection, gateways, gateway._asdict())


def gateways_of(engine: Engine, endpoint: str) -> list[Gateway]:
    """The gateways of an endpoint, the one heard of last first."""
    query = select(gateways).where(gateways.c.endpoint == endpoint)
    with engine.connect() as connection:
        rows = connection.execute(query.order_by(gateways.c.seen_at.desc())).mappings().all()
    return [Gateway(**row) for row in rows]


def _published(row: Any) -> Published:
    return Published(row["revision"], row["document"], row["written_at"], row["actor"])


def _conflict(endpoint: str) -> ConflictError:
    return ConflictError(
        f"the routing table of {endpoint} was changed by somebody else at the same time",
        hint="look at it with `penstock endpoints routes` and try again",
    )
