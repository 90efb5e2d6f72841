"""When what goes on by itself was last done to its end."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Engine, select

from penstock.state.tables import heartbeats, upsert

MONITOR, ALERTS = "monitor", "alerts"


def beat(engine: Engine, name: str, at: datetime, said: str = "") -> None:
    """It is alive; `said`: what went wrong that time."""
    with engine.begin() as connection:
        upsert(connection, heartbeats, {"name": name, "at": at, "said": said})


def last(engine: Engine, name: str) -> datetime | None:
    """None: it never was at work."""
    query = select(heartbeats.c.at).where(heartbeats.c.name == name)
    with engine.connect() as connection:
        found: datetime | None = connection.execute(query).scalar()
    return found
