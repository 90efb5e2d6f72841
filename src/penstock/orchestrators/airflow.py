"""The plan as an Airflow 3 DAG: one task a step, everything else from penstock.toml.

Parsing reads the settings and the project's source as text; the tools are imported by the tasks.
A gate that says no, and every failure that would only repeat itself, fails its task without the
retries; e-mail and webhooks on failure are those of [notify].
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from penstock.errors import PenstockError
from penstock.orchestrators.task import Task, run_task
from penstock.pipeline.plan import Plan, plan_of
from penstock.project import Project, open_project

EPOCH = datetime(2025, 1, 1, tzinfo=UTC)


def build_dag(file: str, environment: str | None = None) -> DAG:
    """The DAG of the project that `file` lies in: pass `__file__` of a module in its `dags/`.

    `environment` chooses the settings; without it PENSTOCK_ENVIRONMENT does, else production.
    """
    root = next(p for p in Path(file).resolve().parents if (p / "penstock.toml").is_file())
    project = open_project(
        root, environment or os.environ.get("PENSTOCK_ENVIRONMENT") or "production"
    )
    settings, plan = project.settings.pipeline, plan_of(project)
    dag = DAG(
        dag_id=project.settings.project.name,
        description="From raw events to a tested staging endpoint",
        schedule=settings.schedule,
        start_date=settings.start_date or EPOCH,
        catchup=settings.catchup,
        max_active_runs=1,
        tags=list(project.settings.project.tags),
        default_args={
            "owner": project.settings.project.owner,
            "retries": settings.retries,
            "retry_delay": settings.retry_delay,
            "email": list(project.settings.notify.emails),
            # The task itself sends the mail, through [notify]; Airflow's own would be a second.
            "email_on_failure": False,
        },
    )
    tasks = {step.name: _operator(dag, project, plan, step.name) for step in plan.steps}
    for step in plan.steps:
        for name in step.after:
            tasks[name] >> tasks[step.name]
    return dag


def _operator(dag: DAG, project: Project, plan: Plan, name: str) -> PenstockStepOperator:
    limits = project.settings.pipeline
    step = plan.step(name)
    return PenstockStepOperator(
        task_id=name,
        dag=dag,
        project=str(project.root),
        environment=project.environment,
        needs=sorted({*plan.sources(step).values(), *step.after}),
        execution_timeout=limits.timeouts.get(name, limits.timeout),
    )


class PenstockStepOperator(BaseOperator):
    """Runs one step of a project's plan. Its XCom is the step's record."""

    def __init__(
        self, *, project: str, environment: str, needs: list[str], **arguments: Any
    ) -> None:
        super().__init__(**arguments)
        self.project = project
        self.environment = environment
        self.needs = needs  # the steps whose records it is given

    def execute(self, context: Any) -> dict[str, Any]:
        instance, run = context["ti"], context["dag_run"]
        records = {name: instance.xcom_pull(task_ids=name) for name in self.needs}
        task = Task(
            step=self.task_id,
            run_id=context["run_id"],
            as_of=_as_of(run),
            attempt=instance.try_number,
            last_attempt=instance.try_number > (self.retries or 0),
            orchestrator="airflow",
        )
        try:
            return run_task(open_project(Path(self.project), self.environment), task, records)
        except PenstockError as error:
            told = f"{error.message}\n{error.hint}".strip()
            raise (AirflowException if error.transient else AirflowFailException)(told) from error


def _as_of(run: Any) -> datetime:
    """The end of the run's data interval; the present for runs by hand that have none."""
    moment = getattr(run, "data_interval_end", None) or getattr(run, "logical_date", None)
    return moment.astimezone(UTC) if moment else datetime.now(UTC)
