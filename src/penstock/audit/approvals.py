"""Who let which model version go to production. The present champion is the fold of the entries."""

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


def champion_label(engine: Engine) -> str:
    """name@version of the version approved last, "none" before the first."""
    found = approvals(engine)
    return found[-1].subject if found else "none"
