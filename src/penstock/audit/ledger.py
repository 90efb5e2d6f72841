"""The append-only ledger: whatever changes the world is an entry here."""

from __future__ import annotations

import getpass
import os
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, insert, select

from penstock.records import plain
from penstock.state.tables import ledger


@dataclass(frozen=True)
class Entry:
    sequence: int
    at: datetime
    actor: str
    action: str  # model.registered, model.approved, release.deployed
    subject: str  # churn@3, staging
    digest: str  # of the artefact that was acted on
    run_id: str | None
    reason: str
    details: dict[str, Any]


class Ledger:
    """Entries are added and read; there is no way to change one."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def append(
        self,
        action: str,
        subject: str,
        *,
        digest: str,
        reason: str = "",
        run_id: str | None = None,
        actor: str | None = None,
        details: dict[str, Any] | None = None,
    ) -> int:
        """Writes an entry and returns its sequence number."""
        with self._engine.begin() as connection:
            entry = insert(ledger).values(
                at=datetime.now(UTC),
                actor=actor or present_user(),
                action=action,
                subject=subject,
                digest=digest,
                run_id=run_id,
                reason=reason,
                details=plain(details or {}),
            )
            return int(connection.execute(entry.returning(ledger.c.sequence)).scalar_one())

    def entries(self, action: str = "") -> list[Entry]:
        """All entries, or those of one action, oldest first."""
        query = select(ledger).order_by(ledger.c.sequence)
        if action:
            query = query.where(ledger.c.action == action)
        with self._engine.connect() as connection:
            return [Entry(**row._mapping) for row in connection.execute(query)]


def present_user() -> str:
    """Who acts, as the operating system knows them."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's user without an entry in passwd
        name = f"uid-{os.getuid()}"
    return f"{name}@{socket.gethostname()}"
