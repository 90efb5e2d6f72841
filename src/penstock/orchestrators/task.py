"""One step as the task of an outside orchestrator, in the process that it provides.

Records come in and go out as JSON (Airflow: XCom). The run and its steps are recorded as those of
local runs are, so that `penstock runs` shows both alike.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine

from penstock.errors import PenstockError, ResourceError
from penstock.monitoring.notifications import deliver, failure_message
from penstock.pipeline.execution import GateRefused, RunIdentity, cached, perform, prepare
from penstock.pipeline.plan import Plan, plan_of
from penstock.project import Project
from penstock.records import from_json, to_json
from penstock.state.database import open_database
from penstock.state.runs import Runs


@dataclass(frozen=True)
class Task:
    step: str
    run_id: str
    as_of: datetime  # UTC
    attempt: int  # from 1
    last_attempt: bool  # no retry will follow, whatever happens
    orchestrator: str


def run_task(project: Project, task: Task, records: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Runs a step, or finds it cached, and returns its record. Raises `PenstockError`."""
    plan, database, started_at = plan_of(project), open_database(project), datetime.now(UTC)
    runs = Runs(database)
    runs.start(
        task.run_id,
        pipeline=project.settings.project.name,
        environment=project.environment,
        orchestrator=task.orchestrator,
        as_of=task.as_of,
        now=started_at,
    )
    note = _Note(runs, task, started_at)
    note.write("running")
    try:
        status, record = _record(plan, project, task, records, database)
    except PenstockError as error:
        report = error.report if isinstance(error, GateRefused) else None
        note.write("failed", record=to_json(report) if report else None, error=error.as_dict())
        if task.last_attempt or not error.transient:
            runs.finish(task.run_id, "failed", datetime.now(UTC), error.as_dict())
            tell_of_failure(project, task.run_id, task.step, error)
        raise
    note.write(status, record=record)
    _finish_if_last(runs, plan, task.run_id)
    project.digests.save()
    return record


def tell_of_failure(project: Project, run_id: str, step: str, error: PenstockError) -> None:
    """Sends the failure to the team; a channel that is down does not hide the failure itself."""
    title, body = failure_message(project.settings.project.name, run_id, step, error)
    log = project.folder / "notices.log"
    with contextlib.suppress(ResourceError, OSError):
        deliver(title, body, project.settings.notify, log, failure=True)


def _record(
    plan: Plan,
    project: Project,
    task: Task,
    records: Mapping[str, dict[str, Any]],
    database: Engine,
) -> tuple[str, dict[str, Any]]:
    done = {name: from_json(record) for name, record in records.items()}
    prepared = prepare(plan, plan.step(task.step), project, done, database, task.as_of)
    found = cached(prepared, project, database)
    if found is not None:
        return "cached", to_json(found)
    identity = RunIdentity(task.run_id, task.as_of)
    return "succeeded", to_json(perform(prepared, project, identity, database, _say))


def _say(message: str, done: float | None = None) -> None:
    print(message if done is None else f"{message} ({done:.0%})", flush=True)


def _finish_if_last(runs: Runs, plan: Plan, run_id: str) -> None:
    run = runs.get(run_id)
    ended = {s.step for s in run.steps if s.status in {"succeeded", "cached"}} if run else set()
    if ended >= {step.name for step in plan.steps}:
        runs.finish(run_id, "succeeded", datetime.now(UTC))


@dataclass(frozen=True)
class _Note:
    """The row of this task."""

    runs: Runs
    task: Task
    started_at: datetime

    def write(
        self,
        status: str,
        record: dict[str, Any] | None = None,
        error: dict[str, Any] | None = None,
    ) -> None:
        self.runs.record_step(
            self.task.run_id,
            self.task.step,
            status=status,
            started_at=self.started_at,
            finished_at=None if status == "running" else datetime.now(UTC),
            attempts=self.task.attempt,
            record=record,
            error=error,
        )
