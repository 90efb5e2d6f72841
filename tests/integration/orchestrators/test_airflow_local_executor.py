"""The churn DAG on a running Airflow: started by a trigger, its worker killed, its gate refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from airflows import (
    ONCE,
    PATIENCE,
    PIPELINE,
    Airflow,
    edited,
    effects,
    local_executor,
    refused_run,
)
from environments import other_python
from gateways import until
from local_airflow import BIN

from penstock.errors import AccessError, ConflictError, PenstockError, ProjectError, ResourceError
from penstock.monitoring.report import Measure, Report, Verdict
from penstock.orchestrators.airflow_api import AirflowRun, find_run, start_run
from penstock.orchestrators.task import Task, run_task
from penstock.project import Project
from penstock.state.cache import StepCache
from penstock.state.database import open_database
from penstock.state.runs import Runs

# The first test waits for a whole deployment and its run, on a machine that may be busy.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

AS_OF = datetime(2026, 1, 5, tzinfo=UTC)
REASON = "drift: minutes_30d moved by 0.31 (PSI) in 3 of 3 windows"
KEY = "drift/2026-01-05"
DRIFT = Report(
    *("features", "churn@1", "production", AS_OF, None, AS_OF, "prediction log", 12_000),
    (Measure("drift", "minutes_30d", Verdict.FOUND, "PSI 0.31", 0.31, before=0.02),),
)
# The first time, training goes on until its process is killed.
UNTIL_KILLED = """    import os
    import signal
    from pathlib import Path

    if not Path("trained").exists():
        Path("trained").write_text(str(os.getpid()))
        signal.pause()
    model = LGBM"""


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    with local_executor(tmp_path_factory.mktemp("local")) as deployed:
        yield deployed


@dataclass(frozen=True)
class Triggered:
    run: AirflowRun
    again: AirflowRun  # by the same key, while it ran
    other: PenstockError | None  # what another key got meanwhile
    tasks: dict[str, tuple[str, int]]
    state: str


@pytest.fixture(scope="module")
def triggered(airflow: Airflow) -> Triggered:
    """A run that drift started, whose training was killed once."""
    edited(airflow.project / "pipeline.py", "    model = LGBM", UNTIL_KILLED)
    project = airflow.opened()
    run = start_run(project, REASON, key=KEY, as_of=AS_OF, conf={"feature": "minutes_30d"})
    again, other = start_run(project, REASON, key=KEY), refusal(project)
    trained = airflow.project / "trained"
    until(lambda: trained.exists() and trained.read_text(), PATIENCE, pause=0.2)
    os.kill(int(trained.read_text()), signal.SIGKILL)
    state = airflow.ended(run.id)
    return Triggered(run, again, other, airflow.tasks(run.id), state)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of the environment that the second run's steps have to themselves."""
    return other_python(tmp_path_factory.mktemp("environment") / "venv")


@pytest.fixture(scope="module")
def refused(airflow: Airflow, triggered: Triggered, python: str) -> str:
    """A run whose gate says no, under another Python than Airflow's."""
    settings = airflow.project / "penstock.toml"
    edited(settings, "[pipeline]\n", f'[pipeline]\npython = "{python}"\n')
    return refused_run(airflow, AS_OF)


def refusal(project: Project, **key: Any) -> PenstockError | None:
    """What starting a run ends with."""
    try:
        start_run(project, "another reason", **key)
    except PenstockError as error:
        return error
    return None


def test_drift_starts_a_run_that_airflow_shows_with_its_reason(
    airflow: Airflow, triggered: Triggered
) -> None:
    assert triggered.run.new
    shown = airflow.ask(f"dags/churn/dagRuns/{triggered.run.id}")
    assert shown["note"] == REASON
    assert shown["conf"] == {"feature": "minutes_30d", "reason": REASON}
    assert shown["run_type"] == "manual"
    assert triggered.run.url == f"{airflow.url}/dags/churn/runs/{triggered.run.id}"


def test_the_same_trigger_starts_one_run(airflow: Airflow, triggered: Triggered) -> None:
    assert (triggered.again.id, triggered.again.new) == (triggered.run.id, False)
    later = start_run(airflow.opened(), REASON, key=KEY)
    assert (later.id, later.new, later.state) == (triggered.run.id, False, "success")


def test_another_trigger_is_refused_while_a_run_is_under_way(triggered: Triggered) -> None:
    assert isinstance(triggered.other, ConflictError)
    assert f"a run of churn is under way in Airflow: {triggered.run.id}" in triggered.other.message


def test_a_killed_task_is_tried_again_and_the_run_succeeds(
    airflow: Airflow, triggered: Triggered
) -> None:
    assert triggered.state == "success", airflow.log(triggered.run.id, "train_model", 2)
    again = {task for task, (_, attempts) in triggered.tasks.items() if attempts > 1}
    assert again == {"train_model"}
    assert {state for state, _ in triggered.tasks.values()} == {"success"}


def test_the_run_saw_the_moment_that_was_asked_for(airflow: Airflow, triggered: Triggered) -> None:
    run = airflow.penstock("runs", "show", triggered.run.id)
    assert (run["status"], run["orchestrator"]) == ("succeeded", "airflow")
    assert datetime.fromisoformat(run["as_of"]) == AS_OF


def test_no_step_was_done_twice_in_effect(airflow: Airflow, triggered: Triggered) -> None:
    assert effects(airflow, triggered.run.id) == ONCE


def test_a_registration_that_only_the_ledger_knows_of_is_not_done_again(
    airflow: Airflow, triggered: Triggered
) -> None:
    """As when the process is killed between the ledger and its last write."""
    project = airflow.opened()
    database = open_database(project)
    StepCache(database).forget("register_model")
    run = Runs(database).get(triggered.run.id)
    assert run is not None
    records = {step.step: step.record for step in run.steps}
    before = ("extract_data", "validate_data", "feature_engineering", "train_model")
    needed = {name: records[name] for name in (*before, "evaluate_model")}
    task = Task("register_model", run.id, AS_OF, 2, last_attempt=True, orchestrator="airflow")
    assert run_task(project, task, needed) == records["register_model"]
    assert effects(airflow, run.id) == ONCE


def test_a_gate_that_says_no_fails_its_task_at_once_and_what_is_behind_it(
    airflow: Airflow, refused: str
) -> None:
    assert airflow.state(refused) == "failed"
    tasks = airflow.tasks(refused)
    assert tasks["evaluate_model"] == ("failed", 1)
    ends = Counter(state for state, _ in tasks.values())
    assert ends == {"success": 4, "failed": 1, "upstream_failed": 4}


def test_the_log_of_the_task_says_why(airflow: Airflow, refused: str) -> None:
    log = airflow.log(refused, "evaluate_model")
    assert "expected >= 0.9999" in log
    assert "AirflowFailException" in log


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


def test_an_operator_in_a_dag_by_hand_runs_its_step_under_the_python_it_names(
    airflow: Airflow, python: str, make_project: Callable[..., Project]
) -> None:
    project = make_project(**{"pipeline.py": EXTRACT})
    text = BY_HAND.replace("PROJECT", str(project.root)).replace("PYTHON", python)
    (airflow.project / "dags" / "by_hand.py").write_text(text)
    command = [BIN / "airflow", "dags", "test", "by_hand"]
    clean = {k: v for k, v in airflow.variables.items() if not k.startswith("PENSTOCK_")}
    done = subprocess.run(command, env=clean, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert f"extracted by {Path(python).parents[1]}" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("changed", "kind", "said"),
    [
        ({"AIRFLOW_URL": "http://127.0.0.1:1"}, ResourceError, "does not answer"),
        ({"AIRFLOW_PASSWORD": "wrong"}, AccessError, "gave admin no token (401)"),
        ({"AIRFLOW_PASSWORD": ""}, AccessError, "neither a token nor a password"),
        ({"AIRFLOW_TOKEN": "wrong"}, AccessError, "refused us (403)"),
    ],
)
def test_an_airflow_that_lets_nobody_in_is_an_error_that_says_what_to_set(
    airflow: Airflow, changed: dict[str, str], kind: type[PenstockError], said: str
) -> None:
    more = {f"PENSTOCK_PIPELINE_{name}": value for name, value in changed.items()}
    error = refusal(airflow.opened(more), key="x")
    assert type(error) is kind
    assert said in error.message
    assert "PIPELINE" in error.hint or "[pipeline]" in error.hint


def test_a_dag_that_airflow_does_not_have_or_run_is_an_error(
    airflow: Airflow, refused: str
) -> None:
    error = refusal(airflow.opened({"PENSTOCK_PROJECT_NAME": "missing"}), key="x")
    assert isinstance(error, ProjectError)
    assert "has no DAG missing" in error.message
    airflow.change("dags/churn", {"is_paused": True})
    paused = refusal(airflow.opened(), key="x")
    airflow.change("dags/churn", {"is_paused": False})
    assert paused is not None
    assert "the DAG churn is paused in Airflow" in paused.message
    assert find_run(airflow.opened(), "penstock__x") is None


def test_drift_starts_a_run_whose_reason_is_everywhere_and_which_holds_nothing_when_it_is_ended(
    airflow: Airflow, refused: str, tmp_path: Path
) -> None:
    by_airflow = replace(airflow, variables={**airflow.variables, **starts_runs(airflow)})
    look = tmp_path / "report.json"
    look.write_text(json.dumps(asdict(DRIFT), default=str))
    fired = by_airflow.penstock("triggers", "check", "--report", str(look))
    run, because = fired["run"], "churn@1: drift of minutes_30d: PSI 0.31"
    told = airflow.ask(f"dags/churn/dagRuns/{run}")
    assert told["note"] == because
    assert told["conf"] == {"reason": because, "cause": "drift", "entry": 1}
    again = by_airflow.penstock("triggers", "check", "--report", str(look))
    assert again["run"] is None

    runs = Runs(open_database(airflow.opened()))
    until(lambda: runs.get(run), PATIENCE, pause=0.2)
    row = runs.get(run)
    assert row
    assert (row.trigger, row.reason) == ("drift", because)
    airflow.change(f"dags/churn/dagRuns/{run}", {"state": "failed"})
    ended = list[Any]()
    until(
        lambda: ended.extend(by_airflow.penstock("triggers", "check")["ended"]) or ended, PATIENCE
    )
    assert ended[0]["run"] == run
    assert ended[0]["outcome"] in {"failed", "interrupted"}  # as its task could say so, or not


def starts_runs(airflow: Airflow) -> dict[str, str]:
    """Settings of whoever checks triggers."""
    return {
        f"{PIPELINE}_URL": airflow.url,
        f"{PIPELINE}_PASSWORD": airflow.password,
        "PENSTOCK_PIPELINE_ORCHESTRATOR": "airflow",
        "PENSTOCK_ENVIRONMENT": "production",
        "PENSTOCK_TRIGGERS_ON": "drift",
    }
