"""`POST /triggers` beside the controller: a program asks for a run.

    {"reason": "the shop changed its prices", "cause": "data", "key": "prices-2026-11"}

Nothing is started here: the request is in the ledger, and the next `penstock triggers check`
decides on it, with its cool-down and budget. The same key again is the same request.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from penstock.audit.ledger import Ledger
from penstock.monitoring.trigger_book import REQUESTED, request
from penstock.monitoring.triggers import Kind
from penstock.rollout.api import Hook
from penstock.rollout.service import Desk
from penstock.serving.access import TRIGGERS

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    """What it takes."""

    reason: Text
    cause: Literal["webhook", "drift", "performance", "freshness", "data"] = "webhook"
    key: Annotated[str, msgspec.Meta(max_length=128)] = ""  # of this request; empty: its own


def received(desk: Desk, told: Asked) -> tuple[int, dict[str, Any]]:
    """The number of the entry that asks for a run; 202, or 200 where it was known."""
    model = desk.project.settings.model_name
    with Ledger(desk.engine).page() as page:
        for entry in page.entries((REQUESTED,)) if told.key else ():
            if entry.details.get("key") == told.key:
                return 200, {"request": entry.sequence, "result": "known"}
        draft = request(model, Kind(told.cause), told.reason, by=desk.by, key=told.key)
        return 202, {"request": page.write(draft).sequence, "result": "asked"}


HOOK = Hook("/triggers", TRIGGERS, Asked, received)
