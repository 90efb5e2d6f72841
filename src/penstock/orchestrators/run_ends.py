"""What became of a run that something started."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from penstock.errors import KINDS, GateFailed, NoBetter, PenstockError
from penstock.monitoring.triggers import Outcome
from penstock.records import ModelVersion, from_json
from penstock.state.runs import RunRow, StepRow


@dataclass(frozen=True)
class End:
    outcome: Outcome
    said: str
    version: str = ""  # name@version that it registered
    digest: str = ""  # of its files


def end_of(run: RunRow) -> End:
    """What a run that is over came to."""
    if run.status == "interrupted":
        return End(Outcome.INTERRUPTED, _message(run.error))
    if run.status == "failed":
        kind = KINDS[(run.error or {}).get("error", "PenstockError")]
        return End(outcome_of(kind), _message(run.error))
    for step in run.steps:
        version = _record(step)
        if isinstance(version, ModelVersion):
            if step.status == "cached":
                return End(Outcome.NOTHING_NEW, f"{version.label} is made of the same")
            said = f"{version.label} passed every gate"
            return End(Outcome.REGISTERED, said, version.label, version.digest)
    return End(Outcome.NOTHING_NEW, "no version was registered")


def outcome_of(error: type[PenstockError]) -> Outcome:
    """What a run that ended with such an error came to."""
    if issubclass(error, NoBetter):
        return Outcome.NO_BETTER
    return Outcome.REFUSED if issubclass(error, GateFailed) else Outcome.FAILED


def _record(step: StepRow | None) -> Any:
    return from_json(step.record) if step is not None and step.record else None


def _message(error: dict[str, Any] | None) -> str:
    return str(error["message"]) if error else "it left no word"
