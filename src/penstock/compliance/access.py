"""The report on access and approvals: who may do what, who did what, and what was let through.

All of it is read from the ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import Engine, func, select

from penstock.audit.entries import Entry, moment_text, read
from penstock.audit.selection import Selection, selected
from penstock.compliance.document import Block, Document, Section, Statement, Table
from penstock.compliance.wording import moment, story
from penstock.project import Project
from penstock.state.tables import ledger

LEAD = "Who has access, how they are known, what they decided, and which exceptions were made."
CHANGES = ("user.", "token.", "key.")  # beginnings of actions that change who may do what
APPROVALS = ("model.approved", "model.rejected")
EXCEPTIONS = ("model.broke_glass", "model.glass_reviewed", "model.waived")


def access_report(
    project: Project, engine: Engine, now: datetime, since: datetime | None = None
) -> Document:
    """The document; `since` leaves out what was done before."""
    period = f"from {moment(since)} to {moment(now)}" if since else f"until {moment(now)}"
    sections = (
        Section.of("1", "Who acted", _actors(engine, since)),
        Section.of("2", "Approvals", _told(engine, since, APPROVALS, "No version was judged.")),
        Section.of("3", "Exceptions", _told(engine, since, EXCEPTIONS, "No exception was made.")),
        Section.of("4", "Changes of access", _told(engine, since, CHANGES, "Nothing was changed.")),
    )
    return Document(
        kind="Access and approval report",
        title=project.settings.project.name,
        lead=LEAD,
        at=now,
        head=(("Project", project.settings.project.name), ("Period", period)),
        sections=sections,
    )


def _told(engine: Engine, since: datetime | None, actions: Sequence[str], nothing: str) -> Block:
    found = _entries(engine, since, actions)
    return story(found, "") or Statement("None", nothing)


def _entries(engine: Engine, since: datetime | None, beginnings: Iterable[str]) -> list[Entry]:
    found = [
        entry
        for begins in beginnings
        for entry in selected(engine, Selection(action=begins, since=since))
    ]
    return sorted(found, key=lambda entry: entry.sequence)


def _actors(engine: Engine, since: datetime | None) -> Block:
    """Each who has written an entry: how they were known the last time, and when that was."""
    columns = ledger.c
    query = select(columns.actor, func.count(), func.min(columns.at), func.max(columns.sequence))
    if since:
        query = query.where(columns.at >= moment_text(since))
    rows = []
    with engine.connect() as connection:
        for actor, count, first, last in connection.execute(query.group_by(columns.actor)):
            content = select(columns.entry).where(columns.sequence == last)
            entry = read(connection.execute(content).scalar_one())
            known = entry.by.authenticated or "only said"
            begun = moment(datetime.fromisoformat(first))
            rows.append((actor, entry.by.name, known, f"{count:,}", begun, moment(entry.at)))
    heads = ("who", "name", "known by", "entries", "first", "last")
    return Table(heads, tuple(sorted(rows)), "Everybody who wrote to the ledger")
