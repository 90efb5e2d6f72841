"""What became of a run that something started; whether a run goes on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from filelock import FileLock, Timeout
from sqlalchemy import Engine

from penstock.errors import GateFailed, PenstockError
from penstock.gates.thresholds import BETTER
from penstock.monitoring.triggers import Outcome
from penstock.pipeline.execution import GateRefused
from penstock.project import Project
from penstock.records import GateReport, ModelReport, ModelVersion, from_json
from penstock.state.runs import RunRow, Runs, StepRow

CHAMPION = "champion"  # the check that a model is not worse, see `judge_champion`


@dataclass(frozen=True)
class End:
    outcome: Outcome
    said: str
    version: str = ""  # name@version that it registered


def end_of(run: RunRow) -> End:
    """What a run that is over came to."""
    if run.status == "interrupted":
        return End(Outcome.INTERRUPTED, _message(run.error))
    if run.status == "failed":
        failed = next((step for step in run.steps if step.status == "failed"), None)
        report = _record(failed)
        if isinstance(report, GateReport) and not report.passed:
            return _refused(report)
        refused = (run.error or {}).get("error") == GateFailed.__name__
        return End(Outcome.REFUSED if refused else Outcome.FAILED, _message(run.error))
    for step in run.steps:
        version = _record(step)
        if isinstance(version, ModelVersion):
            if step.status == "cached":
                return End(Outcome.NOTHING_NEW, f"{version.label} is made of the same")
            return End(Outcome.REGISTERED, f"{version.label} passed every gate", version.label)
    return End(Outcome.NOTHING_NEW, "no version was registered")


def is_no_better(error: PenstockError) -> bool:
    """Whether a run ended because the model that a trigger made is no better than the champion."""
    return (
        isinstance(error, GateRefused)
        and error.report is not None
        and _refused(error.report).outcome is Outcome.NO_BETTER
    )


def run_that_goes_on(project: Project, engine: Engine) -> str:
    """The id of a run that goes on, whoever started it; empty: none does.

    A local run that was killed is still `running` by its row, and its lock is free.
    """
    runs = Runs(engine)
    if not any(run.orchestrator in ("local", "dvc") for run in runs.running()):
        return next((run.id for run in runs.running()), "")
    project.folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(project.folder / "run.lock", timeout=0):
            runs.interrupt_abandoned(datetime.now(UTC))
    except Timeout:
        pass
    return next((run.id for run in runs.running()), "")


def _refused(report: GateReport) -> End:
    failures = {check.name: check for check in report.failures}
    said = "; ".join(check.reason for check in report.failures)
    if isinstance(report, ModelReport) and BETTER in failures and {*failures} <= {BETTER, CHAMPION}:
        return End(Outcome.NO_BETTER, failures[BETTER].reason)
    return End(Outcome.REFUSED, said)


def _record(step: StepRow | None) -> Any:
    return from_json(step.record) if step is not None and step.record else None


def _message(error: dict[str, Any] | None) -> str:
    return str(error["message"]) if error else "it left no word"
