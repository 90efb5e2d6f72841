"""Which version is the champion in production.

A rollout brings it there and then makes it the champion: an entry in the ledger first, then the
aliases in MLflow.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from sqlalchemy import Engine

from penstock.audit.ledger import Entry, Ledger
from penstock.errors import ConflictError, IntegrityError, ModelError
from penstock.project import Project
from penstock.registry.aliases import follow_the_ledger
from penstock.registry.champions import (
    PROMOTION,
    ROLLBACK,
    Champion,
    Standing,
    crown,
    standing,
)
from penstock.registry.versions import CHAMPION, Found, fetch, versions
from penstock.state.rollouts import in_quarantine


def make_champion(
    project: Project,
    database: Engine,
    label: str,
    digest: str,
    *,
    reason: str,
    actor: str,
    occasion: str = "",
    decision: str = PROMOTION,
) -> None:
    """Makes a version the champion, which later models are compared with. May be repeated.

    On one `occasion` it becomes so once: who slept meanwhile undoes nothing that came later.
    """
    one = Champion(label, digest)
    with contextlib.suppress(ConflictError), Ledger(database).page() as page:
        crown(page, one, reason=reason, actor=actor, occasion=occasion, decision=decision)
    follow_the_ledger(project, database)


def promote(
    project: Project,
    database: Engine,
    found: Found,
    *,
    expected: str,
    agreed: Callable[[], tuple[str, ...]],
    reason: str = "",
    actor: str = "",
) -> Entry | None:
    """Makes an approved version the champion in place of `expected`, which is archived.

    `agreed` gives the ids of the approvals, or raises where they do not suffice; it is asked while
    nobody else can write. None where it is the champion; the aliases are put right all the same.
    Raises `ConflictError` where another one became the champion meanwhile, `IntegrityError` for
    bytes in quarantine or without a signature.
    """
    refuse_quarantined(database, found.label, found.digest)
    fetch(project, found.version, found.digest)
    with Ledger(database).page() as page:
        entry = crown(
            page,
            Champion(found.label, found.digest),
            reason=reason,
            actor=actor,
            expected=expected,
            approvals=agreed(),
        )
    follow_the_ledger(project, database)
    return entry


def take_back(
    project: Project, database: Engine, to: Champion, *, expected: str, reason: str, actor: str = ""
) -> Entry | None:
    """Makes a version that was the champion before the champion again.

    Raises `ConflictError` and `IntegrityError` as `promote`.
    """
    refuse_quarantined(database, to.label, to.digest)
    with Ledger(database).page() as page:
        entry = crown(page, to, reason=reason, actor=actor, expected=expected, decision=ROLLBACK)
    follow_the_ledger(project, database)
    return entry


def former_champion(present: Standing, label: str = "") -> Champion:
    """Who becomes the champion again: the one before, or a version that was it once.

    Raises `ModelError` where there is none.
    """
    if label:
        found = next((one for one in reversed(present.line[:-1]) if one.label == label), None)
        if found is None:
            before = ", ".join(one.label for one in present.line[:-1]) or "none"
            raise ModelError(
                f"{label} was not the champion before {present.label}",
                hint=f"those before it: {before}; `penstock rollout start` brings any other",
            )
        return found
    if present.previous is None:
        raise ModelError(
            f"there is no champion before {present.label}",
            hint="`penstock models list` shows the versions",
        )
    return present.previous


def refuse_quarantined(database: Engine, label: str, digest: str) -> None:
    """Raises `IntegrityError` for bytes that a rollout took back."""
    if one := in_quarantine(database, digest):
        raise IntegrityError(
            f"{label} is in quarantine since {one.at:%Y-%m-%d %H:%M} UTC: {one.reason}",
            hint=f"see `penstock rollout show {one.rollout}`; choose another version",
        )


def champion_of(project: Project, database: Engine) -> Found | None:
    """The champion by the ledger; by MLflow's alias where the ledger has none yet."""
    label = standing(database).label
    found = versions(project)
    if named := next((one for one in found if one.label == label), None):
        return named
    return next((one for one in found if CHAMPION in one.aliases), None)
