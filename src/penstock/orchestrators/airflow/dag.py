"""The plan as an Airflow 3 DAG: one task a step, everything else from penstock.toml.

Parsing reads the settings and the project's source as text; the tools are imported by the tasks.
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

from penstock.errors import ProjectError
from penstock.orchestrators.airflow.asked import params_of
from penstock.orchestrators.airflow.assets import asset_of, ends_of
from penstock.orchestrators.airflow.frame import opened_by, shared_by
from penstock.orchestrators.airflow.operators import PenstockStepOperator
from penstock.pipeline.plan import Plan, Step, family_of, plan_of
from penstock.project import Project, deployed_environment, open_project, project_above

# The task groups, in order, and the steps of the standard plan in each.
GROUPS = {
    "data": ("extract_data", "validate_data", "feature_engineering"),
    "model": ("train_model", "evaluate_model", "register_model"),
    "staging": ("deploy_to_staging", "run_integration_tests", "notify_team"),
}


def build_dag(file: str, environment: str | None = None) -> DAG:
    """The DAG of the project that `file` lies in: pass `__file__` of a module in its `dags/`.

    `environment` chooses the settings; without it PENSTOCK_ENVIRONMENT does, else production.
    Airflow finds the DAG that carries models into production beside it, unless [airflow]
    production is off.
    """
    root = project_above(Path(file))
    environment = environment or deployed_environment()
    project = open_project(root, environment)
    plan = plan_of(project)
    _require_known(project, plan)
    dag = DAG(
        dag_id=project.settings.project.name,
        description="From raw events to a tested staging endpoint",
        schedule=_schedule(project),
        catchup=project.settings.pipeline.catchup,
        max_active_runs=1,
        params=params_of([step.name for step in plan.steps]),
        deadline=_deadline(project),
        on_failure_callback=functools.partial(_close, project),
        **shared_by(project),
    )
    _add_steps(dag, project, plan)
    if project.settings.airflow.production:
        from penstock.orchestrators.airflow.production import add_production_dag

        add_production_dag(project)
    return dag


def _require_known(project: Project, plan: Plan) -> None:
    """A pool or a timeout of a step that is not there would be silently without effect."""
    known = {step.family for step in plan.steps}
    named: dict[str, Mapping[str, Any]] = {
        "[pipeline] timeouts": project.settings.pipeline.timeouts,
        "[airflow] pools": project.settings.airflow.pools,
    }
    for where, settings in named.items():
        for name in settings:
            if name not in known:
                raise ProjectError(
                    f"{where} names {name!r}, which is no step",
                    hint=f"the steps are: {', '.join(step.family for step in plan.steps)}",
                )


def _schedule(project: Project) -> Any:
    """Cron, assets, or whichever comes first; None: only by hand."""
    from airflow.sdk import AssetOrTimeSchedule, CronTriggerTimetable

    limits, uris = project.settings.pipeline, project.settings.airflow.assets
    cron, zone = limits.schedule, limits.timezone
    timetable = CronTriggerTimetable(cron, timezone=zone) if cron else None
    if not uris:
        return timetable if zone != "UTC" else cron or None
    assets = AssetAny(*(Asset(uri=uri) for uri in uris))
    return AssetOrTimeSchedule(timetable=timetable, assets=assets) if timetable else assets


def _deadline(project: Project) -> Any:
    if (allowed := project.settings.airflow.deadline) is None:
        return None
    from airflow.sdk.definitions.callback import AsyncCallback
    from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference

    from penstock.orchestrators.airflow.notifier import late

    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=allowed,
        callback=AsyncCallback(late, kwargs=opened_by(project)),
    )


def _add_steps(dag: DAG, project: Project, plan: Plan) -> None:
    places = _groups(plan)
    made = {name: TaskGroup(name, dag=dag, prefix_group_id=False) for name in GROUPS}
    tasks: dict[str, Any] = {}
    for step in plan.steps:
        if (name := step.family) not in tasks:
            group = made[places[step.name]]
            tasks[name] = _task(dag, group, project, plan, step)
    for step in plan.steps:
        for name in step.after:
            if tasks[step.family] not in tasks[family_of(name)].downstream_list:
                tasks[family_of(name)] >> tasks[step.family]


def _groups(plan: Plan) -> Mapping[str, str]:
    """The group of each step; a custom one belongs to the latest of those that it stands behind."""
    order, found = list(GROUPS), dict[str, str]()
    for step in plan.steps:
        own = next((group for group, names in GROUPS.items() if step.name in names), order[0])
        before = [own, *(found[name] for name in step.after)]
        found[step.name] = max(before, key=order.index)
    return found


def _task(dag: DAG, group: TaskGroup, project: Project, plan: Plan, step: Step) -> Any:
    limits, name = project.settings.pipeline, step.family
    arguments: dict[str, Any] = {
        "task_id": name,
        "dag": dag,
        "task_group": group,
        "needs": sorted({*plan.sources(step).values(), *step.after}),
        "before": sorted(plan.downstream(step.name)),
        "python": limits.python,
        "execution_timeout": limits.timeouts.get(name, limits.timeout),
        "pool": project.settings.airflow.pools.get(name, project.settings.airflow.pool),
        **opened_by(project),
        **ends_of(asset_of(project, name)),
    }
    if name == step.name:
        return PenstockStepOperator(**arguments)
    items = [other.name for other in plan.steps if other.family == name]
    mapped = PenstockStepOperator.partial(**arguments, map_index_template="{{ task.step }}")
    return mapped.expand(step=items)


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
