"""The Airflow rows of `make bench-monitor`: what it costs to parse a project's DAG.

Beside a file with an empty DAG, and beside one with as many tasks that is written for Airflow by
hand. CPU seconds, of a new process and of a child that Airflow's DAG processor forks for a file:
imports, tasks made, and all of it written as Airflow keeps it. In the child an empty file costs
next to nothing, and Airflow alone takes a millisecond and more for each task: no DAG with tasks
comes near it there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from side_by_side import Row, compare, row, write

PYTHON = sys.executable
PAIRS = 5  # of new processes
FORKS = 31  # of each file
AIM = 1.2
EMPTY = """
import datetime
from airflow.sdk import DAG
dag = DAG("empty", schedule=None, start_date=datetime.datetime(2025, 1, 1))
"""
PLAIN = Path(__file__).parent / "peers" / "plain_dag.py"
PARSE = """
import sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
assert bag.dags and not bag.import_errors, bag.import_errors
"""
# What the DAG processor of Airflow 3.3 does before it forks, and then in the child.
PROCESSOR = """
import gc, json, os, sys
from pathlib import Path
import structlog
import airflow.dag_processing.manager
from airflow.dag_processing import processor
from airflow.sdk.execution_time import comms, task_runner

def child(file):
    asked = processor.DagFileParseRequest(file=file, bundle_path=Path(file).parent, bundle_name="b")
    if (pid := os.fork()) == 0:
        os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "client"
        made = processor._parse_file(asked, structlog.get_logger("task"))
        os._exit(0 if made.serialized_dags and not made.import_errors else 1)
    _, status, used = os.wait4(pid, 0)
    assert status == 0, f"{file} was not parsed"
    return used.ru_utime + used.ru_stime

files, rounds = sys.argv[2:], int(sys.argv[1])
for file in files:
    processor._pre_import_airflow_modules(file, structlog.get_logger())
gc.freeze()
[child(file) for file in files]
print(json.dumps([[child(file) for file in files] for _ in range(rounds)]))
"""


def rows() -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        desk = Path(folder)
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("PENSTOCK_", "AIRFLOW_"))},
            "AIRFLOW_HOME": str(desk / "home"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
            "PYTHONDONTWRITEBYTECODE": "",  # as anywhere where it can be kept
        }
        make = [PYTHON, "-m", "penstock", "init", str(desk / "shop"), "--template", "blank"]
        subprocess.run(make, check=True, capture_output=True)
        ours, empty = desk / "shop" / "dags" / "pipeline.py", desk / "empty.py"
        empty.write_text(EMPTY)
        return [
            compare(
                "parse the DAG / an empty one, in a new process",
                lambda: cpu_seconds([PYTHON, "-c", PARSE, str(ours)], environment),
                lambda: cpu_seconds([PYTHON, "-c", PARSE, str(empty)], environment),
                aim=AIM,
                pairs=PAIRS,
            ),
            *forked(ours, empty, environment),
        ]


def forked(ours: Path, empty: Path, environment: dict[str, str]) -> list[Row]:
    """The best of each: whatever else the machine does can only add to CPU seconds."""
    command = [PYTHON, "-c", PROCESSOR, str(FORKS), str(ours), str(empty), str(PLAIN)]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    drawn, nothing, plain = map(min, zip(*json.loads(done.stdout.splitlines()[-1]), strict=True))
    print(f"  as many tasks by hand cost {plain / nothing:.1f} × an empty file: Airflow's own part")
    return [
        row("the same in the DAG processor's child", drawn, nothing, drawn / nothing, AIM),
        row("there / as many tasks written by hand", drawn, plain, drawn / plain, AIM),
    ]


def cpu_seconds(command: list[str], environment: dict[str, str]) -> float:
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = status
    assert status == 0, command
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    write("airflow_parse", rows())
