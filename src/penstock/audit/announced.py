"""Destruction is an entry first, and what became of it is another.

So that whoever is killed in between has left word of what may be gone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Engine

from penstock.audit.ledger import Draft, Ledger, present_actor


@contextlib.contextmanager
def announced(
    engine: Engine, going: str, gone: str, subject: str, details: dict[str, Any]
) -> Iterator[None]:
    """Around the deletion: `going` is written before it, `gone` after it, naming the first.

    Nothing is deleted where the ledger cannot be written. A deletion that fails is told as such,
    and its error passed on.
    """
    book, by = Ledger(engine), present_actor()
    before = book.write(Draft(by=by, action=going, subject=subject, details=details))
    outcome = "failed"
    try:
        yield
        outcome = "done"
    finally:
        book.write(
            Draft(
                by=by,
                action=gone,
                subject=subject,
                outcome=outcome,
                details=details | {"announced": before.sequence},
            )
        )
