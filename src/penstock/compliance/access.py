"""The report on access and approvals: who may do what, who did what, and what was let through.

All of it is read from the ledger, but for the names of users, which lie beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Engine, func, select

from penstock.access.users import Directory, User, named
from penstock.approvals.book import Book, pinned_keys, read_book
from penstock.approvals.decision import BrokenGlass, Signed
from penstock.audit.entries import Entry, moment_text, read
from penstock.audit.selection import Selection, selected
from penstock.compliance.document import Block, Document, Section, Statement, Table
from penstock.compliance.wording import moment, story
from penstock.project import Project
from penstock.state.tables import ledger

LEAD = "Who has access, how they are known, what they decided, and which exceptions were made."
CHANGES = ("user.", "token.", "key.")  # beginnings of actions that change who may do what
EXCEPTIONS = ("model.waived",)


class Acted(NamedTuple):
    """Somebody who wrote entries."""

    id: str
    known_by: str  # the last time
    entries: int
    first: datetime  # UTC
    last: datetime


def access_report(
    project: Project, engine: Engine, now: datetime, since: datetime | None = None
) -> Document:
    """The document; `since` leaves out what was done before."""
    book = read_book(engine, pinned_keys(project))
    acted = {one.id: one for one in _acted(engine, since)}
    sections = (
        Section.of("1", "Users", *_users(named(engine, book.directory), acted, now)),
        Section.of("2", "Who acted", _actors(acted.values())),
        Section.of("3", "Approvals and rejections", _signed(book, since)),
        Section.of("4", "Broken glass", _glasses(book, since)),
        Section.of("5", "Waivers", _told(engine, since, EXCEPTIONS, "Nothing was waived.")),
        Section.of("6", "Changes of access", _told(engine, since, CHANGES, "Nothing was changed.")),
    )
    name = project.settings.project.name
    period = f"from {moment(since)} to {moment(now)}" if since else f"until {moment(now)}"
    return Document(
        kind="Access and approval report",
        title=name,
        lead=LEAD,
        at=now,
        head=(("Project", name), ("Period", period)),
        sections=sections,
    )


def _users(directory: Directory, acted: Mapping[str, Acted], now: datetime) -> list[Block]:
    if not directory.users:
        text = "Whoever the operating system lets at the project may do everything."
        return [Statement("No users yet", text)]
    users = sorted(directory.users, key=lambda user: user.id)
    heads = ("user", "name", "role", "since entry", "roles before", "keys", "last acted")
    rows = tuple(
        (
            user.id,
            user.name,
            str(user.role),
            str(user.since),
            ", ".join(str(role or "removed") for _, role in user.history[:-1]) or "none",
            str(sum(key.until is None for key in directory.keys.get(user.id, ()))),
            moment(acted[user.id].last) if user.id in acted else "not in this period",
        )
        for user in users
    )
    tokens = tuple(row for user in users for row in _tokens(user, now))
    token_heads = ("token", "user", "scopes", "issued", "expires")
    return [Table(heads, rows), *([Table(token_heads, tokens, "Tokens")] if tokens else [])]


def _tokens(user: User, now: datetime) -> list[tuple[str, ...]]:
    return [
        (
            token.id,
            user.id,
            ", ".join(sorted(token.scopes)),
            moment(token.issued) if token.issued else "",
            ("never" if token.expires is None else moment(token.expires))
            if token.usable(now)
            else "HAS EXPIRED",
        )
        for token in user.tokens
    ]


def _actors(acted: Iterable[Acted]) -> Block:
    rows = tuple(
        (one.id, one.known_by, f"{one.entries:,}", moment(one.first), moment(one.last))
        for one in sorted(acted)
    )
    return Table(("who", "known by", "entries", "first", "last"), rows)


def _signed(book: Book, since: datetime | None) -> Block:
    """Statements whose signature was verified; others are as if they were not there."""
    found = [one for one in _within(book.signed, since) if not isinstance(one, BrokenGlass)]
    if not found:
        return Statement("None", "No version was judged.")
    heads = ("entry", "time", "who", "role then", "said", "model", "target", "meaning")
    rows = tuple(
        (
            str(one.sequence),
            moment(one.written),
            one.person,
            str(one.role or "no user"),
            one.verdict.value,
            one.model,
            one.target,
            one.meaning,
        )
        for one in found
    )
    return Table(heads, rows)


def _glasses(book: Book, since: datetime | None) -> Block:
    found = [one for one in _within(book.signed, since) if isinstance(one, BrokenGlass)]
    if not found:
        return Statement("None", "Nothing was let in without its approvals.")
    heads = ("entry", "time", "who", "model", "target", "why", "reviewed by")
    rows = tuple(
        (
            str(one.sequence),
            moment(one.written),
            one.person,
            one.model,
            one.target,
            one.meaning,
            one.reviewed_by or "NOBODY YET",
        )
        for one in found
    )
    return Table(heads, rows)


def _within(signed: Sequence[Signed], since: datetime | None) -> list[Signed]:
    return [one for one in signed if since is None or one.written >= since]


def _told(engine: Engine, since: datetime | None, actions: Sequence[str], nothing: str) -> Block:
    found: list[Entry] = []
    for begins in actions:
        found += selected(engine, Selection(action=begins, since=since))
    told = story(sorted(found, key=lambda entry: entry.sequence), "")
    return told or Statement("None", nothing)


def _acted(engine: Engine, since: datetime | None) -> list[Acted]:
    """Each who has written an entry: how they were known the last time, and when that was."""
    columns = ledger.c
    query = select(columns.actor, func.count(), func.min(columns.at), func.max(columns.sequence))
    if since:
        query = query.where(columns.at >= moment_text(since))
    found = []
    with engine.connect() as connection:
        for actor, count, first, last in connection.execute(query.group_by(columns.actor)):
            content = select(columns.entry).where(columns.sequence == last)
            entry = read(connection.execute(content).scalar_one())
            known_by = entry.by.authenticated or "only said"
            begun = datetime.fromisoformat(first)
            found.append(Acted(actor, known_by, count, begun, entry.at))
    return found
