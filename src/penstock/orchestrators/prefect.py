"""The plan as a Prefect 3 flow: one task a step, everything else from penstock.toml.

A gate that says no, and every failure that would only repeat itself, fails its task without the
retries. What a gate or a registration came to is an artifact of the flow run. Prefect's own
analytics stay off.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.errors import PenstockError
from penstock.orchestrators.artifacts import shown
from penstock.orchestrators.other_python import run_task_in
from penstock.orchestrators.tasks import Task as StepTask
from penstock.pipeline.plan import Plan, Step, family_of, plan_of
from penstock.project import Project, deployed_environment, open_project, project_above
from penstock.state.database import open_database
from penstock.state.runs import Runs

if TYPE_CHECKING:
    from prefect import Flow, Task

log = logging.getLogger(__name__)
VARIABLE = "flow"  # that a module in flows/ keeps its flow in
ORCHESTRATOR = "prefect"


def build_flow(file: str, environment: str | None = None) -> Flow[..., Any]:
    """The flow of the project that `file` lies in: pass `__file__` of a module in its `flows/`.

    `environment` chooses the settings; without it PENSTOCK_ENVIRONMENT does, else production.
    The flow takes `as_of`, the moment that the run is about, else that is when it was scheduled;
    `reason`, why it was started; and `run_id`, what a trigger called it, else Prefect's own id.
    """
    os.environ.setdefault("DO_NOT_TRACK", "1")
    from prefect import flow
    from prefect.task_runners import ThreadPoolTaskRunner

    project = open_project(project_above(Path(file)), environment or deployed_environment())
    plan, settings = plan_of(project), project.settings
    tasks = {step.name: _task(project, step) for step in plan.steps}

    close: Any = functools.partial(_close, project)
    runner: Any = ThreadPoolTaskRunner(max_workers=settings.pipeline.workers)

    @flow(
        name=settings.project.name,
        description="From raw events to a tested staging endpoint",
        task_runner=runner,
        on_failure=[close],
        on_crashed=[close],
        on_cancellation=[close],
    )
    def pipeline(as_of: datetime | None = None, reason: str = "", run_id: str = "") -> list[Any]:
        return _run(plan, tasks, as_of, reason, run_id)

    return pipeline


def serve(file: str, environment: str | None = None) -> None:
    """Carries out the flow of a module in `flows/` on the project's schedule, until it is ended."""
    os.environ.setdefault("DO_NOT_TRACK", "1")
    from prefect import flow
    from prefect.schedules import Cron

    root, name = project_above(Path(file)), environment or deployed_environment()
    settings = open_project(root, name).settings
    cron, zone = settings.pipeline.schedule, settings.pipeline.timezone
    entrypoint = f"{Path(file).resolve().relative_to(root)}:{VARIABLE}"
    found: Any = flow.from_source(source=str(root), entrypoint=entrypoint)
    found.serve(
        name=name,
        schedule=Cron(cron, timezone=zone) if cron else None,
        tags=list(settings.project.tags),
        limit=1,  # runs do not overlap
    )


def _task(project: Project, step: Step) -> Task[..., Any]:
    from prefect import task

    limits = project.settings.pipeline
    made = task(
        name=step.name,
        task_run_name=step.name,
        retries=limits.retries,
        retry_delay_seconds=limits.retry_delay.total_seconds(),
        retry_condition_fn=_may_pass,
        persist_result=False,
    )

    def carry_out(run: dict[str, Any], records: dict[str, Any]) -> dict[str, Any]:
        return _step(project, step.name, run, records)

    return made(carry_out)


def _run(
    plan: Plan,
    tasks: dict[str, Task[..., Any]],
    as_of: datetime | None,
    reason: str,
    run_id: str,
) -> list[Any]:
    """Submits every step; one starts when all that it stands behind have succeeded."""
    from prefect.context import FlowRunContext
    from prefect.runtime import flow_run

    # Prefect's own kind of time is none that pandas can compare.
    moment = datetime.fromtimestamp((as_of or flow_run.get_scheduled_start_time()).timestamp(), UTC)
    context = FlowRunContext.get()
    scheduled = bool(context and context.flow_run and context.flow_run.auto_scheduled)
    run = {
        "run_id": run_id or flow_run.get_id() or flow_run.get_name(),
        "as_of": moment,
        "trigger": "schedule" if scheduled else "manual",
        "reason": reason,
    }
    futures: dict[str, Any] = {}
    for step in plan.steps:
        futures[step.name] = tasks[step.name].submit(
            run,
            {name: futures[name] for name in plan.needs(step)},
            wait_for=[futures[name] for name in step.after],
        )
    return list(futures.values())


def _step(
    project: Project, step: str, run: dict[str, Any], records: dict[str, Any]
) -> dict[str, Any]:
    """What a task does: the step, in a process that can be ended, and an artifact of it."""
    from prefect.runtime import task_run

    limits, attempt = project.settings.pipeline, task_run.get_run_count()
    task = StepTask(
        step=step,
        attempt=attempt,
        last_attempt=attempt > limits.retries,
        orchestrator=ORCHESTRATOR,
        **run,
    )
    try:
        return run_task_in(
            limits.python or sys.executable,
            str(project.root),
            project.environment,
            task,
            records,
            limits.timeouts.get(family_of(step), limits.timeout),
        )
    finally:
        try:
            _keep(project, task.run_id, step)
        except Exception as error:  # noqa: BLE001 -- a step that is done is not undone by its picture
            log.warning("there is no artifact of %s: %s", step, error)


def _may_pass(_task: Any, _run: Any, state: Any) -> bool:
    error = state.result(raise_on_failure=False)
    return isinstance(error, PenstockError) and error.transient


def _keep(project: Project, run_id: str, step: str) -> None:
    """An artifact of what the step came to, if it came to anything."""
    from prefect.artifacts import create_markdown_artifact

    run = Runs(open_database(project)).get(run_id)
    row = next((row for row in run.steps if row.step == step), None) if run else None
    artifact = shown(project.settings.project.name, step, row.record if row else None)
    if artifact:
        create_markdown_artifact(artifact.markdown, key=artifact.key, description=artifact.title)


def _close(project: Project, _flow: Any, run: Any, state: Any) -> None:
    """Called by Prefect when a run has failed, crashed, or was cancelled."""
    from penstock.orchestrators.task import close_run

    name = run.parameters.get("run_id") or str(run.id)
    close_run(project, name, "a step", state.message or state.name)
