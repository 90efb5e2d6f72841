"""An index of the rollouts, and the models that no rollout may take again."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Engine, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from penstock.state.tables import quarantine, rollouts, upsert


class Listed(NamedTuple):
    """A rollout, as it was when all that followed from its entries was done last."""

    id: str
    endpoint: str
    status: str
    live: bool
    position: int
    updated_at: datetime


class Quarantined(NamedTuple):
    """A model's bytes that were rolled back."""

    digest: str
    model: str
    reason: str
    rollout: str
    at: datetime


def begin(engine: Engine, rollout: str, endpoint: str, at: datetime) -> bool:
    """Lists a new rollout; False while another one of the endpoint is live."""
    row = {"id": rollout, "endpoint": endpoint, "status": "draft", "live": True}
    try:
        with engine.begin() as connection:
            connection.execute(insert(rollouts).values(**row, position=0, updated_at=at))
    except IntegrityError:
        return False
    return True


def forget(engine: Engine, rollout: str) -> None:
    """Of one that never began."""
    with engine.begin() as connection:
        connection.execute(delete(rollouts).where(rollouts.c.id == rollout))


def settle(
    engine: Engine, rollout: str, *, status: str, live: bool, position: int, at: datetime
) -> None:
    """Never goes back: who was asleep settles nothing anew."""
    change = update(rollouts).values(status=status, live=live, position=position, updated_at=at)
    change = change.where(rollouts.c.id == rollout, rollouts.c.position <= position)
    with engine.begin() as connection:
        connection.execute(change)


def live(engine: Engine, endpoint: str = "") -> list[Listed]:
    """Those that go on, the oldest first."""
    query = select(rollouts).where(rollouts.c.live).order_by(rollouts.c.updated_at)
    if endpoint:
        query = query.where(rollouts.c.endpoint == endpoint)
    with engine.connect() as connection:
        return [Listed(**row) for row in connection.execute(query).mappings()]


def all_of(engine: Engine) -> list[Listed]:
    """The latest first."""
    query = select(rollouts).order_by(rollouts.c.updated_at.desc(), rollouts.c.id)
    with engine.connect() as connection:
        return [Listed(**row) for row in connection.execute(query).mappings()]


def put_into_quarantine(engine: Engine, one: Quarantined) -> None:
    """May be repeated: the first reason stays."""
    if in_quarantine(engine, one.digest) is None:
        with engine.begin() as connection:
            upsert(connection, quarantine, one._asdict())


def in_quarantine(engine: Engine, digest: str) -> Quarantined | None:
    query = select(quarantine).where(quarantine.c.digest == digest)
    with engine.connect() as connection:
        row = connection.execute(query).mappings().first()
    return Quarantined(**row) if row else None
