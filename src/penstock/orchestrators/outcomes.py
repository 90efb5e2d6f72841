"""What becomes of a run and of its steps, and who is told while it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from penstock.errors import PenstockError
from penstock.records import Record, to_json


class Watcher(Protocol):
    """Is told what happens, from several threads."""

    def run_started(self, run_id: str, steps: list[str]) -> None: ...
    def waiting_for_other_run(self) -> None: ...
    def step_started(self, step: str, attempt: int) -> None: ...
    def step_progress(self, step: str, message: str, done: float | None) -> None: ...
    def step_ended(self, outcome: StepOutcome) -> None: ...


@dataclass(frozen=True)
class StepOutcome:
    step: str
    status: str  # succeeded, cached, failed, skipped
    seconds: float
    record: Record | None = None
    error: PenstockError | None = None
    log: Path | None = None
    attempts: int = 1


@dataclass(frozen=True)
class RunOutcome:
    run_id: str
    seconds: float
    steps: tuple[StepOutcome, ...]
    remarks: tuple[str, ...] = ()  # what beside the steps did not succeed: anchoring, sending

    @property
    def error(self) -> PenstockError | None:
        return next((s.error for s in self.steps if s.error is not None), None)

    def record(self, kind: type[Record]) -> Any:
        return next((s.record for s in self.steps if isinstance(s.record, kind)), None)


def summary(outcome: RunOutcome) -> Mapping[str, Any]:
    """The outcome as plain JSON values."""
    error = outcome.error
    return {
        "run": outcome.run_id,
        "status": "failed" if error else "succeeded",
        "seconds": round(outcome.seconds, 3),
        "error": error.as_dict() if error else None,
        "remarks": list(outcome.remarks),
        "steps": [
            {
                "step": step.step,
                "status": step.status,
                "seconds": round(step.seconds, 3),
                "attempts": step.attempts,
                "record": to_json(step.record) if step.record else None,
                "error": step.error.as_dict() if step.error else None,
            }
            for step in outcome.steps
        ],
    }
