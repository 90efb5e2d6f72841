"""What is kept beside the ledger, bound to it by salted commitments, and can be forgotten.

Erasing destroys salt and payload, and appends an entry that says so without saying of whom. The
leaf stays as it was: everything still verifies, and the commitment tells nothing without its salt.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, delete, select, text

from penstock.audit.blocks import Finding, ranges
from penstock.audit.canonical import commitment
from penstock.audit.entries import Actor, Draft, moment_text, read
from penstock.audit.holds import PLACED, RELEASED, Hold, standing
from penstock.audit.ledger import Ledger, Page
from penstock.errors import ConflictError, IntegrityError, UsageError
from penstock.state.forgetting import overwrite_deleted
from penstock.state.tables import ledger, ledger_payloads

ERASED = "audit.erased"
EXPIRED = "audit.expired"
FORGOTTEN = (ERASED, EXPIRED)


@dataclass(frozen=True)
class Forgotten:
    """What was destroyed."""

    entries: tuple[int, ...]  # whose payload is gone
    sequence: int | None  # of the entry that says so; None where there was nothing to do
    held: int = 0  # payloads that a hold keeps


def payload_of(engine: Engine, sequence: int) -> dict[str, Any] | None:
    """What goes with an entry; None where there is nothing, or nothing any more.

    Raises `IntegrityError` for one that the entry is not bound to.
    """
    query = select(ledger_payloads.c.salt, ledger_payloads.c.payload, ledger.c.entry)
    query = query.join(ledger, ledger.c.sequence == ledger_payloads.c.sequence)
    with engine.connect() as connection:
        row = connection.execute(query.where(ledger.c.sequence == sequence)).one_or_none()
    if row is None:
        return None
    if commitment(bytes(row.salt), row.payload.encode()) != read(row.entry).commitment:
        raise IntegrityError(f"the payload of entry {sequence} is not the one that was written")
    return dict(json.loads(row.payload))


def erase(
    book: Ledger,
    person: str,
    *,
    reason: str,
    by: Actor,
    request_id: str = "",
    also: Mapping[str, Any] | None = None,
    elsewhere: Sequence[str] = (),
) -> Forgotten:
    """Forgets all that the ledger keeps about a person.

    `also` is told in the entry: what the caller destroyed `elsewhere`, in numbers and without
    names; whether that is allowed says `require_erasable`, beforehand. Raises `UsageError` where
    nothing is kept, `ConflictError` while a hold stands.
    """
    with book.page() as page:
        rows = _rows(page, person=person)
        if not rows and not also:
            raise UsageError(
                "nothing is kept about that person", hint="the id must be exactly as it was given"
            )
        _refuse_held(page, rows, person, elsewhere)
        draft = Draft(
            by=by,
            action=ERASED,
            subject="person",
            reason=reason,
            request_id=request_id,
            details=_told(rows, also),
        )
        forgotten = _forget(page, rows, draft)
    _leave_no_trace(book)
    return forgotten


def require_erasable(book: Ledger, person: str, elsewhere: Sequence[str] = ()) -> None:
    """Raises `ConflictError` while a hold stands over anything about a person.

    `elsewhere` names what is kept outside of the ledger, as actions: "prediction.logged".
    """
    with book.page() as page:
        _refuse_held(page, _rows(page, person=person), person, elsewhere)


def expire(
    book: Ledger, retention: Mapping[str, timedelta], now: datetime, *, by: Actor
) -> Forgotten:
    """Forgets payloads that are older than their class of event may be.

    The longest beginning of an action counts; what has none is kept. Held ones are left, and told.
    """
    with book.page() as page:
        due = [
            row
            for row in _rows(page)
            if (span := _span(retention, row.action)) is not None
            and row.at < moment_text(now - span)
        ]
        holds = _holds(page)
        kept = [row for row in due if any(_covers(page, hold, [row], row.person) for hold in holds)]
        rows = [row for row in due if row not in kept]
        if not rows:
            return Forgotten((), None, len(kept))
        told = {**_told(rows, None), "retention": {k: f"{v.days}d" for k, v in retention.items()}}
        draft = Draft(by=by, action=EXPIRED, subject="payloads", details=told)
        forgotten = _forget(page, rows, draft, held=len(kept))
    _leave_no_trace(book)
    return forgotten


def payload_findings(
    connection: Connection, committed: Sequence[tuple[int, str]], *, since: int
) -> tuple[list[int], list[Finding]]:
    """Entries whose payload was destroyed, and what is wrong with those of entries after `since`.

    Destroyed without an entry that says so is wrong.
    """
    bound = dict(committed)
    query = select(ledger_payloads).where(ledger_payloads.c.sequence > since)
    there, findings = set[int](), list[Finding]()
    for row in connection.execute(query):
        number = row.sequence
        there.add(number)
        if commitment(bytes(row.salt), row.payload.encode()) != bound.get(number):
            message = f"entry {number} is not bound to its payload"
            findings.append(Finding("payload", number, number, message))
    gone = [number for number in bound if number > since and number not in there]
    told = _told_as_gone(connection) if gone else set()
    findings += [
        Finding("payload", number, number, f"the payload of entry {number} is gone, unsaid")
        for number in gone
        if number not in told
    ]
    return [number for number in gone if number in told], findings


def forgotten_entries(engine: Engine) -> set[int]:
    """Entries that say that their payload is gone, by number."""
    with engine.connect() as connection:
        return _told_as_gone(connection)


def _told_as_gone(connection: Connection) -> set[int]:
    query = select(ledger.c.entry).where(ledger.c.action.in_(FORGOTTEN))
    return {
        number
        for (data,) in connection.execute(query)
        for first, last in read(data).details["entries"]
        for number in range(first, last + 1)
    }


def _rows(page: Page, person: str = "") -> Sequence[Any]:
    columns = ledger_payloads.c.sequence, ledger_payloads.c.person, ledger.c.action, ledger.c.at
    query = select(*columns).join(ledger, ledger.c.sequence == ledger_payloads.c.sequence)
    if person:
        query = query.where(ledger_payloads.c.person == person)
    return page.connection.execute(query.order_by(ledger_payloads.c.sequence)).all()


def _holds(page: Page) -> list[Hold]:
    return standing(page.entries((PLACED, RELEASED)))


def _refuse_held(
    page: Page, rows: Sequence[Any], person: str, elsewhere: Sequence[str] = ()
) -> None:
    for hold in _holds(page):
        if _covers(page, hold, rows, person, elsewhere):
            raise ConflictError(
                f"nothing about that person can be erased: the hold {hold.name} stands",
                hint=f"penstock audit hold {hold.name} --release, when it is over",
            )


def _covers(
    page: Page, hold: Hold, rows: Sequence[Any], person: str, elsewhere: Sequence[str] = ()
) -> bool:
    if hold.about_person:
        query = select(ledger_payloads.c.person).where(ledger_payloads.c.sequence == hold.placed)
        if page.connection.execute(query).scalar() != person:
            return False
    actions = [*(row.action for row in rows), *elsewhere]
    return any(action.startswith(hold.actions) for action in actions) or not actions


def _span(retention: Mapping[str, timedelta], action: str) -> timedelta | None:
    classes = [one for one in retention if action.startswith(one)]
    return retention[max(classes, key=len)] if classes else None


def _told(rows: Sequence[Any], also: Mapping[str, Any] | None) -> dict[str, Any]:
    entries = [list(one) for one in ranges(row.sequence for row in rows)]
    return {"entries": entries, **({"also": dict(also)} if also else {})}


def _forget(page: Page, rows: Sequence[Any], draft: Draft, held: int = 0) -> Forgotten:
    overwrite_deleted(page.connection)
    numbers = tuple(row.sequence for row in rows)
    for number in numbers:
        page.connection.execute(delete(ledger_payloads).where(ledger_payloads.c.sequence == number))
    return Forgotten(numbers, page.write(draft).sequence, held)


def _leave_no_trace(book: Ledger) -> None:
    """SQLite's write-ahead log holds the old pages until it is emptied."""
    if book.engine.dialect.name == "sqlite":
        with book.engine.connect() as connection:
            connection.execute(text("PRAGMA busy_timeout=2000"))  # readers may keep it: then later
            connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
