"""What Airflow adds to a run of the churn DAG: its wall time less the local run's, per task.

The peer is Airflow's own launch cost: on the same deployment, a DAG of as many tasks that do
nothing. Both runs of the example make everything anew. A part of `make bench-monitor`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / folder) for folder in ("tests/support", "scripts")]

from airflows import ENDED, IN_A_TEST, PATIENCE, Airflow, local_executor, make_churn  # noqa: E402
from gateways import until  # noqa: E402
from local_airflow import BIN  # noqa: E402
from side_by_side import Row, row, write  # noqa: E402

AS_OF = "2026-01-05T00:00:00+00:00"
TASKS = 9
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


def airflow_overhead() -> list[Row]:
    """One row; the seconds of each step under both are printed before."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        desk = Path(folder)
        local, here = locally(desk / "local" / "churn")
        with local_executor(desk) as airflow:
            (airflow.project / "dags" / "nothing.py").write_text(NOTHING)
            subprocess.run(
                [BIN / "airflow", "dags", "reserialize"], env=airflow.variables, check=True
            )
            launched, _ = on_airflow(airflow, "nothing")
            whole, there = on_airflow(airflow, "churn")
    for step in here:
        more = there[step] - here[step]
        print(f"  {step:<24} Airflow {there[step]:6.1f} s  local {here[step]:6.1f} s  {more:+6.1f}")
    print(f"  whole run                Airflow {whole:6.1f} s  local {local:6.1f} s")
    ours, peer = (whole - local) / TASKS, launched / TASKS
    return [
        row("a task on Airflow less its local step / an empty task", ours, peer, ours / peer, 1.0)
    ]


def locally(project: Path) -> tuple[float, dict[str, float]]:
    """Wall seconds of `penstock run`, and of each of its steps."""
    project.parent.mkdir()
    make_churn(project)
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PENSTOCK_")}
    settings = {k: v for k, v in IN_A_TEST.items() if k.startswith("PENSTOCK_")}
    variables = {**kept, **settings, "PENSTOCK_PROJECT": str(project)}
    command = [BIN / "penstock", "run", "--as-of", AS_OF, "--environment", "production", "--json"]
    begun = time.perf_counter()
    done = subprocess.run(command, env=variables, check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - begun
    subprocess.run([BIN / "penstock", "serve", "--stop"], env=variables, capture_output=True)
    steps = json.loads(done.stdout)["steps"]
    return seconds, {one["step"]: one["seconds"] for one in steps}


def on_airflow(airflow: Airflow, dag: str) -> tuple[float, dict[str, float]]:
    """Seconds from the queueing of a new run to its end, and of each of its tasks."""
    run = f"dags/{dag}/dagRuns/bench"
    moment = {"logical_date": AS_OF, "data_interval_start": AS_OF, "data_interval_end": AS_OF}
    airflow.ask(f"dags/{dag}/dagRuns", {"dag_run_id": "bench", **moment})
    until(lambda: airflow.ask(run)["state"] in ENDED, PATIENCE, pause=0.5)
    seen, tasks = airflow.ask(run), airflow.ask(f"{run}/taskInstances")["task_instances"]
    assert seen["state"] == "success", seen
    began, ended = (datetime.fromisoformat(seen[name]) for name in ("queued_at", "end_date"))
    return (ended - began).total_seconds(), {one["task_id"]: one["duration"] for one in tasks}


if __name__ == "__main__":
    write("airflow_overhead", airflow_overhead())
