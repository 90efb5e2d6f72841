"""Which version may go to production, and which one is the champion there.

An approval is of exact bytes; a rollout brings them to production and then makes them the champion:
an entry in the ledger first, then the alias in MLflow.
"""

from __future__ import annotations

import contextlib

from sqlalchemy import Engine

from penstock.audit.approvals import approve, champion_label, record_champion
from penstock.errors import ConflictError, ModelError
from penstock.project import Project
from penstock.registry.versions import CHAMPION, Found, fetch, find, set_alias


def approve_for_production(
    project: Project, database: Engine, version: int, *, meaning: str
) -> Found:
    """Approves exactly the registered bytes. Only a version that passed staging can be approved."""
    found = find(project, version)
    if "penstock.integration" not in found.tags:
        raise ModelError(
            f"{found.label} has not passed the integration tests of staging",
            hint="only a version that a whole run brought there can be approved",
        )
    fetch(project, version, found.digest)
    approve(database, found.label, digest=found.digest, target="production", meaning=meaning)
    return find(project, version)


def make_champion(
    project: Project,
    database: Engine,
    label: str,
    digest: str,
    *,
    reason: str,
    actor: str,
    occasion: str = "",
) -> None:
    """Makes a version the champion, which later models are compared with. May be repeated.

    On one `occasion` it becomes so once: who slept meanwhile undoes nothing that came later.
    """
    if champion_label(database) != label:
        with contextlib.suppress(ConflictError):  # somebody else was faster
            record_champion(
                database, label, digest=digest, reason=reason, actor=actor, occasion=occasion
            )
    _follow_the_ledger(project, database)


def _follow_the_ledger(project: Project, database: Engine) -> None:
    """The alias is of whom the ledger calls the champion, also where that changes meanwhile."""
    told = ""
    while (champion := champion_label(database)) != told:
        name, _, version = champion.rpartition("@")
        set_alias(project, name, CHAMPION, int(version))
        told = champion
