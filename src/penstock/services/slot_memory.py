"""What is remembered of the schedule: a stream of the ledger.

A slot is claimed before it is done. The claim is written at a position of the stream, so that of
two schedulers that want the same slot one is refused.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine

from penstock.audit.ledger import Ledger
from penstock.errors import ConflictError
from penstock.services.slots import Decision, Stage, Standing


@dataclass(frozen=True)
class SlotMemory:
    """The schedule of a project in one environment."""

    engine: Engine
    project: str
    environment: str

    @property
    def stream(self) -> str:
        return f"schedule:{self.environment}"

    def standing(self) -> Standing | None:
        """None before the schedule has begun."""
        last = Ledger(self.engine).last(self.stream)
        if last is None:
            return None
        stage = Stage(last.action.removeprefix("schedule."))
        slot = datetime.fromisoformat(last.details["slot"])
        return Standing(stage, slot, int(last.details.get("attempt", 0)), last.position or 0)

    def begin(self, since: datetime) -> Standing:
        """From which moment slots count, where nothing is remembered yet."""
        with contextlib.suppress(ConflictError):  # another scheduler was faster
            self._write(Stage.BEGUN, since, 1)
        found = self.standing()
        assert found is not None
        return found

    def claim(self, decision: Decision, standing: Standing) -> Standing:
        """What stands afterwards. Raises `ConflictError` where another scheduler was faster."""
        claimed = Standing(
            Stage.CLAIMED, decision.slot, decision.attempt, position=standing.position + 1
        )
        self._write(
            Stage.CLAIMED,
            claimed.slot,
            claimed.position,
            reason=decision.reason,
            attempt=claimed.attempt,
        )
        return claimed

    def end(self, claimed: Standing, status: str, reason: str) -> None:
        """Raises `ConflictError` where another scheduler went on with it."""
        self._write(Stage.ENDED, claimed.slot, claimed.position + 1, reason=reason, status=status)

    def _write(
        self, stage: Stage, slot: datetime, position: int, reason: str = "", **details: object
    ) -> None:
        Ledger(self.engine).append(
            f"schedule.{stage}",
            self.project,
            digest="",
            reason=reason,
            details={"slot": slot.isoformat(), **details},
            stream=self.stream,
            position=position,
        )
