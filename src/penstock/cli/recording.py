"""Entries of the ledger about commands that change what others depend on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock.project import Project


def recorded(
    project: Project, action: str, subject: str, *, digest: str = "", **details: Any
) -> int:
    """Writes who did what, now that it is done; returns the entry's number."""
    from penstock.audit.ledger import Ledger
    from penstock.state.database import open_database

    return Ledger(open_database(project)).append(action, subject, digest=digest, details=details)
