"""Starts a run that was ordered, on the orchestrator that the settings name.

Telling it twice starts one run: the order fixes the run's id, and each orchestrator has at most one
run of an id.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from datetime import datetime

from penstock.errors import ResourceError
from penstock.monitoring.trigger_book import Order
from penstock.orchestrators.airflow_api import run_id, start_run
from penstock.processes.command_line import penstock
from penstock.project import Project
from penstock.state.runs import new_run_id

Starter = Callable[[Project, Order], str]


def start(project: Project, order: Order) -> str:
    """Starts it, waits for nothing, and says where it goes on.

    Raises `ResourceError` where the orchestrator is not reached, and it may be tried again.
    """
    return STARTERS[project.settings.pipeline.orchestrator](project, order)


def new_run(project: Project, now: datetime) -> str:
    """The id of a run that is to be ordered, as the orchestrator will call it."""
    made = new_run_id(now)
    return run_id(made) if project.settings.pipeline.orchestrator == "airflow" else made


def _local(project: Project, order: Order) -> str:
    """A `penstock run` of its own session: it goes on when whoever started it has ended."""
    log = project.folder / "runs" / order.run / "run.log"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as stream:
            process = subprocess.Popen(
                penstock(f"run --trigger {order.number}", project),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                cwd=project.root,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                start_new_session=True,
            )
    except OSError as error:
        raise ResourceError(f"`penstock run` cannot be started: {error}") from error
    return f"process {process.pid}, {project.relative(log)}"


def _airflow(project: Project, order: Order) -> str:
    """A run of the project's DAG; its tasks find the order by the run's id."""
    details = {"cause": str(order.kind), "entry": order.number}
    return start_run(
        project, order.because, key=order.run.removeprefix(run_id("")), conf=details
    ).url


def _prefect(project: Project, order: Order) -> str:
    """A run of the flow that is served; it is told its id and reason."""
    from penstock.orchestrators import prefect_api

    return prefect_api.start_run(project, order.run, order.because).url


STARTERS: dict[str, Starter] = {"local": _local, "airflow": _airflow, "prefect": _prefect}
