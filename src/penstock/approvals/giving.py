"""What people say of a version: approve, reject, break the glass, and look at that afterwards.

Each is signed with the person's own key, and an entry of the ledger.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine

from penstock.access.administration import add_key
from penstock.access.own_key import make_own_key, own_key
from penstock.access.users import directory
from penstock.approval_settings import ApprovalPolicy
from penstock.approvals.book import (
    APPROVED,
    BROKE_GLASS,
    REJECTED,
    REVIEWED,
    VERDICTS,
    read_book,
)
from penstock.approvals.decision import version_of
from penstock.approvals.statement import Statement, signed
from penstock.audit.entries import Actor, Draft, Entry
from penstock.audit.ledger import Ledger, present_actor
from penstock.audit.notes import SigningKey
from penstock.errors import AccessError, IntegrityError, ModelError, UsageError
from penstock.project import PRODUCTION, Project
from penstock.registry.versions import TESTED_TAG, Found, fetch


def approve(project: Project, engine: Engine, found: Found, target: str, *, meaning: str) -> Entry:
    """Agrees that exactly the registered bytes serve a target.

    Raises `AccessError` where the approval would not count, `ModelError` for a version that did not
    pass staging, `IntegrityError` for one whose files or digests changed.
    """
    policy, by = project.settings.approval_of(target), present_actor()
    require_approvable(project, engine, found, target, by, datetime.now(UTC))
    return _sign(engine, found, target, policy, APPROVED, by, meaning)


def reject(project: Project, engine: Engine, found: Found, target: str, *, meaning: str) -> Entry:
    """Says no; it stands until the same person approves."""
    policy = project.settings.approval_of(target)
    return _sign(engine, found, target, policy, REJECTED, present_actor(), meaning)


def break_glass(
    project: Project, engine: Engine, found: Found, target: str, *, meaning: str, reason: str
) -> Entry:
    """Lets it in for a while without those who should agree. Raises `AccessError`, `ModelError`."""
    policy = project.settings.approval_of(target)
    if not policy.break_glass:
        raise AccessError(
            f"no glass may be broken for {target}", hint=f"[approvals.{target}] break_glass is 0s"
        )
    if not reason.strip():
        raise UsageError("breaking the glass needs a reason", hint="say why with --reason")
    _require_tested(found)
    fetch(project, found.version, found.digest)
    said = f"{meaning}: {reason}" if meaning else reason
    return _sign(engine, found, target, policy, BROKE_GLASS, present_actor(), said, reason)


def review(engine: Engine, model: str, *, reason: str) -> list[Entry]:
    """Looks at the broken glasses of a version. Raises `UsageError`; `AccessError` for own ones."""
    by = present_actor()
    book = read_book(engine)
    open_ones = [one for one in book.open_glasses() if one.model == model]
    if not open_ones:
        raise UsageError(f"no broken glass of {model} waits for a review")
    others = [one for one in open_ones if one.person != by.id]
    if not others:
        raise AccessError(
            f"{by.id} broke the glass for {model} and cannot review that",
            hint="another person must look at it",
        )
    with Ledger(engine).page() as page:
        return [
            page.write(
                Draft(
                    by=by,
                    action=REVIEWED,
                    subject=model,
                    digest=one.digest,
                    reason=reason,
                    approvals=(one.entry,),
                    details={"entry": one.entry, "target": one.target},
                )
            )
            for one in others
        ]


def require_target(project: Project, target: str) -> None:
    """Raises `UsageError` for what is no endpoint of the project."""
    settings = project.settings
    known = sorted({PRODUCTION, *settings.serving.ports, *settings.approvals})
    if target not in known:
        raise UsageError(
            f"no endpoint of this project is called {target!r}; there are {', '.join(known)}",
            hint=f"to have one: [serving] ports, or [approvals.{target}]",
        )


def require_approvable(
    project: Project, engine: Engine, found: Found, target: str, by: Actor, now: datetime
) -> None:
    """That an approval by somebody would count. Raises as `approve` does."""
    _require_tested(found)
    fetch(project, found.version, found.digest)
    book = read_book(engine, digest=found.digest)
    _require_unchanged(found, book.digests(found.digest, found.label))
    policy = project.settings.approval_of(target)
    if why := book.refusal(policy, by.id, found.digest, found.label, now):
        raise AccessError(
            f"{by.id} cannot approve {found.label} for {target}: {why}",
            hint="another person must approve it",
        )


def written(
    engine: Engine,
    statement: Statement,
    envelope: dict[str, Any],
    action: str,
    by: Actor,
    reason: str = "",
) -> Entry:
    """The entry of a statement that was signed."""
    return Ledger(engine).write(
        Draft(
            by=by,
            action=action,
            subject=statement.model,
            digest=statement.digest,
            reason=reason or statement.meaning,
            digests=dict(statement.digests),
            environment=statement.target,
            policy=statement.policy,
            decision=statement.verdict,
            details={"target": statement.target, "envelope": envelope},
        )
    )


def _sign(
    engine: Engine,
    found: Found,
    target: str,
    policy: ApprovalPolicy,
    action: str,
    by: Actor,
    meaning: str,
    reason: str = "",
) -> Entry:
    if not meaning.strip():
        raise UsageError("what is signed needs a meaning", hint="say it with --meaning")
    statement = Statement(
        VERDICTS[action],
        found.label,
        found.digest,
        target,
        meaning,
        by.id,
        datetime.now(UTC),
        version_of(policy),
        found.digests,
    )
    envelope = signed(statement, _key_of(engine, by.id))
    return written(engine, statement, envelope, action, by, reason)


def _key_of(engine: Engine, person: str) -> SigningKey:
    """Their private key, made known by somebody who may. Raises `AccessError`."""
    known = directory(engine)
    if known.began is None:  # on a laptop: theirs is made when it is needed
        key = make_own_key(person)
        if known.key_of(person) != str(key.verifying):
            add_key(engine, person, str(key.verifying), by=present_actor())
        return key
    key = own_key(person)
    if known.key_of(person) != str(key.verifying):
        raise AccessError(
            f"nobody has made the key of {person} known: what it signs counts for nothing",
            hint=f"an admin types: penstock users key {person} --add '{key.verifying}'",
        )
    return key


def _require_tested(found: Found) -> None:
    if TESTED_TAG not in found.tags:
        raise ModelError(
            f"{found.label} has not passed the integration tests of staging",
            hint="only a version that a whole run brought there can be approved",
        )


def _require_unchanged(found: Found, registered: dict[str, str] | None) -> None:
    now = found.digests
    changed = [name for name, digest in (registered or {}).items() if now.get(name, "") != digest]
    if changed:
        raise IntegrityError(
            f"the registry has another digest of {', '.join(changed)} than was registered with "
            f"{found.label}",
            hint="its tags were changed since: find out by whom before you approve it",
        )
