"""One step as the task of an outside orchestrator, in the process that it provides.

Records come in and go out as JSON (Airflow: XCom). The run and its steps are recorded as those of
local runs are, so that `penstock runs` shows both alike.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine

from penstock.access.present import acting, acting_if_known
from penstock.access.roles import Permission
from penstock.errors import (
    NoBetter,
    PenstockError,
    ResourceError,
    StepError,
    StepInterrupted,
    from_dict,
)
from penstock.monitoring.trigger_book import read_book
from penstock.notifications.delivery import failure_message, no_better_message
from penstock.notifications.outbox import tell
from penstock.orchestrators.recording import Recording, Turn
from penstock.orchestrators.tasks import Task as Task
from penstock.pipeline.execution import RunIdentity, found_or_made, prepare
from penstock.pipeline.plan import Plan, plan_of
from penstock.project import Project
from penstock.records import Record, from_json, to_json
from penstock.state.cache import StepCache
from penstock.state.database import open_database
from penstock.state.runs import Runs


def run_task(
    project: Project, task: Task, records: Mapping[str, dict[str, Any] | None]
) -> dict[str, Any]:
    """Runs a step, or finds it cached, and returns its record. Raises `PenstockError`.

    Whatever the orchestrator itself ends the task with, a timeout or a signal, is passed on.
    """
    plan, database = plan_of(project), open_database(project)
    run = _identity(database, task)
    with acting_if_known(project):
        recording = Recording.begin(project, database, run, task.orchestrator)
        work = _Work(plan, project, database, run, recording, task)
        if task.rerun and task.attempt == 1:  # what an attempt has finished, the next one may find
            StepCache(database).forget(plan.step(task.step).name)
        try:
            record = to_json(work.do(records))
        finally:
            for remark in recording.leave():
                _say(remark)
    project.digests.save()
    return record


def _identity(database: Engine, task: Task) -> RunIdentity:
    """A run that a trigger ordered carries its reason, whoever carries it out."""
    order = read_book(database).of_run(task.run_id)
    trigger, reason = (str(order.kind), order.because) if order else (task.trigger, task.reason)
    return RunIdentity(task.run_id, task.as_of, asked=True, trigger=trigger, reason=reason)


def close_run(project: Project, run_id: str, step: str, reason: str) -> None:
    """What an orchestrator calls when it gives up a run: a task that was killed has told nobody.

    Does nothing when a task of the run has recorded its failure, and so has told the team, or when
    all of the run was done.
    """
    try:
        database = open_database(project)
    except ResourceError as unreachable:  # perhaps the very reason why no task recorded anything
        tell_of_failure(project, run_id, step, unreachable)
        return
    run = Runs(database).get(run_id)
    if run is not None and run.status in {"failed", "succeeded"}:
        return
    unfinished = [row for row in run.steps if row.status == "running"] if run else []
    error = next((from_dict(row.error) for row in unfinished if row.error), _death(step, reason))
    tell_of_failure(project, run_id, step, error)
    if run is None:
        return
    recording = Recording.resumed(project, database, run)
    with acting_if_known(project):
        for row in unfinished:
            recording.ended(Turn(row.step, row.started_at, row.attempts), "failed", error=error)
        recording.finish("failed", error)
    for remark in recording.leave():
        _say(remark)


def tell_of_failure(project: Project, run_id: str, step: str, error: PenstockError) -> None:
    """Sends the failure to the team; a channel that is down does not hide the failure itself."""
    failed = not isinstance(error, NoBetter)
    message = failure_message if failed else no_better_message
    title, body = message(project.settings.project.name, run_id, step, error)
    key = f"{run_id}/{step}/{secrets.token_hex(4)}"  # of each failure, also of a task cleared
    with contextlib.suppress(ResourceError, OSError):
        tell(project, title, body, key=key, failure=failed)


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
class _Work:
    """This task's step, and with it the status of the run that it belongs to."""

    plan: Plan
    project: Project
    database: Engine
    run: RunIdentity
    recording: Recording
    task: Task

    def do(self, records: Mapping[str, dict[str, Any] | None]) -> Record:
        """The step, recorded. Raises what it ends with."""
        task = self.task
        turn, step = Turn(task.step, datetime.now(UTC), task.attempt), self.plan.step(task.step)
        self.recording.started(turn)
        self._settle()
        try:
            with acting(self.project, Permission.OPERATE):
                done = {name: _given(task, name, stored) for name, stored in records.items()}
                prepared = prepare(self.plan, step, self.project, done, self.database, task.as_of)
                turn = turn.with_inputs(prepared)
                status, record = found_or_made(
                    prepared, self.project, self.run, self.database, _say
                )
        except PenstockError as error:
            self._failed(turn, error)
            raise
        except BaseException as end:
            self._failed(turn, _interruption(task.step, end))
            raise
        self.recording.ended(turn, status, record)
        self._settle()
        return record

    def _failed(self, turn: Turn, error: PenstockError) -> None:
        """Records a failed attempt; the team hears of it when no other attempt follows."""
        if error.transient and not self.task.last_attempt:
            self.recording.tried(turn, error)
            self._settle()
            return
        self.recording.ended(turn, "failed", error=error)
        self._settle()
        tell_of_failure(self.project, self.task.run_id, self.task.step, error)

    def _settle(self) -> None:
        """One failed step fails the run, even while another goes on; the last success ends it."""
        run = Runs(self.database).get(self.task.run_id)
        steps = run.steps if run else ()
        failed = next((step for step in steps if step.status == "failed"), None)
        done = {step.step for step in steps if step.status in {"succeeded", "cached"}}
        if failed:
            self.recording.finish("failed", from_dict(failed.error) if failed.error else None)
        elif done >= {step.name for step in self.plan.until(self.task.until)}:
            self.recording.finish("succeeded")
