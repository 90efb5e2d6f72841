"""What the DAGs of a project are drawn from: plain values, which come of its settings and its plan.

They are all that a DAG file needs, so that it may read them without the settings and the plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from penstock.errors import ProjectError

if TYPE_CHECKING:
    from penstock.pipeline.plan import Plan, Step
    from penstock.project import Project

# The task groups, in order, and the steps of the standard plan in each.
GROUPS = {
    "data": ("extract_data", "validate_data", "feature_engineering"),
    "model": ("train_model", "evaluate_model", "register_model"),
    "staging": ("deploy_to_staging", "run_integration_tests", "notify_team"),
}


class TaskOutline(Struct, frozen=True):
    """A step of the plan, or all that a mapped step became."""

    name: str
    group: str
    after: tuple[str, ...]  # the tasks that it stands behind
    needs: tuple[str, ...]  # the steps whose records it is given
    before: tuple[str, ...]  # the steps that stand behind it
    items: tuple[str, ...]  # the steps of a mapped one
    timeout: timedelta  # of one attempt
    pool: str
    asset: str  # URI of what it updates; empty: nothing


class ProductionOutline(Struct, frozen=True):
    """The second DAG: approvals, then the rollout."""

    every: timedelta  # between two looks of a task that waits
    approval_timeout: timedelta
    rollout_timeout: timedelta


class Outline(Struct, frozen=True):
    name: str
    owner: str
    tags: tuple[str, ...]
    schedule: str  # cron; empty: none
    timezone: str
    assets: tuple[str, ...]  # URIs whose updates start a run
    start_date: datetime | None
    catchup: bool
    deadline: timedelta | None
    workers: int
    retries: int
    retry_delay: timedelta
    pool: str
    python: str  # that runs the steps; empty: Airflow's own
    steps: tuple[str, ...]  # in the plan's order
    tasks: tuple[TaskOutline, ...]
    production: ProductionOutline | None


def outline_of(project: Project) -> Outline:
    """Raises `PenstockError` for settings and plans that no DAG can be drawn from."""
    from penstock.pipeline.plan import plan_of

    plan = plan_of(project)
    _require_known(project, plan)
    settings = project.settings
    about, limits, airflow = settings.project, settings.pipeline, settings.airflow
    return Outline(
        name=about.name,
        owner=about.owner,
        tags=about.tags,
        schedule=limits.schedule,
        timezone=limits.timezone,
        assets=airflow.assets,
        start_date=limits.start_date,
        catchup=limits.catchup,
        deadline=airflow.deadline,
        workers=limits.workers,
        retries=limits.retries,
        retry_delay=limits.retry_delay,
        pool=airflow.pool,
        python=limits.python,
        steps=tuple(step.name for step in plan.steps),
        tasks=tuple(_tasks(project, plan)),
        production=_production(project),
    )


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


def _tasks(project: Project, plan: Plan) -> Iterable[TaskOutline]:
    """In the plan's order, so that each stands behind those that it needs."""
    groups = _groups(plan)
    families: dict[str, list[Step]] = {}
    for step in plan.steps:
        families.setdefault(step.family, []).append(step)
    return [_task(project, plan, groups[steps[0].name], steps) for steps in families.values()]


def _groups(plan: Plan) -> Mapping[str, str]:
    """The group of each step; a custom one belongs to the latest of those that it stands behind."""
    order, found = list(GROUPS), dict[str, str]()
    for step in plan.steps:
        own = next((group for group, names in GROUPS.items() if step.name in names), order[0])
        before = [own, *(found[name] for name in step.after)]
        found[step.name] = max(before, key=order.index)
    return found


def _task(project: Project, plan: Plan, group: str, steps: Sequence[Step]) -> TaskOutline:
    """`steps`: one, or those of a mapped one, which stand at the same place of the plan."""
    from penstock.orchestrators.airflow.assets import asset_of
    from penstock.pipeline.plan import family_of

    step, name = steps[0], steps[0].family
    limits, pools = project.settings.pipeline, project.settings.airflow.pools
    return TaskOutline(
        name=name,
        group=group,
        after=tuple(dict.fromkeys(family_of(one) for one in step.after)),
        needs=tuple(plan.needs(step)),
        before=tuple(sorted(plan.downstream(step.name))),
        items=() if name == step.name else tuple(one.name for one in steps),
        timeout=limits.timeouts.get(name, limits.timeout),
        pool=pools.get(name, project.settings.airflow.pool),
        asset=asset_of(project, name),
    )


def _production(project: Project) -> ProductionOutline | None:
    settings = project.settings.airflow
    if not settings.production:
        return None
    return ProductionOutline(settings.every, settings.approval_timeout, settings.rollout_timeout)
