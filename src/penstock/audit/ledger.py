"""The append-only ledger: whatever changes the world is an entry here.

Entries are the leaves of a Merkle tree, written one after another under a lock of the database.
They may go on with the story of one thing, such as a rollout: its stream. An entry is then written
at a position, and of two who write the same one the second is refused: so that whoever decides on a
story has read all of it.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import socket
import threading
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import msgspec
from sqlalchemy import Connection, Engine, func, insert, select

from penstock.audit import entries as form
from penstock.audit.canonical import SALT_BYTES, canonical, commitment
from penstock.audit.entries import Actor, Draft, Entry, Personal
from penstock.audit.merkle import Frontier, leaf_hash
from penstock.audit.tree import BLOCK, StoredTree, store
from penstock.audit.troubles import troubles
from penstock.errors import ConflictError
from penstock.state.tables import ledger, ledger_payloads

__all__ = [
    "Actor",
    "AppendOnlyLedger",
    "Draft",
    "Entry",
    "Ledger",
    "MemoryLedger",
    "Page",
    "Personal",
    "acting_as",
    "os_actor",
    "present_actor",
    "present_user",
]

LOCK = 7366  # PostgreSQL's advisory lock of those who append
# The frontier of each database as this process saw it last, and the last leaf under it.
_seen: WeakKeyDictionary[Engine, tuple[Frontier, bytes]] = WeakKeyDictionary()


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
        actor: str | Actor | None = None,
        details: dict[str, Any] | None = None,
        stream: str = "",
        position: int | None = None,
    ) -> int:
        """Writes an entry and returns its sequence number. Without an actor: the present user.

        With a stream, at `position`, which is one more than its entries so far. Raises
        `ConflictError` when it is another by now, and nothing is written.
        """

    def write(self, draft: Draft, personal: Personal | None = None) -> Entry:
        """The same for all that an entry can say, and for what must not be in it."""

    def entries(self, action: str = "", *, stream: str = "") -> list[Entry]:
        """All entries, or those of one action, or of one stream, oldest first."""


class _Appending:
    """`append` in terms of `write`."""

    def append(
        self,
        action: str,
        subject: str,
        *,
        digest: str,
        reason: str = "",
        run_id: str | None = None,
        actor: str | Actor | None = None,
        details: dict[str, Any] | None = None,
        stream: str = "",
        position: int | None = None,
    ) -> int:
        """As `AppendOnlyLedger.append`."""
        draft = Draft(
            by=actor_of(actor),
            action=action,
            subject=subject,
            digest=digest,
            reason=reason,
            run_id=run_id,
            details=details or {},
            stream=stream,
            position=position,
        )
        return self.write(draft).sequence

    def write(self, draft: Draft, personal: Personal | None = None) -> Entry:
        raise NotImplementedError


class Ledger(_Appending):
    """The ledger in the state database."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def write(self, draft: Draft, personal: Personal | None = None) -> Entry:
        """As `AppendOnlyLedger.write`. Raises `ResourceError` where the database refuses."""
        with self.page() as page:
            return page.write(draft, personal)

    @contextlib.contextmanager
    def page(self) -> Iterator[Page]:
        """Several entries, and rows of other tables, in one transaction: all or nothing.

        Until the block ends nobody else can append, so that what it reads is what it decides on.
        """
        with troubles(self.engine, "written"), self.engine.connect() as connection:
            page = Page(connection, *_head(connection, self.engine))
            yield page
            connection.commit()
        _seen[self.engine] = (page.frontier, page.last)

    def entries(self, action: str = "", *, stream: str = "") -> list[Entry]:
        """As `AppendOnlyLedger.entries`."""
        with self.engine.connect() as connection:
            return _entries(connection, (action,) if action else (), stream)

    def last(self, stream: str) -> Entry | None:
        """The newest entry of a stream."""
        query = select(ledger.c.entry).where(ledger.c.stream == stream)
        query = query.order_by(ledger.c.position.desc()).limit(1)
        with self.engine.connect() as connection:
            data = connection.execute(query).scalar()
        return form.read(data) if data else None

    def entries_of(self, actions: Sequence[str]) -> list[Entry]:
        """The entries of some actions, oldest first."""
        with self.engine.connect() as connection:
            return _entries(connection, actions, "")


@dataclass
class Page:
    """What is written in one transaction."""

    connection: Connection  # for other tables that must change with it
    frontier: Frontier
    last: bytes  # leaf hash of the last entry

    def write(self, draft: Draft, personal: Personal | None = None) -> Entry:
        """As `AppendOnlyLedger.write`."""
        _require_both(draft.stream, draft.position)
        if draft.position is not None:
            _require_next(draft, self._length(draft.stream))
        salt, payload = secrets.token_bytes(SALT_BYTES), b""
        if personal is not None:
            payload = canonical(personal.payload)
            draft = _bound(draft, commitment(salt, payload))
        sequence = self.frontier.size + 1
        data = form.written(draft, sequence=sequence, id=str(uuid.uuid4()), at=datetime.now(UTC))
        leaf = leaf_hash(data)
        self.connection.execute(
            insert(ledger).inline(), {"sequence": sequence, "entry": data.decode(), "leaf": leaf}
        )
        self.frontier, completed = self.frontier.add(leaf)
        self.last = leaf
        store(self.connection, completed)
        if personal is not None:
            row = {"person": personal.person, "salt": salt, "payload": payload.decode()}
            self.connection.execute(insert(ledger_payloads), {"sequence": sequence, **row})
        return form.read(data)

    def entries(self, actions: Sequence[str] = (), *, stream: str = "") -> list[Entry]:
        """All, those of some actions, or of a stream, oldest first; nobody adds meanwhile."""
        return _entries(self.connection, actions, stream)

    def _length(self, stream: str) -> int:
        query = select(func.max(ledger.c.position)).where(ledger.c.stream == stream)
        return int(self.connection.execute(query).scalar() or 0)


class MemoryLedger(_Appending):
    """The same, for as long as the process lives: for simulations and tests."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._lock = threading.Lock()

    def write(self, draft: Draft, personal: Personal | None = None) -> Entry:
        """As `AppendOnlyLedger.write`; what is personal is bound to, and forgotten at once."""
        _require_both(draft.stream, draft.position)
        with self._lock:
            if draft.position is not None:
                _require_next(draft, sum(one.stream == draft.stream for one in self._entries))
            if personal is not None:
                salt = secrets.token_bytes(SALT_BYTES)
                draft = _bound(draft, commitment(salt, canonical(personal.payload)))
            entry = form.read(
                form.written(
                    draft,
                    sequence=len(self._entries) + 1,
                    id=str(uuid.uuid4()),
                    at=datetime.now(UTC),
                )
            )
            self._entries.append(entry)
            return entry

    def entries(self, action: str = "", *, stream: str = "") -> list[Entry]:
        """As `AppendOnlyLedger.entries`."""
        with self._lock:
            return [
                entry
                for entry in self._entries
                if action in ("", entry.action) and stream in ("", entry.stream)
            ]


_acting: Actor | None = None  # of this process: a thread acts as the process does


@contextlib.contextmanager
def acting_as(actor: Actor) -> Iterator[None]:
    """What this process does meanwhile is done by somebody whom the caller has authenticated."""
    global _acting
    before, _acting = _acting, actor
    try:
        yield
    finally:
        _acting = before


def present_user() -> str:
    """The id of who acts."""
    return present_actor().id


def present_actor() -> Actor:
    """Who acts: whom a token named, or else whom the operating system knows."""
    return _acting or os_actor()


def os_actor() -> Actor:
    """Who acts, as the operating system knows them."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's user without an entry in passwd
        name = f"uid-{os.getuid()}"
    return Actor(f"{name}@{socket.gethostname()}", name=name, authenticated="os")


def actor_of(actor: str | Actor | None) -> Actor:
    """A text is the id of somebody whom the caller knows."""
    if actor is None or actor == "":
        return present_actor()
    return actor if isinstance(actor, Actor) else Actor(actor)


def _entries(connection: Connection, actions: Sequence[str], stream: str) -> list[Entry]:
    # A stream is in the order of its positions too, and those have an index.
    query = select(ledger.c.entry).order_by(ledger.c.position if stream else ledger.c.sequence)
    if actions:
        query = query.where(ledger.c.action.in_(actions))
    if stream:
        query = query.where(ledger.c.stream == stream)
    return [form.read(data) for (data,) in connection.execute(query)]


def _head(connection: Connection, engine: Engine) -> tuple[Frontier, bytes]:
    """Takes the lock, and gives the frontier and the last leaf.

    From memory, where the database goes on from what is remembered.
    """
    known, last = _seen.get(engine, (Frontier(), b""))
    rows = _locked(connection, known.size)
    leaves = [bytes(leaf) for _, leaf in rows]
    # Else: nothing is remembered, there is too much to catch up with, or another database has
    # taken the place of this one.
    if known.size and leaves[:1] == [last] and _follow(rows, known.size):
        return known.with_all(leaves[1:]), leaves[-1]
    tree = StoredTree(connection)
    size = tree.size()
    return tree.frontier(size), tree.hash_of(size - 1, size) if size else b""


def _locked(connection: Connection, size: int) -> list[Any]:
    """One appends at a time: until the transaction ends. Returns the rows from `size` on."""
    rows = f"SELECT sequence, leaf FROM ledger WHERE sequence >= {size:d}"
    rows += f" ORDER BY sequence LIMIT {BLOCK if size else 0}"
    if connection.dialect.name != "postgresql":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        return list(connection.exec_driver_sql(rows).all())
    # In one go: each round trip to the server is time that others wait. The second statement sees
    # what was committed until it begins, which is after the lock was given.
    cursor: Any = connection.connection.cursor()
    try:
        cursor.execute(f"SELECT pg_advisory_xact_lock({LOCK}); {rows}", prepare=False)
        cursor.nextset()
        return list(cursor.fetchall())
    finally:
        cursor.close()


def _follow(rows: list[Any], size: int) -> bool:
    """Whether these are all that follow, without a gap."""
    return len(rows) < BLOCK and rows[-1][0] - size == len(rows) - 1


def _bound(draft: Draft, to: str) -> Draft:
    return msgspec.structs.replace(draft, commitment=to)


def _require_both(stream: str, position: int | None) -> None:
    if bool(stream) != (position is not None):
        raise ValueError("an entry of a stream has a position, and no other has one")


def _require_next(draft: Draft, length: int) -> None:
    if draft.position != length + 1:
        raise ConflictError(
            f"somebody else wrote to {draft.stream} at the same time: entry {draft.position} is "
            "not its next one",
            hint="look at it again, and repeat what still makes sense",
        )
