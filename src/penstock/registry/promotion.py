"""An approved version becomes the champion: an entry in the ledger first, then the alias."""

from __future__ import annotations

from sqlalchemy import Engine

from penstock.audit.approvals import approve
from penstock.errors import ModelError
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
    set_alias(project, found.name, CHAMPION, version)
    return find(project, version)
