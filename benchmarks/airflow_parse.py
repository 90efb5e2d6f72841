"""The Airflow rows of `make bench-monitor`: what it costs to parse a project's DAG, beside none.

A peer is the same DAG file with no DAG in it but an empty one. Both are parsed in a process of
their own, as Airflow's DAG processor does it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from side_by_side import Row, compare, timed, write

PYTHON = sys.executable
PAIRS = 11
AIM = 1.2
EMPTY = """
import datetime
from airflow.sdk import DAG
dag = DAG("empty", schedule=None, start_date=datetime.datetime(2025, 1, 1))
"""
PARSE = """
import sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
assert bag.dags and not bag.import_errors, bag.import_errors
"""


def parse_rows() -> list[Row]:
    """A new process each, and a child of one that has Airflow imported already."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        desk = Path(folder)
        environment = {
            **os.environ,
            "AIRFLOW_HOME": str(desk / "home"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        }
        penstock = str(Path(PYTHON).with_name("penstock"))
        made = [penstock, "init", str(desk / "shop"), "--template", "blank"]
        subprocess.run(made, check=True, capture_output=True)
        ours = desk / "shop" / "dags" / "pipeline.py"
        peer = desk / "empty.py"
        peer.write_text(EMPTY)
        os.environ.update(environment)
        return [
            compare(
                "parse the DAG / an empty DAG, in a new process",
                lambda: timed([PYTHON, "-c", PARSE, str(ours)], env=environment),
                lambda: timed([PYTHON, "-c", PARSE, str(peer)], env=environment),
                aim=AIM,
                pairs=PAIRS,
            ),
            compare(
                "the same in a child that Airflow's DAG processor forks",
                forked(ours),
                forked(peer),
                aim=AIM,
                pairs=PAIRS,
            ),
        ]


def forked(file: Path) -> Callable[[], float]:
    """Wall seconds of a child that parses a file, with Airflow's own modules there already."""
    from airflow.dag_processing.dagbag import DagBag

    def parse() -> float:
        begun = time.perf_counter()
        if (child := os.fork()) == 0:
            bag = DagBag(str(file))
            os._exit(0 if bag.dags and not bag.import_errors else 1)
        _, status = os.waitpid(child, 0)
        assert status == 0, f"{file} was not parsed"
        return time.perf_counter() - begun

    return parse


if __name__ == "__main__":
    write("airflow_parse", parse_rows())
