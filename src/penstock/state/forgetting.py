"""Rows about one person are deleted, so that nothing of them is left in the file either."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Delete, Engine, bindparam, delete, or_, text

from penstock.state.tables import first_events, outcomes


def overwrite_deleted(connection: Connection) -> None:
    """What this connection deletes is overwritten, not only let go.

    PostgreSQL does when it vacuums.
    """
    if connection.dialect.name == "sqlite":
        connection.execute(text("PRAGMA secure_delete=ON"))


def forget(
    engine: Engine, endpoint: str, things: Iterable[tuple[str, int]], units: Iterable[str]
) -> tuple[int, int]:
    """Deletes outcomes of rows of predictions and of units, and the first events of units.

    Gives how many of either. What was summed up of them stays.
    """
    about = outcomes.c
    rows = [{"subject_": subject, "event_": str(row)} for subject, row in things]
    hashes = [{"unit_": unit} for unit in units]
    with engine.begin() as connection:
        overwrite_deleted(connection)
        told = _delete(
            connection,
            delete(outcomes).where(
                about.endpoint == endpoint,
                about.subject == bindparam("subject_"),
                about.event == bindparam("event_"),
            ),
            rows,
        )
        unit: Any = bindparam("unit_")
        told += _delete(
            connection,
            delete(outcomes).where(
                about.endpoint == endpoint, or_(about.unit == unit, about.subject == unit)
            ),
            hashes,
        )
        of = first_events.c
        first = _delete(
            connection,
            delete(first_events).where(
                of.endpoint == endpoint, or_(of.unit == unit, of.lasting == unit)
            ),
            hashes,
        )
    return told, first


def _delete(connection: Connection, statement: Delete, given: list[dict[str, str]]) -> int:
    return sum(connection.execute(statement, one).rowcount for one in given)
