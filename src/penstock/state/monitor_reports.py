"""What looks at models said, each as one document."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Engine, and_, delete, func, select

from penstock.state.tables import monitor_reports, upsert


class Kept(NamedTuple):
    kind: str
    model: str  # name@version
    endpoint: str
    made_at: datetime
    since: datetime | None
    until: datetime | None
    document: dict[str, Any]


def write(engine: Engine, kept: Kept) -> None:
    with engine.begin() as connection:
        upsert(connection, monitor_reports, kept._asdict())


def read(
    engine: Engine,
    *,
    kind: str = "",
    model: str = "",
    endpoint: str = "",
    ended_by: datetime | None = None,
    limit: int = 100,
) -> list[Kept]:
    """The latest first; what is empty does not restrict them. `ended_by` is of their windows."""
    table = monitor_reports
    query = select(table).order_by(table.c.made_at.desc()).limit(limit)
    for name, value in (("kind", kind), ("model", model), ("endpoint", endpoint)):
        if value:
            query = query.where(table.c[name] == value)
    if ended_by is not None:
        query = query.where(table.c.until <= ended_by).order_by(None)
        query = query.order_by(table.c.until.desc(), table.c.made_at.desc())
    with engine.connect() as connection:
        return [Kept(**row) for row in connection.execute(query).mappings()]


def latest(engine: Engine) -> list[Kept]:
    """The last one of each kind, model and endpoint, the newest last."""
    table = monitor_reports
    last = (
        select(table.c.kind, table.c.model, table.c.endpoint, func.max(table.c.made_at).label("at"))
        .group_by(table.c.kind, table.c.model, table.c.endpoint)
        .subquery()
    )
    same = [table.c[name] == last.c[name] for name in ("kind", "model", "endpoint")]
    query = select(table).join(last, and_(*same, table.c.made_at == last.c.at))
    with engine.connect() as connection:
        rows = connection.execute(query.order_by(table.c.made_at)).mappings()
        return [Kept(**row) for row in rows]


def forget(engine: Engine, before: datetime) -> int:
    """Deletes what was made before a moment; gives how many."""
    with engine.begin() as connection:
        return connection.execute(
            delete(monitor_reports).where(monitor_reports.c.made_at < before)
        ).rowcount
