"""Which model version is the champion: a fold of the ledger."""

from __future__ import annotations

from sqlalchemy import Engine

from penstock.audit.ledger import Ledger

PROMOTED = "model.promoted"


def record_champion(
    engine: Engine, label: str, *, digest: str, reason: str, actor: str, occasion: str = ""
) -> int:
    """Records that a version is the champion from now on; returns the entry's number.

    Of one `occasion`, it is recorded once: raises `ConflictError` where it was.
    """
    return Ledger(engine).append(
        PROMOTED,
        label,
        digest=digest,
        reason=reason,
        actor=actor,
        stream=occasion,
        position=1 if occasion else None,
    )


def champion_label(engine: Engine) -> str:
    """name@version of the champion, "none" before the first."""
    found = Ledger(engine).entries(PROMOTED)
    return found[-1].subject if found else "none"
