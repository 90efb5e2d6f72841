"""Questions to the ledger: which entries, newest first."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, Select, func, select

from penstock.audit.entries import Entry, moment_text, read
from penstock.errors import UsageError
from penstock.state.tables import ledger


@dataclass(frozen=True)
class Selection:
    """Empty is any."""

    action: str = ""  # or a beginning of actions, such as "rollout."
    subject: str = ""
    actor: str = ""  # its id
    stream: str = ""
    digest: str = ""  # of the artefact, or a beginning of it
    run_id: str = ""
    since: datetime | None = None


def selected(engine: Engine, selection: Selection, *, limit: int | None = None) -> list[Entry]:
    """The newest first."""
    query = _where(select(ledger.c.entry), selection).order_by(ledger.c.sequence.desc())
    with engine.connect() as connection:
        return [read(data) for (data,) in connection.execute(query.limit(limit))]


def entries_about(
    engine: Engine, digests: Collection[str], subjects: Collection[str]
) -> list[Entry]:
    """All entries about an artefact of one of these digests, or one of these subjects; in order."""
    about = ledger.c.digest.in_(digests) | ledger.c.subject.in_(subjects)
    query = select(ledger.c.entry).where(about).order_by(ledger.c.sequence)
    with engine.connect() as connection:
        return [read(data) for (data,) in connection.execute(query)]


def numbers_of(engine: Engine, selection: Selection) -> list[int]:
    """The sequence numbers of all that are selected, ascending."""
    query = _where(select(ledger.c.sequence), selection).order_by(ledger.c.sequence)
    with engine.connect() as connection:
        return list(connection.execute(query).scalars())


def entry_named(engine: Engine, name: str) -> Entry:
    """The entry of a sequence number or an id. Raises `UsageError`."""
    query = select(ledger.c.entry)
    if name.isdecimal():
        query = query.where(ledger.c.sequence == int(name))
    else:
        query = query.where(ledger.c.entry.contains(f'"id":"{name}"', autoescape=True))
    with engine.connect() as connection:
        found = connection.execute(query).scalar()
    if found is None:
        raise UsageError(
            f"the ledger has no entry {name!r}", hint="`penstock audit log` shows what it has"
        )
    return read(found)


def _where(query: Select[Any], selection: Selection) -> Select[Any]:
    columns = ledger.c
    for name in ("subject", "actor", "stream", "run_id"):
        if value := getattr(selection, name):
            query = query.where(columns[name] == value)
    for name in ("action", "digest"):
        if value := getattr(selection, name):
            query = query.where(func.substr(columns[name], 1, len(value)) == value)
    if selection.since is not None:
        query = query.where(columns.at >= moment_text(selection.since))
    return query
