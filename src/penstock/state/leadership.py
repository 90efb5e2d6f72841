"""Who leads where one process alone may decide: the controller of rollouts, the scheduler."""

from __future__ import annotations

import os
import secrets
import socket
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Engine, insert, select, update
from sqlalchemy.exc import IntegrityError

from penstock.state.tables import controllers

CONTROLLER = "controller"


def own_name() -> str:
    """Of whoever leads, or holds something, from this process: `HOST:PID:…`, another each time."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(2)}"


class Leader(NamedTuple):
    """Who decides at present."""

    holder: str
    until: datetime


def lead(
    engine: Engine, holder: str, now: datetime, until: datetime, role: str = CONTROLLER
) -> bool:
    """Makes `holder` the leader until then, unless another one leads still.

    One who leads until much later than anybody could has a clock that went ahead, and does not
    count.
    """
    over = (controllers.c.until <= now) | (controllers.c.until > until + (until - now))
    mine = (controllers.c.holder == holder) | over
    change = update(controllers).values(holder=holder, until=until)
    with engine.begin() as connection:
        if connection.execute(change.where(controllers.c.name == role, mine)).rowcount:
            return True
    try:
        with engine.begin() as connection:
            row = {"name": role, "holder": holder, "until": until}
            connection.execute(insert(controllers).values(**row))
    except IntegrityError:
        return False
    return True


def leader(engine: Engine, role: str = CONTROLLER) -> Leader | None:
    query = select(controllers.c.holder, controllers.c.until)
    with engine.connect() as connection:
        row = connection.execute(query.where(controllers.c.name == role)).first()
    return Leader(*row) if row else None


def resign(engine: Engine, holder: str, now: datetime) -> None:
    """Lets another one lead at once."""
    change = update(controllers).values(until=now).where(controllers.c.holder == holder)
    with engine.begin() as connection:
        connection.execute(change)
