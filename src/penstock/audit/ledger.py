"""The append-only ledger: whatever changes the world is an entry here.

Entries may go on with the story of one thing, such as a rollout: its stream. An entry is then
written at a position, and of two who write the same one the second is refused: so that whoever
decides on a story has read all of it.
"""

from __future__ import annotations

import getpass
import os
import socket
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from sqlalchemy import Connection, Engine, func, insert, select
from sqlalchemy.exc import IntegrityError

from penstock.errors import ConflictError
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
    stream: str = ""  # the thing whose story it goes on with, such as a rollout
    position: int | None = None  # its place there, from 1


class AppendOnlyLedger(Protocol):
    """Entries are added and read; there is no way to change one."""

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
        stream: str = "",
        position: int | None = None,
    ) -> int:
        """Writes an entry and returns its sequence number.

        With a stream, at `position`, which is one more than its entries so far. Raises
        `ConflictError` when it is another by now, and nothing is written.
        """

    def entries(self, action: str = "", *, stream: str = "") -> list[Entry]:
        """All entries, or those of one action, or of one stream, oldest first."""


class Ledger:
    """The ledger in the state database."""

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
        stream: str = "",
        position: int | None = None,
    ) -> int:
        """As `AppendOnlyLedger.append`."""
        _require_both(stream, position)
        entry = insert(ledger).values(
            at=datetime.now(UTC),
            actor=actor or present_user(),
            action=action,
            subject=subject,
            digest=digest,
            run_id=run_id,
            reason=reason,
            details=plain(details or {}),
            stream=stream,
            position=position,
        )
        try:
            with self._engine.begin() as connection:
                if position is not None:
                    _require_next(stream, position, _length(connection, stream))
                return int(connection.execute(entry.returning(ledger.c.sequence)).scalar_one())
        except IntegrityError as error:
            if position is None:
                raise
            # Between the question and the entry: the index on (stream, position) has seen it.
            raise _conflict(stream, position) from error

    def entries(self, action: str = "", *, stream: str = "") -> list[Entry]:
        """As `AppendOnlyLedger.entries`."""
        query = select(ledger).order_by(ledger.c.sequence)
        if action:
            query = query.where(ledger.c.action == action)
        if stream:
            query = query.where(ledger.c.stream == stream).order_by(None)
            query = query.order_by(ledger.c.position)
        with self._engine.connect() as connection:
            return [Entry(**row._mapping) for row in connection.execute(query)]


class MemoryLedger:
    """The same, for as long as the process lives: for simulations and tests."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._lock = threading.Lock()

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
        stream: str = "",
        position: int | None = None,
    ) -> int:
        """As `AppendOnlyLedger.append`."""
        _require_both(stream, position)
        with self._lock:
            if position is not None:
                length = sum(entry.stream == stream for entry in self._entries)
                _require_next(stream, position, length)
            entry = Entry(
                sequence=len(self._entries) + 1,
                at=datetime.now(UTC),
                actor=actor or present_user(),
                action=action,
                subject=subject,
                digest=digest,
                run_id=run_id,
                reason=reason,
                details=plain(details or {}),
                stream=stream,
                position=position,
            )
            self._entries.append(entry)
            return entry.sequence

    def entries(self, action: str = "", *, stream: str = "") -> list[Entry]:
        """As `AppendOnlyLedger.entries`."""
        with self._lock:
            return [
                entry
                for entry in self._entries
                if action in ("", entry.action) and stream in ("", entry.stream)
            ]


def present_user() -> str:
    """Who acts, as the operating system knows them."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's user without an entry in passwd
        name = f"uid-{os.getuid()}"
    return f"{name}@{socket.gethostname()}"


def _length(connection: Connection, stream: str) -> int:
    query = select(func.max(ledger.c.position)).where(ledger.c.stream == stream)
    return int(connection.execute(query).scalar() or 0)


def _require_both(stream: str, position: int | None) -> None:
    if bool(stream) != (position is not None):
        raise ValueError("an entry of a stream has a position, and no other has one")


def _require_next(stream: str, position: int, length: int) -> None:
    if position != length + 1:
        raise _conflict(stream, position)


def _conflict(stream: str, position: int | None) -> ConflictError:
    return ConflictError(
        f"somebody else wrote to {stream} at the same time: entry {position} is not its next one",
        hint="look at it again, and repeat what still makes sense",
    )
