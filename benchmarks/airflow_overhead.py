"""What Airflow adds to a run of the churn DAG: its wall time less the local run's, per task.

The peer is Airflow's own launch cost: on the same deployment, a DAG of as many tasks that do
nothing. Both runs of the example make everything anew. A part of `make bench-monitor`, which takes
its `rows()`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / folder) for folder in ("tests/support", "scripts")]

from airflows import IN_A_TEST, Airflow, local_executor, make_churn  # noqa: E402
from local_airflow import BIN  # noqa: E402
from side_by_side import Row, row, write  # noqa: E402

AS_OF = "2026-01-05T00:00:00+00:00"
TASKS = 9
AIM = 1.0  # Airflow's own launch cost, and nothing more
NOTHING = f"""
from airflow.sdk import DAG, task

with DAG("nothing", schedule=None) as dag:

    @task
    def nothing():
        pass

    last = None
    for number in range({TASKS}):
        this = nothing.override(task_id=f"nothing{{number}}")()
        if last is not None:
            last >> this
        last = this
"""


@dataclass(frozen=True)
class Timed:
    """Wall seconds of a run and of its tasks; on Airflow those without the wait for their turn."""

    whole: float
    tasks: Mapping[str, float]

    @property
    def between(self) -> float:
        """What passes between the tasks, of which one starts when another has ended."""
        return (self.whole - sum(self.tasks.values())) / len(self.tasks)


def rows() -> list[Row]:
    """One row; the seconds of each step under both are printed before."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        desk = Path(folder)
        local = locally(desk / "local" / "churn")
        with local_executor(desk, prepare=add_nothing) as airflow:
            on_airflow(airflow, "nothing")  # the first is slower
            empty = on_airflow(airflow, "nothing")
            churn = on_airflow(airflow, "churn", as_of=AS_OF)
    print(table(local, churn, empty), flush=True)
    ours, peer = (churn.whole - local.whole) / TASKS, empty.whole / TASKS
    work = "what Airflow adds to a task of the churn DAG / an empty task"
    return [row(work, ours, peer, ours / peer, AIM)]


def add_nothing(project: Path) -> None:
    (project / "dags" / "nothing.py").write_text(NOTHING)


def table(local: Timed, churn: Timed, empty: Timed) -> str:
    lines = [f"{'seconds of':<24}{'Airflow':>9}{'local':>9}{'more':>9}"]

    def add(name: str, there: float, here: float) -> None:
        lines.append(f"{name:<24}{there:9.1f}{here:9.1f}{there - here:+9.1f}")

    for step, seconds in local.tasks.items():
        add(step, churn.tasks[step], seconds)
    add("before each task", churn.between, local.between)
    add("whole run", churn.whole, local.whole)
    idle = sum(empty.tasks.values()) / TASKS
    add("an empty task", idle, 0.0)
    add("before each empty task", empty.between, 0.0)
    return "\n".join(lines)


def locally(project: Path) -> Timed:
    """`penstock run` of the same project, with the same settings."""
    project.parent.mkdir()
    make_churn(project)
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PENSTOCK_")}
    settings = {k: v for k, v in IN_A_TEST.items() if k.startswith("PENSTOCK_")}
    variables = {**kept, **settings, "PENSTOCK_PROJECT": str(project)}
    command = [BIN / "penstock", "run", "--as-of", AS_OF, "--environment", "production", "--json"]
    begun = time.perf_counter()
    done = subprocess.run(command, env=variables, check=True, stdout=subprocess.PIPE, text=True)
    seconds = time.perf_counter() - begun
    subprocess.run([BIN / "penstock", "serve", "--stop"], env=variables, capture_output=True)
    steps = json.loads(done.stdout)["steps"]
    return Timed(seconds, {one["step"]: one["seconds"] for one in steps})


def on_airflow(airflow: Airflow, dag: str, **asked: str) -> Timed:
    """A new run, from its queueing to its end."""
    run = airflow.ask(f"dags/{dag}/dagRuns", {"logical_date": None, "conf": asked})
    name = run["dag_run_id"]
    assert airflow.ended(name, dag) == "success", airflow.of_run(name, dag=dag)
    seen = airflow.of_run(name, dag=dag)
    tasks = airflow.of_run(name, "taskInstances", dag=dag)["task_instances"]
    began, ended = (datetime.fromisoformat(seen[moment]) for moment in ("queued_at", "end_date"))
    return Timed(
        (ended - began).total_seconds(), {one["task_id"]: one["duration"] for one in tasks}
    )


if __name__ == "__main__":
    write("airflow_overhead", rows())
