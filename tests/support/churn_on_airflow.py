"""The churn DAG on a running Airflow, and what became of its first two runs: fixtures.

In the first, by schedule, a training is killed and a step does not reach its source; the gate of
the second, which drift starts, says no under another Python.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from airflows import PATIENCE, Airflow, edited, local_executor, refuse_all
from environments import other_python
from gateways import until
from mailboxes import Mailbox, running
from own_steps import COUNT_ROWS, SURVEY

from penstock.errors import PenstockError
from penstock.orchestrators.airflow_api import AirflowRun, start_run
from penstock.project import Project

LEAP_DAYS = "0 0 29 2 *"  # of which the latest stays the latest until 2028
AS_OF = datetime(2024, 2, 29, tzinfo=UTC)
REASON = "drift: minutes_30d moved by 0.31 (PSI) in 3 of 3 windows"
KEY = "drift/2024-02-29"
# The first time, training goes on until its process is killed.
UNTIL_KILLED = """    import os
    import signal
    from pathlib import Path

    if not Path("trained").exists():
        Path("trained").write_text(str(os.getpid()))
        signal.pause()
    model = LGBM"""
BY_HAND = """
from airflow.sdk import DAG
from penstock.orchestrators.airflow import PenstockStepOperator

with DAG("by_hand", schedule=None) as dag:
    PenstockStepOperator(
        task_id="extract_data", project="PROJECT", environment="dev", needs=[], python="PYTHON"
    )
"""
EXTRACT = """
import sys
import pandas as pd


def extract(context):
    print("extracted by", sys.prefix)
    return pd.DataFrame({"n": [1, 2]})
"""


@pytest.fixture(scope="module")
def mailbox() -> Iterator[Mailbox]:
    with running() as box:
        yield box


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of an environment that steps have to themselves."""
    return other_python(tmp_path_factory.mktemp("environment") / "venv")


@pytest.fixture(scope="module")
def airflow(
    tmp_path_factory: pytest.TempPathFactory, mailbox: Mailbox, python: str
) -> Iterator[Airflow]:
    """It starts the run of the latest date of the schedule by itself, once all of it is up."""
    settings = {
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True",
        "PENSTOCK_PIPELINE_SCHEDULE": LEAP_DAYS,
        "PENSTOCK_PIPELINE_START_DATE": "2020-01-01T00:00:00Z",
        "PENSTOCK_NOTIFY_EMAILS": "team@example.com",
        "PENSTOCK_NOTIFY_SMTP_HOST": "127.0.0.1",
        "PENSTOCK_NOTIFY_SMTP_PORT": str(mailbox.port),
        "PENSTOCK_LINEAGE_OPENLINEAGE": "file:events.jsonl",
    }
    folder = tmp_path_factory.mktemp("local")
    small = folder / "small"
    small.mkdir()
    (small / "penstock.toml").write_text('[project]\nname = "small"\n')
    (small / "pipeline.py").write_text(EXTRACT)
    by_hand = BY_HAND.replace("PROJECT", str(small)).replace("PYTHON", python)

    def prepare(project: Path) -> None:
        (project / "trouble").touch()
        (project / "dags" / "by_hand.py").write_text(by_hand)
        edited(project / "pipeline.py", "    model = LGBM", UNTIL_KILLED)
        for file, more in {
            "pipeline.py": COUNT_ROWS + SURVEY,
            "params.yaml": "\nsurvey:\n  regions: [eu, us]\n",
        }.items():
            with (project / file).open("a") as stream:
                stream.write(more)

    with local_executor(folder, settings, prepare) as deployed:
        deployed.change("dags/churn", {"is_paused": False})
        yield deployed


@dataclass(frozen=True)
class Run:
    id: str
    state: str
    tasks: dict[str, tuple[str, int]]  # as Airflow tells it
    told: dict[str, Any]  # as Penstock does

    @property
    def steps(self) -> dict[str, Any]:
        return {step["step"]: step for step in self.told["steps"]}


def seen(airflow: Airflow, run: str) -> Run:
    """A run at its end."""
    state = airflow.ended(run)
    return Run(run, state, airflow.tasks(run), airflow.penstock("runs", "show", run))


@pytest.fixture(scope="module")
def nightly(airflow: Airflow) -> Run:
    """The run by schedule, whose training was killed once."""
    (run,) = until(lambda: airflow.ask("dags/churn/dagRuns")["dag_runs"], PATIENCE, pause=1)
    trained = airflow.project / "trained"
    until(lambda: trained.exists() and trained.read_text(), PATIENCE, pause=0.2)
    os.kill(int(trained.read_text()), signal.SIGKILL)
    return seen(airflow, run["dag_run_id"])


@pytest.fixture(scope="module")
def staging(airflow: Airflow, nightly: Run) -> str:
    """The address of what the run deployed."""
    return str(airflow.penstock("status")["staging"]["url"])


@dataclass(frozen=True)
class Triggered:
    run: Run
    first: AirflowRun
    again: AirflowRun  # by the same key, while it ran
    other: PenstockError | None  # what another key got meanwhile


@pytest.fixture(scope="module")
def refused(airflow: Airflow, nightly: Run, python: str) -> Triggered:
    """A run that drift started, whose gate says no, under another Python than Airflow's."""
    edited(airflow.project / "penstock.toml", "[pipeline]\n", f'[pipeline]\npython = "{python}"\n')
    refuse_all(airflow.project)
    project = airflow.opened()
    run = start_run(project, REASON, key=KEY, as_of=AS_OF, conf={"feature": "minutes_30d"})
    again, other = start_run(project, REASON, key=KEY), refusal(project)
    return Triggered(seen(airflow, run.id), run, again, other)


def refusal(project: Project, **key: Any) -> PenstockError | None:
    """What starting a run ends with."""
    try:
        start_run(project, "another reason", **key)
    except PenstockError as error:
        return error
    return None
