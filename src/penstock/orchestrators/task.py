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

from penstock.access.present import acting
from penstock.access.roles import Permission
from penstock.errors import PenstockError, ResourceError, StepError, StepInterrupted, from_dict
from penstock.monitoring.notifications import deliver, failure_message
from penstock.pipeline.execution import GateRefused, RunIdentity, cached, perform, prepare
from penstock.pipeline.plan import Plan, plan_of
from penstock.project import Project
from penstock.records import Record, from_json, to_json
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


def run_task(
    project: Project, task: Task, records: Mapping[str, dict[str, Any] | None]
) -> dict[str, Any]:
    """Runs a step, or finds it cached, and returns its record. Raises `PenstockError`.

    Whatever the orchestrator itself ends the task with, a timeout or a signal, is passed on.
    """
    plan, database = plan_of(project), open_database(project)
    journal = _Journal(Runs(database), plan, task, datetime.now(UTC))
    journal.open(project)
    try:
        with acting(project, Permission.OPERATE):
            status, record = _record(plan, project, task, records, database)
    except PenstockError as error:
        _failed(project, journal, error)
        raise
    except BaseException as end:
        _failed(project, journal, _interruption(task.step, end))
        raise
    journal.write(status, record=record)
    project.digests.save()
    return record


def close_run(project: Project, run_id: str, step: str, reason: str) -> None:
    """What an orchestrator calls when it gives up a run: a task that was killed has told nobody.

    Does nothing when a task of the run has recorded its failure, and so has told the team.
    """
    try:
        runs = Runs(open_database(project))
    except ResourceError as unreachable:  # perhaps the very reason why no task recorded anything
        tell_of_failure(project, run_id, step, unreachable)
        return
    run, now = runs.get(run_id), datetime.now(UTC)
    if run is not None and run.status == "failed":
        return
    unfinished = [row for row in run.steps if row.status == "running"] if run else []
    error = next((from_dict(row.error) for row in unfinished if row.error), _death(step, reason))
    for row in unfinished:
        runs.record_step(
            run_id,
            row.step,
            status="failed",
            started_at=row.started_at,
            finished_at=now,
            attempts=row.attempts,
            error=error.as_dict(),
        )
    runs.finish(run_id, "failed", now, error.as_dict())
    tell_of_failure(project, run_id, step, error)


def tell_of_failure(project: Project, run_id: str, step: str, error: PenstockError) -> None:
    """Sends the failure to the team; a channel that is down does not hide the failure itself."""
    title, body = failure_message(project.settings.project.name, run_id, step, error)
    log = project.folder / "notices.log"
    with contextlib.suppress(ResourceError, OSError):
        deliver(title, body, project.settings.notify, log, failure=True)


def _failed(project: Project, journal: _Journal, error: PenstockError) -> None:
    """Records a failed attempt; the team hears of it when no other attempt follows."""
    report = error.report if isinstance(error, GateRefused) else None
    stored, task = to_json(report) if report else None, journal.task
    if error.transient and not task.last_attempt:
        journal.write("running", record=stored, error=error.as_dict())
        return
    journal.write("failed", record=stored, error=error.as_dict())
    tell_of_failure(project, task.run_id, task.step, error)


def _death(step: str, reason: str) -> PenstockError:
    return StepInterrupted(
        f"{step} ended without a word ({reason})",
        hint="it was killed, or its worker died: see the task's log and the machine's memory",
    )


def _interruption(step: str, end: BaseException) -> StepInterrupted:
    why = f"{type(end).__name__}: {end}".removesuffix(": ")
    return StepInterrupted(
        f"{step} was ended before it was done ({why})",
        hint=f"its worker was stopped, or it needs longer than [pipeline] timeouts.{step} allows",
    )


def _record(
    plan: Plan,
    project: Project,
    task: Task,
    records: Mapping[str, dict[str, Any] | None],
    database: Engine,
) -> tuple[str, dict[str, Any]]:
    done = {name: _given(task, name, stored) for name, stored in records.items()}
    prepared = prepare(plan, plan.step(task.step), project, done, database, task.as_of)
    found = cached(prepared, project, database)
    if found is not None:
        return "cached", to_json(found)
    identity = RunIdentity(task.run_id, task.as_of, asked=True)
    return "succeeded", to_json(perform(prepared, project, identity, database, _say))


def _given(task: Task, name: str, stored: dict[str, Any] | None) -> Record:
    if stored is None:
        raise StepError(
            f"{task.step} needs the record of {name}, and that task left none",
            hint=f"perhaps it was marked as done by hand; clear {name}, so that it runs",
        )
    return from_json(stored)


def _say(message: str, done: float | None = None) -> None:
    print(message if done is None else f"{message} ({done:.0%})", flush=True)


@dataclass(frozen=True)
class _Journal:
    """The row of this task, and with it the status of the run that it belongs to."""

    runs: Runs
    plan: Plan
    task: Task
    started_at: datetime

    def open(self, project: Project) -> None:
        self.runs.start(
            self.task.run_id,
            pipeline=project.settings.project.name,
            environment=project.environment,
            orchestrator=self.task.orchestrator,
            as_of=self.task.as_of,
            now=self.started_at,
        )
        self.write("running")

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
        self._settle()

    def _settle(self) -> None:
        """One failed step fails the run, even while another goes on; the last success ends it."""
        run = self.runs.get(self.task.run_id)
        steps = run.steps if run else ()
        failed = next((step for step in steps if step.status == "failed"), None)
        done = {step.step for step in steps if step.status in {"succeeded", "cached"}}
        if failed:
            self.runs.finish(self.task.run_id, "failed", datetime.now(UTC), failed.error)
        elif done >= {step.name for step in self.plan.steps}:
            self.runs.finish(self.task.run_id, "succeeded", datetime.now(UTC))
