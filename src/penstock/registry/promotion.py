"""Which version is the champion in production.

A rollout brings it there and then makes it the champion: an entry in the ledger first, then the
alias in MLflow.
"""

from __future__ import annotations

import contextlib

from sqlalchemy import Engine

from penstock.audit.approvals import champion_label, record_champion
from penstock.errors import ConflictError
from penstock.project import Project
from penstock.registry.versions import CHAMPION, set_alias


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
