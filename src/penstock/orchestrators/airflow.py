"""The plan as an Airflow 3 DAG: one task a step, everything else from penstock.toml.

Parsing reads the settings and the project's source as text; the tools are imported by the tasks.
A gate that says no, and every failure that would only repeat itself, fails its task without the
retries. Of a failure the team hears through [notify], by e-mail or webhook: from the task itself
or, where the task was killed, from the run's callback.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowTaskTimeout

from penstock.errors import PenstockError
from penstock.pipeline.plan import Plan, Step, plan_of
from penstock.project import Project, open_project, project_above

if TYPE_CHECKING:
    from penstock.orchestrators.tasks import Task

EPOCH = datetime(2025, 1, 1, tzinfo=UTC)
TERMINATED = 143  # the exit status of a process that SIGTERM ended


def build_dag(file: str, environment: str | None = None) -> DAG:
    """The DAG of the project that `file` lies in: pass `__file__` of a module in its `dags/`.

    `environment` chooses the settings; without it PENSTOCK_ENVIRONMENT does, else production.
    """
    root = project_above(Path(file))
    environment = environment or os.environ.get("PENSTOCK_ENVIRONMENT") or "production"
    project = open_project(root, environment)
    settings, plan = project.settings.pipeline, plan_of(project)
    dag = DAG(
        dag_id=project.settings.project.name,
        description="From raw events to a tested staging endpoint",
        schedule=settings.schedule,
        start_date=settings.start_date or EPOCH,
        catchup=settings.catchup,
        max_active_runs=1,
        max_active_tasks=settings.workers,
        tags=list(project.settings.project.tags),
        default_args={
            "owner": project.settings.project.owner,
            "retries": settings.retries,
            "retry_delay": settings.retry_delay,
        },
        on_failure_callback=functools.partial(_close, project),
    )
    tasks = {step.name: _operator(dag, project, plan, step) for step in plan.steps}
    for step in plan.steps:
        for name in step.after:
            tasks[name] >> tasks[step.name]
    return dag


def _operator(dag: DAG, project: Project, plan: Plan, step: Step) -> PenstockStepOperator:
    limits = project.settings.pipeline
    return PenstockStepOperator(
        task_id=step.name,
        dag=dag,
        project=str(project.root),
        environment=project.environment,
        needs=sorted({*plan.sources(step).values(), *step.after}),
        python=limits.python,
        execution_timeout=limits.timeouts.get(step.name, limits.timeout),
    )


class PenstockStepOperator(BaseOperator):
    """Runs one step of a project's plan. Its XCom is the step's record."""

    def __init__(
        self,
        *,
        project: str,
        environment: str,
        needs: list[str],
        python: str = "",
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self.project = project
        self.environment = environment
        self.needs = needs  # the steps whose records it is given
        self.python = python  # that runs the step; empty: the one that runs Airflow's task

    def execute(self, context: Any) -> dict[str, Any]:
        from penstock.orchestrators.tasks import Task

        instance = context["ti"]
        records = {name: instance.xcom_pull(task_ids=name) for name in self.needs}
        task = Task(
            step=self.task_id,
            run_id=context["run_id"],
            as_of=_as_of(context["dag_run"]),
            attempt=instance.try_number,
            last_attempt=instance.try_number > instance.max_tries,
            orchestrator="airflow",
        )
        try:
            with _quiet_tools():
                return self._record(task, records)
        except PenstockError as error:
            told = f"{error.message}\n{error.hint}".strip()
            raise (AirflowException if error.transient else AirflowFailException)(told) from error

    def _record(self, task: Task, records: dict[str, Any]) -> dict[str, Any]:
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


def _as_of(run: Any) -> datetime:
    """The end of the run's data interval; for a run by hand that has none, when it was asked for.

    Never the present: every task of a run, and every attempt, must see the same moment.
    """
    moment: datetime = run.data_interval_end or run.logical_date or run.run_after
    return moment.astimezone(UTC)


def _close(project: Project, context: Any) -> None:
    """Called in Airflow's DAG processor when a run has failed."""
    step = context["ti"].task_id if "ti" in context else "a step"
    ended = (context["run_id"], step, context.get("reason") or "no reason given")
    if python := project.settings.pipeline.python:
        from penstock.orchestrators.other_python import close_run_in

        close_run_in(python, str(project.root), project.environment, *ended)
        return
    from penstock.orchestrators.task import close_run

    close_run(project, *ended)


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
