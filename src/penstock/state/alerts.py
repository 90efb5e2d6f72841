"""Alerts as they stand: a projection of their entries in the ledger, and those that still wait."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, select

from penstock.state.tables import alerts, upsert


def read(connection: Connection) -> list[dict[str, Any]]:
    """The documents of all, by id."""
    query = select(alerts.c.document).order_by(alerts.c.id)
    return list(connection.execute(query).scalars())


def write(connection: Connection, documents: Iterable[Mapping[str, Any]], at: datetime) -> None:
    """In place of what was known of them; each has an `id` and a `status`."""
    for document in documents:
        row = {"id": document["id"], "status": document["status"], "document": dict(document)}
        upsert(connection, alerts, {**row, "updated_at": at})


def forget(connection: Connection, ids: Iterable[str]) -> None:
    """Of those that never fired, or are over for long."""
    gone = list(ids)
    if gone:
        connection.execute(delete(alerts).where(alerts.c.id.in_(gone)))
