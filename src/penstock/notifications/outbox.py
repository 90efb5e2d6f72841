"""Messages are queued in the state database first, and sent by whoever comes by.

What a channel refuses stays queued and is tried again, ever less often. A message is sent at least
once to each of its channels, and once where nobody is killed between sending it and saying so:
then it comes a second time, with the same `X-Penstock-Message` in a mail and the same incident at
a pager.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from penstock.clock import utc_now
from penstock.errors import PenstockError
from penstock.notifications.channels import (
    FAILURE,
    LOG,
    SUCCESS,
    Channel,
    Message,
    channels_of,
    send,
)
from penstock.notifications.delivery import DeliveryError, deliver, write_log
from penstock.project import Project
from penstock.settings import NotifySettings
from penstock.state import outbox
from penstock.state.database import open_database
from penstock.state.leadership import own_name
from penstock.state.outbox import Queued

HOLD = timedelta(minutes=2)  # longer than any channel takes; then another process sends it
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=30), timedelta(hours=1)  # between two attempts
KEPT = timedelta(days=7)  # after delivery


def tell(
    project: Project, title: str, body: str, *, key: str, failure: bool = False
) -> tuple[str, ...]:
    """Tells the team now, or as soon as a channel takes it; the same key is told once.

    Returns the kinds of the channels that have it. Raises `DeliveryError` naming those that have
    not yet: it is queued for them. Where the state database is away, it is sent as well as can be.
    """
    message = Message(title, body, FAILURE if failure else SUCCESS, key, key)
    settings, log = project.settings.notify, project.notices
    try:
        engine, now = open_database(project), utc_now()
        with engine.begin() as connection:
            queue(connection, settings, (message,), now)
        outbox.hasten(engine, key, now)
        flush(engine, settings, log)
        waiting = outbox.waiting(engine, key)
    except (PenstockError, SQLAlchemyError):
        return deliver(title, body, settings, log, failure=failure)
    if waiting:
        kinds = ", ".join(one.channel.rpartition("-")[0] or LOG for one in waiting)
        raise DeliveryError(
            f"the message could not be sent by {kinds} yet; it is queued, to be seen in {log}",
            hint="check [notify] smtp_host and smtp_port, and PENSTOCK_NOTIFY_URLS; "
            "`penstock alerts check` sends what is queued",
        )
    told = [one.kind for one in channels_of(settings) if one.wants(message.level)]
    return (LOG, *told)


def queue(
    connection: Connection, settings: NotifySettings, messages: Iterable[Message], now: datetime
) -> None:
    """Queues messages, one row a channel, in the caller's transaction."""
    log = Channel(LOG, "", LOG)
    for message in messages:
        channels = [log, *(one for one in channels_of(settings) if one.wants(message.level))]
        outbox.queue(connection, [_row(message, channel, now) for channel in channels])


def flush(
    engine: Engine, settings: NotifySettings, log: Path, now: Callable[[], datetime] = utc_now
) -> int:
    """Sends what is due on the channels of these settings, and gives how many took a message.

    A channel that refuses one is left alone until the next time: a storm of messages costs a mail
    server that is down one attempt.
    """
    channels = {one.name: one for one in (Channel(LOG, "", LOG), *channels_of(settings))}
    for other in outbox.holders(engine):
        if _is_gone(other):
            outbox.release(engine, other)
    holder = own_name()
    arrived = 0
    while one := outbox.claim(engine, holder, now(), now() + HOLD, list(channels)):
        message = Message(one.title, one.body, one.level, one.message, one.thread)
        if error := _send(channels[one.channel], message, log):
            outbox.refused(engine, one, now() + pause_after(one.attempts), error)
            del channels[one.channel]
        else:
            outbox.delivered(engine, one, now())
            arrived += 1
    outbox.forget(engine, now() - KEPT)
    return arrived


def _is_gone(holder: str) -> bool:
    """Whether it was a process of this machine that has ended; of another's, its time must pass."""
    host, _, rest = holder.rpartition(":")[0].rpartition(":")
    if host != socket.gethostname() or not rest.isdigit():
        return False
    try:
        os.kill(int(rest), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def pause_after(attempts: int) -> timedelta:
    """Between an attempt, from 1, and the next one.

    >>> [str(pause_after(n)) for n in (1, 2, 3, 100)]
    ['0:00:30', '0:01:00', '0:02:00', '1:00:00']
    """
    return min(FIRST_PAUSE * (1 << min(attempts - 1, 20)), LONGEST_PAUSE)


def _send(channel: Channel, message: Message, log: Path) -> str:
    """Why it was not taken; empty: it was."""
    if channel.kind == LOG:
        try:
            write_log(log, message.title, message.body)
        except OSError as error:
            return f"{log.name}: {error.strerror}"
        return ""
    return "" if send(channel, message) else f"{channel.kind} did not take it"


def _row(message: Message, channel: Channel, now: datetime) -> Queued:
    return Queued(
        message=message.key,
        channel=channel.name,
        title=message.title,
        body=message.body,
        level=message.level,
        thread=message.thread,
        queued_at=now,
        due_at=now,
    )
