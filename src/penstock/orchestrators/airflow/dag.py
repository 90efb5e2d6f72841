"""The plan as an Airflow 3 DAG: one task a step, everything else from penstock.toml.

Parsing imports neither tools nor settings; the tasks do, when they run.
A gate that says no, and every failure that would only repeat itself, fails its task without the
retries. Of a failure the team hears through [notify], by e-mail or webhook: from the task itself
or, where the task was killed, from the run's callback.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Asset, AssetAny, TaskGroup

from penstock.orchestrators.airflow.asked import params_of
from penstock.orchestrators.airflow.assets import ends_of
from penstock.orchestrators.airflow.frame import shared_by
from penstock.orchestrators.airflow.kept_outline import outline_at
from penstock.orchestrators.airflow.operators import PenstockStepOperator
from penstock.orchestrators.airflow.outline import GROUPS, Outline, TaskOutline
from penstock.project import deployed_environment, open_project, project_above


def build_dag(file: str, environment: str | None = None) -> DAG:
    """The DAG of the project that `file` lies in: pass `__file__` of a module in its `dags/`.

    `environment` chooses the settings; without it PENSTOCK_ENVIRONMENT does, else production.
    Airflow finds the DAG that carries models into production beside it, unless [airflow]
    production is off.
    """
    root = project_above(Path(file))
    environment = environment or deployed_environment()
    outline = outline_at(root, environment)
    where = {"project": str(root), "environment": environment}
    dag = DAG(
        dag_id=outline.name,
        description="From raw events to a tested staging endpoint",
        schedule=_schedule(outline),
        catchup=outline.catchup,
        max_active_runs=1,
        deadline=_deadline(outline, where),
        on_failure_callback=functools.partial(_close, where),
        **shared_by(outline),
    )
    _add_tasks(dag, outline, where)
    # Only now: each task would take a copy of them, and Airflow 3.3.2 checks and writes down all of
    # these, at half of what the parsing costs. A run looks for them in its DAG.
    dag.params.update(params_of(outline.steps))
    if outline.production is not None:
        from penstock.orchestrators.airflow.production import add_production_dag

        add_production_dag(outline, where)
    return dag


def _schedule(outline: Outline) -> Any:
    """Cron, assets, or whichever comes first; None: only by hand."""
    cron, zone = outline.schedule, outline.timezone
    if not outline.assets and zone == "UTC":
        return cron or None
    from airflow.sdk import AssetOrTimeSchedule, CronTriggerTimetable

    timetable = CronTriggerTimetable(cron, timezone=zone) if cron else None
    if not outline.assets:
        return timetable
    assets = AssetAny(*(Asset(uri=uri) for uri in outline.assets))
    return AssetOrTimeSchedule(timetable=timetable, assets=assets) if timetable else assets


def _deadline(outline: Outline, where: Mapping[str, str]) -> Any:
    if outline.deadline is None:
        return None
    from airflow.sdk.definitions.callback import AsyncCallback
    from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference

    from penstock.orchestrators.airflow.notifier import late

    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=outline.deadline,
        callback=AsyncCallback(late, kwargs=dict(where)),
    )


def _add_tasks(dag: DAG, outline: Outline, where: Mapping[str, str]) -> None:
    groups = {name: TaskGroup(name, dag=dag, prefix_group_id=False) for name in GROUPS}
    tasks: dict[str, Any] = {}
    for task in outline.tasks:
        arguments = {"dag": dag, "task_group": groups[task.group], "python": outline.python}
        made = tasks[task.name] = _task(task, {**arguments, **where})
        for name in task.after:
            tasks[name] >> made


def _task(task: TaskOutline, arguments: Mapping[str, Any]) -> Any:
    arguments = {
        **arguments,
        "task_id": task.name,
        "needs": task.needs,
        "before": task.before,
        "execution_timeout": task.timeout,
        "pool": task.pool,
        **ends_of(task.asset),
    }
    if not task.items:
        return PenstockStepOperator(**arguments)
    mapped = PenstockStepOperator.partial(**arguments, map_index_template="{{ task.step }}")
    return mapped.expand(step=list(task.items))


def _close(where: Mapping[str, str], context: Any) -> None:
    """Called in Airflow's DAG processor when a run has failed."""
    step = context["ti"].task_id if "ti" in context else "a step"
    ended = (context["run_id"], step, context.get("reason") or "no reason given")
    project = open_project(Path(where["project"]), where["environment"])
    if python := project.settings.pipeline.python:
        from penstock.orchestrators.other_python import close_run_in

        close_run_in(python, str(project.root), project.environment, *ended)
        return
    from penstock.orchestrators.task import close_run

    close_run(project, *ended)
