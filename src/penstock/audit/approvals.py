"""Who let which model version go to production: a fold of entries."""

from __future__ import annotations

from sqlalchemy import Engine

from penstock.audit.ledger import Entry, Ledger

APPROVED = "model.approved"


def approve(engine: Engine, label: str, *, digest: str, target: str, meaning: str) -> int:
    """Records an approval of exactly these bytes for a target; returns the entry's number."""
    return Ledger(engine).append(
        APPROVED, label, digest=digest, reason=meaning, details={"target": target}
    )


def approvals(engine: Engine) -> list[Entry]:
    return Ledger(engine).entries(APPROVED)
