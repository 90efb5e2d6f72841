"""Routing tables and gateways: what shall be served, and who serves it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from penstock.errors import ConflictError
from penstock.state.tables import gateways, routes, upsert


class StaleError(ConflictError):
    """The table was made from an older state of things than the present one."""


class Published(NamedTuple):
    """A routing table as it stands."""

    revision: int
    document: dict[str, Any]
    written_at: datetime
    actor: str
    lease_until: datetime | None = None  # None: it holds until the next one
    fence: int = 0  # the ledger's entry that it was made from


class Lease(NamedTuple):
    """What changes most often: which table there is, and how long its arms hold."""

    revision: int
    until: datetime | None


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
    return lease_of(engine, endpoint).revision


def lease_of(engine: Engine, endpoint: str) -> Lease:
    """The table's revision and lease; revision 0 where there is none."""
    query = select(routes.c.revision, routes.c.lease_until).where(routes.c.endpoint == endpoint)
    with engine.connect() as connection:
        row = connection.execute(query).first()
    return Lease(0, None) if row is None else Lease(*row)


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
    lease_until: datetime | None = None,
    fence: int | None = None,
) -> int:
    """Writes a routing table in place of revision `expected` (0: the first), and gives its own.

    `fence` is the number of the ledger's last entry that the table was made from: one smaller than
    that of the present table is refused, so that who was asleep undoes nothing. Without one,
    nothing is compared, and the present one stays. Without `lease_until`, the table holds until
    the next one.

    Raises `ConflictError` when another one was written meanwhile, `StaleError` when the fence is
    smaller.
    """
    values: dict[str, Any] = {
        "revision": expected + 1,
        "document": document,
        "written_at": at,
        "actor": actor,
        "lease_until": lease_until,
    }
    if fence is not None:
        values["fence"] = fence
    with engine.begin() as connection:
        if expected == 0:
            values["revision"] = _first_revision(connection, endpoint)
            try:
                connection.execute(insert(routes).values(endpoint=endpoint, **values))
            except IntegrityError as error:
                raise _conflict(endpoint) from error
        else:
            change = update(routes).values(**values)
            change = change.where(routes.c.endpoint == endpoint, routes.c.revision == expected)
            if fence is not None:
                change = change.where(routes.c.fence <= fence)
            if connection.execute(change).rowcount != 1:
                _refuse_stale(connection, endpoint, fence)
                raise _conflict(endpoint)
    return int(values["revision"])


def _first_revision(connection: Connection, endpoint: str) -> int:
    """1; more where gateways serve a table of a database that was lost: theirs are not these."""
    query = select(func.max(gateways.c.revision)).where(gateways.c.endpoint == endpoint)
    return int(connection.execute(query).scalar() or 0) + 1


def renew(engine: Engine, endpoint: str, revision: int, until: datetime | None) -> bool:
    """Lets a table's arms hold until then; False when it is no longer the present one.

    Gateways go on with the same table: nothing is swapped.
    """
    change = update(routes).values(lease_until=until)
    change = change.where(routes.c.endpoint == endpoint, routes.c.revision == revision)
    with engine.begin() as connection:
        return connection.execute(change).rowcount == 1


def endpoints(engine: Engine) -> list[tuple[str, Published]]:
    """All endpoints that were ever served, by name."""
    with engine.connect() as connection:
        rows = connection.execute(select(routes).order_by(routes.c.endpoint)).mappings().all()
    return [(row["endpoint"], _published(row)) for row in rows]


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
    return Published(**{name: row[name] for name in Published._fields})


def _refuse_stale(connection: Connection, endpoint: str, fence: int | None) -> None:
    query = select(routes.c.fence, routes.c.actor).where(routes.c.endpoint == endpoint)
    row = connection.execute(query).first()
    if row is not None and fence is not None and row.fence > fence:
        raise StaleError(
            f"the routing table of {endpoint} was made by {row.actor} from entry {row.fence} of the"
            f" ledger; this one from entry {fence}",
            hint="read the ledger again, and decide anew",
        )


def _conflict(endpoint: str) -> ConflictError:
    return ConflictError(
        f"the routing table of {endpoint} was changed by somebody else at the same time",
        hint="look at it with `penstock endpoints routes` and try again",
    )
