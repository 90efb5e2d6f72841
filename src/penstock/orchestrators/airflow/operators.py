"""One step of the plan as a task, in the process that Airflow gives it."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    AirflowTaskTimeout,
)

from penstock.errors import PenstockError
from penstock.orchestrators.airflow.asked import Asked
from penstock.orchestrators.airflow.assets import tell
from penstock.project import open_project

if TYPE_CHECKING:
    from penstock.orchestrators.tasks import Task

TERMINATED = 143  # the exit status of a process that SIGTERM ended
# What a run was started for, by Airflow's types of run; all others are by hand.
TRIGGERS = {"scheduled": "schedule", "asset_triggered": "data"}
Records = dict[str, dict[str, Any] | None]


class PenstockStepOperator(BaseOperator):
    """Runs one step of a project's plan. Its XCom is the step's record."""

    def __init__(
        self,
        *,
        project: str,
        environment: str,
        needs: Collection[str],
        step: str = "",
        before: Collection[str] = (),
        python: str = "",
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self.project = project
        self.environment = environment
        self.needs = sorted(needs)  # the steps whose records it is given
        self.step = step or self.task_id
        self.before = sorted(before)  # the steps that stand behind it
        self.python = python  # that runs the step; empty: the one that runs Airflow's task

    def execute(self, context: Any) -> dict[str, Any]:
        from penstock.orchestrators.tasks import Task

        asked, instance = Asked.of(context["params"]), context["ti"]
        kind = context["dag_run"].run_type
        if asked.leaves_out(self.step, self.before):
            raise AirflowSkipException(f"the run was to end with {asked.until}")
        task = Task(
            step=self.step,
            run_id=context["run_id"],
            as_of=asked.as_of or _as_of(context["dag_run"]),
            attempt=instance.try_number,
            last_attempt=instance.try_number > instance.max_tries,
            orchestrator="airflow",
            until=asked.until,
            rerun=asked.rerun == self.step,
            trigger=TRIGGERS.get(str(getattr(kind, "value", kind)), "manual"),
            reason=asked.reason,
        )
        with failing_once(), _quiet_tools():
            records = _records(instance, self.needs)
            record = self._record(task, records)
        tell(context, record, *records.values())
        return record

    def _record(self, task: Task, records: Records) -> dict[str, Any]:
        if self.python:
            from penstock.orchestrators.other_python import run_task_in

            return run_task_in(self.python, self.project, self.environment, task, records)
        from penstock.orchestrators.task import run_task

        return run_task(open_project(Path(self.project), self.environment), task, records)

    def on_kill(self) -> None:
        """Ends the step, so that its end is recorded: on SIGTERM Airflow 3 does no more than call
        this, and kills the process five seconds later. A timeout has ended the step already.
        """
        if not isinstance(sys.exception(), AirflowTaskTimeout):
            raise SystemExit(TERMINATED)


@contextlib.contextmanager
def failing_once() -> Iterator[None]:
    """Errors of Penstock as Airflow's: what would only repeat itself fails without retries."""
    try:
        yield
    except PenstockError as error:
        told = f"{error.message}\n{error.hint}".strip()
        raise (AirflowException if error.transient else AirflowFailException)(told) from error


def _records(instance: Any, needs: Collection[str]) -> Records:
    """What the steps before have left, each in the XCom of its task."""
    from penstock.pipeline.plan import family_of

    found: Records = {}
    for step in needs:
        left = instance.xcom_pull(task_ids=family_of(step))
        if family_of(step) != step:  # one of a mapped step, whose records say which they are
            left = next((one for one in left or () if one and one.get("step") == step), None)
        found[step] = left
    return found


def _as_of(run: Any) -> datetime:
    """The end of the run's data interval; for a run by hand that has none, when it was asked for.

    Never the present: every task of a run, and every attempt, must see the same moment.
    """
    moment: datetime = run.data_interval_end or run.logical_date or run.run_after
    return moment.astimezone(UTC)


@contextlib.contextmanager
def _quiet_tools() -> Iterator[None]:
    """Keeps a task's log to what the step says; Airflow shows every tool's messages from INFO on.

    Great Expectations 1.24 keeps a diary of its classes there. skops 0.16 looks for the home of a
    thousand functions in all modules, and Airflow's deprecated ones warn at each look.
    """
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"The `airflow\.")
        yield
