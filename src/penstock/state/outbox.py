"""Messages on their way: written with what they tell of, and sent by whoever holds them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, delete, func, or_, select, update

from penstock.state.tables import insert_new, outbox


class Queued(NamedTuple):
    """A message for one channel."""

    message: str  # its key: the same one is never queued twice
    channel: str
    title: str
    body: str
    level: str  # info, success, warning, failure, resolved
    thread: str  # what it is about
    queued_at: datetime
    due_at: datetime
    attempts: int = 0
    holder: str = ""
    held_until: datetime | None = None
    delivered_at: datetime | None = None
    error: str = ""


class Waiting(NamedTuple):
    """How many messages a channel has not taken yet, and since when."""

    channel: str
    messages: int
    oldest: datetime
    error: str  # of one of them


def queue(connection: Connection, messages: Sequence[Queued]) -> bool:
    """Queues what was not queued before; whether any was not. The caller commits."""
    new = [insert_new(connection, outbox, one._asdict()) for one in messages]
    return any(new)


def claim(
    engine: Engine, holder: str, now: datetime, until: datetime, channels: Sequence[str]
) -> Queued | None:
    """The next one for these channels that is due and not held; it is the holder's until then.

    Of two who ask at once, one gets it.
    """
    table = outbox
    free = table.c.delivered_at.is_(None) & or_(
        table.c.held_until.is_(None), table.c.held_until <= now
    )
    due = free & (table.c.due_at <= now) & table.c.channel.in_(channels)
    query = select(table).where(due).order_by(table.c.queued_at, table.c.message).limit(1)
    while True:
        with engine.begin() as connection:
            row = connection.execute(query).mappings().first()
            if row is None:
                return None
            mine = {"holder": holder, "held_until": until, "attempts": row["attempts"] + 1}
            change = update(table).where(*_is(row["message"], row["channel"]), free)
            if connection.execute(change.values(**mine)).rowcount == 1:
                return Queued(**{**row, **mine})


def holders(engine: Engine) -> list[str]:
    """Who holds what is not delivered."""
    held = select(outbox.c.holder).where(outbox.c.delivered_at.is_(None), outbox.c.holder != "")
    with engine.connect() as connection:
        return list(connection.scalars(held.distinct()))


def release(engine: Engine, holder: str) -> None:
    """Frees what somebody held who is gone."""
    theirs = update(outbox).where(outbox.c.holder == holder, outbox.c.delivered_at.is_(None))
    with engine.begin() as connection:
        connection.execute(theirs.values(holder="", held_until=None))


def hasten(engine: Engine, message: str, now: datetime) -> None:
    """It is due at once, however often it was refused."""
    change = update(outbox).where(outbox.c.message == message, outbox.c.delivered_at.is_(None))
    with engine.begin() as connection:
        connection.execute(change.values(due_at=now))


def delivered(engine: Engine, one: Queued, at: datetime) -> None:
    """It arrived: nobody sends it again."""
    _settle(engine, one, {"delivered_at": at, "error": "", "held_until": None, "holder": ""})


def refused(engine: Engine, one: Queued, due_at: datetime, error: str) -> None:
    """It did not, and is due again then; what else waits for the channel is not due before."""
    _settle(engine, one, {"due_at": due_at, "error": error, "held_until": None, "holder": ""})
    rest = update(outbox).where(
        outbox.c.channel == one.channel,
        outbox.c.delivered_at.is_(None),
        outbox.c.due_at < due_at,
    )
    with engine.begin() as connection:
        connection.execute(rest.values(due_at=due_at))


def waiting(engine: Engine, message: str = "") -> list[Waiting]:
    """What is not delivered, by channel; of one message, or of all."""
    table = outbox
    query = (
        select(table.c.channel, func.count(), func.min(table.c.queued_at), func.max(table.c.error))
        .where(table.c.delivered_at.is_(None))
        .group_by(table.c.channel)
        .order_by(table.c.channel)
    )
    if message:
        query = query.where(table.c.message == message)
    with engine.connect() as connection:
        return [Waiting(*row) for row in connection.execute(query)]


def forget(engine: Engine, before: datetime) -> None:
    """Deletes what was delivered before then; what never was is kept."""
    with engine.begin() as connection:
        connection.execute(delete(outbox).where(outbox.c.delivered_at < before))


def _is(message: str, channel: str) -> tuple[Any, Any]:
    return outbox.c.message == message, outbox.c.channel == channel


def _settle(engine: Engine, one: Queued, values: dict[str, Any]) -> None:
    """Only by whoever holds it: one who slept past his claim changes nothing but its arrival."""
    change = update(outbox).where(*_is(one.message, one.channel), outbox.c.delivered_at.is_(None))
    if values.get("delivered_at") is None:
        change = change.where(outbox.c.holder == one.holder)
    with engine.begin() as connection:
        connection.execute(change.values(**values))
