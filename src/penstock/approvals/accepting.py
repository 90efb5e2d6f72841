"""Statements that were signed elsewhere, such as on a machine that has HTTP alone.

The person's private key stays with them. They are given what they would say (`blank`), put their
words and the time into it, sign it, and hand it in: it is theirs (`signed_by`), fresh, says no more
than is true, and is checked as at the command line (`accept`).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine

from penstock.access.users import directory
from penstock.approvals.book import APPROVED, REJECTED, VERDICTS, read_book
from penstock.approvals.decision import version_of
from penstock.approvals.giving import require_approvable, require_target, written
from penstock.approvals.statement import Statement, Verdict, document_of, verified
from penstock.audit.dsse import from_document
from penstock.audit.entries import Actor, Entry
from penstock.errors import AccessError, ConflictError, IntegrityError, UsageError
from penstock.project import Project
from penstock.registry.versions import Found

ACTIONS = {VERDICTS[action]: action for action in (APPROVED, REJECTED)}
FRESH, AHEAD = timedelta(hours=1), timedelta(minutes=1)  # a clock may be a little fast


def blank(project: Project, found: Found, target: str, by: Actor) -> dict[str, Any]:
    """The statement that somebody would sign now, as JSON; its `meaning` is theirs to say."""
    require_target(project, target)
    return document_of(_true_of(project, found, target, by))


def signed_by(engine: Engine, document: Any, by: Actor) -> Statement:
    """What an envelope says. Raises `IntegrityError` where somebody's known key has not signed."""
    key = directory(engine).key_of(by.id)
    return verified(from_document(document), [key] if key else [])


def accept(
    project: Project,
    engine: Engine,
    found: Found,
    statement: Statement,
    document: Any,
    by: Actor,
) -> Entry:
    """Writes an approval or a rejection into the ledger, with its envelope.

    `by` was authenticated by a token and may approve; `found` is the version that is named. Raises
    `IntegrityError` for what does not hold of it, `AccessError` where it would not count,
    `ConflictError` for what they said before, or have said otherwise since.
    """
    now = datetime.now(UTC)
    action = ACTIONS.get(statement.verdict)
    if action is None:
        raise UsageError(
            f"{statement.verdict!r} is not taken here",
            hint="the glass is broken at the command line: penstock models approve --break-glass",
        )
    require_target(project, statement.target)
    _require_true(statement, _true_of(project, found, statement.target, by))
    _require_now(engine, statement, now)
    if action == APPROVED:
        require_approvable(project, engine, found, statement.target, by, now)
    return written(engine, statement, document, action, by)


def _true_of(project: Project, found: Found, target: str, by: Actor) -> Statement:
    policy = version_of(project.settings.approval_of(target))
    return Statement(
        *(Verdict.APPROVED, found.label, found.digest, target, "", by.id, datetime.now(UTC)),
        policy,
        found.digests,
    )


def _require_true(statement: Statement, true: Statement) -> None:
    """All but the verdict, the words and the time must be as they are. Pure."""
    if statement.person != true.person:
        raise AccessError(f"{statement.person} signed this, and {true.person} hands it in")
    for name in ("model", "digest", "digests", "policy"):
        if getattr(statement, name) != getattr(true, name):
            raise IntegrityError(
                f"what was signed names another {name} than {statement.model} has now",
                hint="look at the version again, and sign what you see",
            )
    if not statement.meaning.strip():
        raise UsageError("what is signed needs a meaning", hint="say it in `meaning`")


def _require_now(engine: Engine, statement: Statement, now: datetime) -> None:
    """So that what was said once is not handed in again, by them or by whoever has their token."""
    if not now - FRESH <= statement.at <= now + AHEAD:
        raise IntegrityError(
            f"this was signed at {statement.at:%Y-%m-%d %H:%M:%S} UTC, it is {now:%H:%M:%S}",
            hint="sign it when you hand it in, by a clock that is right",
        )
    said = read_book(engine, digest=statement.digest).about(statement.digest, statement.target)
    if any(one.person == statement.person and one.at >= statement.at for one in said):
        raise ConflictError(
            f"{statement.person} has said this, or something newer, of {statement.model} already"
        )
