"""A project's DAG under the real Airflow: `airflow dags test`, with its own home and SQLite."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mailboxes import Mailbox, running
from openlineage_schemas import faults

pytestmark = pytest.mark.slow

BIN = Path(sys.executable).parent
STEPS = [
    "extract_data",
    "validate_data",
    "feature_engineering",
    "train_model",
    "evaluate_model",
    "register_model",
    "deploy_to_staging",
    "run_integration_tests",
    "notify_team",
]
SMALL = """
[load_test]
duration = "1s"
warmup = "200ms"
entities = 20

[serving]
replicas = 1

[notify]
emails = ["team@example.com"]
smtp_host = "127.0.0.1"
"""
OWN_STEPS = """
from penstock import step
from penstock.records import DatasetVersion


@step(after="validate_data", before="train_model")
def count_rows(context, dataset: DatasetVersion):
    trouble = context.project / "trouble"
    if trouble.exists():
        trouble.unlink()
        raise ConnectionError("the counter does not answer")
    print("counted", dataset.rows, "rows")


@step(after="extract_data", map="regions")
def survey(context, dataset: DatasetVersion):
    print("surveyed", context.item)
"""
OWN = ["count_rows", "survey.eu", "survey.us"]


@dataclass(frozen=True)
class Airflow:
    """An Airflow of its own, and one project whose `dags/` it reads."""

    home: Path
    project: Path
    mail_port: int

    @property
    def environment(self) -> dict[str, str]:
        foreign = ("PENSTOCK_", "AIRFLOW_")
        return {
            **{k: v for k, v in os.environ.items() if not k.startswith(foreign)},
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.project / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "PENSTOCK_SERVING_PORT": "0",
            "PENSTOCK_GATES_INTEGRATION_LATENCY_P95_MS": "< 2000",
            "PENSTOCK_GATES_INTEGRATION_THROUGHPUT_QPS": "> 1",
            "PENSTOCK_NOTIFY_SMTP_PORT": str(self.mail_port),
            "PENSTOCK_PIPELINE_RETRY_DELAY": "1s",
            "PENSTOCK_LINEAGE_OPENLINEAGE": "file:events.jsonl",
        }

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, env=self.environment, cwd=self.home, text=True, capture_output=True
        )

    def penstock(self, *arguments: str) -> Any:
        answer = self.run(BIN / "penstock", *arguments, "--json", "--project", self.project)
        return json.loads(answer.stdout)

    def latest_run(self) -> dict[str, Any]:
        """As Penstock tells it, with its steps by name."""
        run = self.penstock("runs", "show", "last")
        return {**run, "steps": {step["step"]: step for step in run["steps"]}}

    def rows(self, query: str, *values: str) -> list[tuple[Any, ...]]:
        """Of Airflow's own database."""
        with closing(sqlite3.connect(self.home / "airflow.db")) as connection:
            return list(connection.execute(query, values))

    def tasks(self, run_id: str) -> dict[str, tuple[str, int]]:
        """State and number of attempts of each task."""
        query = "SELECT task_id, state, try_number FROM task_instance WHERE run_id = ?"
        return {task: (state, tries) for task, state, tries in self.rows(query, run_id)}

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.project / file
        text = path.read_text()
        assert old in text, f"{old!r} is not in {file}"
        path.write_text(text.replace(old, new))


@pytest.fixture(scope="module")
def mailbox() -> Iterator[Mailbox]:
    with running() as box:
        yield box


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An AIRFLOW_HOME with a migrated database."""
    folder = tmp_path_factory.mktemp("airflow")
    variables = {**os.environ, "AIRFLOW_HOME": str(folder), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    migrate = [BIN / "airflow", "db", "migrate"]
    done = subprocess.run(migrate, env=variables, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def airflow(
    home: Path, tmp_path_factory: pytest.TempPathFactory, mailbox: Mailbox
) -> Iterator[Airflow]:
    """With the blank project in it, small enough for a test, and with a step of its own."""
    folder = tmp_path_factory.mktemp("projects")
    it = Airflow(home, folder / "shop", mailbox.port)
    made = it.run(BIN / "penstock", "init", folder / "shop", "--template", "blank")
    assert made.returncode == 0, made.stderr
    it.edit("params.yaml", "rows: 3000", "rows: 800")
    it.edit("params.yaml", "trials: 5", "trials: 2")
    it.edit("penstock.toml", '">= 0.70"', '">= 0.60"')
    it.edit("penstock.toml", '"you@example.com"', '"shop-team"\ntags = ["shop", "nightly"]')
    regions = "\nsurvey:\n  regions: [eu, us]\n"
    added = {"penstock.toml": SMALL, "pipeline.py": OWN_STEPS, "params.yaml": regions}
    for file, more in added.items():
        with (it.project / file).open("a") as stream:
            stream.write(more)
    yield it
    it.run(BIN / "penstock", "serve", "--stop", "--project", it.project)


PARSE = """
import json, runpy, sys
from airflow.sdk import DAG, BaseOperator
before = set(sys.modules)
dag = runpy.run_path(sys.argv[1])["dag"]
loaded = sorted({name.partition(".")[0] for name in set(sys.modules) - before})
tasks = {
    task.task_id: {
        "after": sorted(task.upstream_task_ids),
        "owner": task.owner,
        "retries": task.retries,
        "retry_delay": task.retry_delay.total_seconds(),
        "timeout": task.execution_timeout.total_seconds(),
    }
    for task in dag.tasks
}
print(json.dumps({
    "loaded": loaded, "id": dag.dag_id, "schedule": dag.schedule, "catchup": dag.catchup,
    "tags": sorted(dag.tags), "told": bool(dag.has_on_failure_callback), "tasks": tasks,
}))
"""


@pytest.fixture(scope="module")
def parsed(airflow: Airflow) -> dict[str, Any]:
    """What a process that parses the DAG sees, with the settings of the file."""
    variables = {k: v for k, v in airflow.environment.items() if not k.startswith("PENSTOCK_")}
    command = [sys.executable, "-c", PARSE, airflow.project / "dags" / "pipeline.py"]
    answer = subprocess.run(command, env=variables, text=True, capture_output=True)
    assert answer.returncode == 0, answer.stderr
    return dict(json.loads(answer.stdout.splitlines()[-1]))


def test_the_dag_file_has_three_lines(airflow: Airflow) -> None:
    text = (airflow.project / "dags" / "pipeline.py").read_text()
    assert len([line for line in text.splitlines() if line]) == 3


def test_the_dag_is_what_the_settings_say(parsed: dict[str, Any]) -> None:
    assert parsed["id"] == "shop"
    assert parsed["schedule"] == "0 2 * * *"
    assert parsed["catchup"] is False
    assert parsed["tags"] == ["nightly", "shop"]
    assert parsed["told"]


def test_every_task_has_the_owner_retries_and_timeout(parsed: dict[str, Any]) -> None:
    said = {"owner": "shop-team", "retries": 3, "retry_delay": 300.0, "timeout": 7200.0}
    for name, task in parsed["tasks"].items():
        assert task == said | {"after": task["after"]}, name


def test_tasks_follow_one_another_as_the_steps_of_the_plan(
    airflow: Airflow, parsed: dict[str, Any]
) -> None:
    after = {name: task["after"] for name, task in parsed["tasks"].items()}
    assert set(after) == {*STEPS, "count_rows", "survey"}
    assert after["extract_data"] == []
    assert after["count_rows"] == ["validate_data"]
    assert after["train_model"] == ["count_rows", "feature_engineering"]
    plan = {s["step"].partition(".")[0]: sorted(s["after"]) for s in airflow.penstock("plan")}
    assert after == plan


def test_parsing_the_dag_imports_no_tool(parsed: dict[str, Any]) -> None:
    tools = {
        "feast",
        "mlflow",
        "great_expectations",
        "dvc",
        "lightgbm",
        "sklearn",
        "pandas",
        "numpy",
    }
    assert "penstock" in parsed["loaded"]
    assert not tools & set(parsed["loaded"])


def test_a_dag_file_outside_any_project_says_where_it_belongs(
    airflow: Airflow, tmp_path: Path
) -> None:
    stray = tmp_path / "stray.py"
    stray.write_text((airflow.project / "dags" / "pipeline.py").read_text())
    answer = airflow.run(sys.executable, stray)
    assert answer.returncode != 0
    assert f"no penstock.toml in any folder above {stray}" in answer.stderr


@dataclass(frozen=True)
class Run:
    output: str
    run: dict[str, Any]  # as Penstock tells it
    tasks: dict[str, tuple[str, int]]  # as Airflow tells it


def dags_test(airflow: Airflow) -> Run:
    answer = airflow.run(BIN / "airflow", "dags", "test", "shop")
    run = airflow.latest_run()
    return Run(answer.stdout + answer.stderr, run, airflow.tasks(run["id"]))


@pytest.fixture(scope="module")
def nightly(airflow: Airflow) -> Run:
    """A run in which one step does not reach its source at the first attempt."""
    (airflow.project / "trouble").touch()
    return dags_test(airflow)


@pytest.fixture(scope="module")
def refused(airflow: Airflow, nightly: Run) -> Run:
    """The next run, with a gate that no model can pass."""
    airflow.edit("penstock.toml", '">= 0.60"', '">= 0.9999"')
    return dags_test(airflow)


def test_a_run_ends_with_a_live_endpoint(airflow: Airflow, nightly: Run) -> None:
    assert {state for state, _ in nightly.tasks.values()} == {"success"}, nightly.output
    staging = airflow.penstock("status")["staging"]
    with urllib.request.urlopen(f"{staging['url']}/release", timeout=30) as answer:
        assert json.load(answer)["model"] == "shop@1"


def test_a_run_of_airflow_is_listed_with_the_others(airflow: Airflow, nightly: Run) -> None:
    assert nightly.run["status"] == "succeeded"
    assert nightly.run["orchestrator"] == "airflow"
    assert nightly.run["environment"] == "production"
    listed = airflow.penstock("runs", "list")
    assert nightly.run["id"] in [run["id"] for run in listed]
    assert set(nightly.run["steps"]) == {*STEPS, *OWN}


def test_the_xcom_of_a_task_is_its_record(airflow: Airflow, nightly: Run) -> None:
    query = (
        "SELECT task_id, value FROM xcom WHERE run_id = ? AND key = 'return_value' "
        "ORDER BY map_index"
    )
    records = {task: json.loads(v) for task, v in airflow.rows(query, nightly.run["id"])}
    # Airflow stores a value as JSON, SQLite's JSON as text.
    records = {t: json.loads(v) if isinstance(v, str) else v for t, v in records.items()}
    steps = {name: step for name, step in nightly.run["steps"].items() if "." not in name}
    assert records == {name: step["record"] for name, step in steps.items()} | {
        "survey": {"kind": "StepDone", "step": "survey.us"}  # the last of its items
    }
    assert records["extract_data"]["kind"] == "DatasetVersion"
    assert records["notify_team"]["kind"] == "Notice"


def test_what_a_step_says_is_in_the_log_of_its_task_and_little_else(nightly: Run) -> None:
    assert "counted 800 rows" in nightly.output
    assert "scoring 160 held-out rows" in nightly.output
    assert "Skipping registering function" not in nightly.output  # Great Expectations
    assert "DeprecatedImportWarning" not in nightly.output  # Airflow, when skops looks around


def test_a_mapped_step_is_a_task_an_item(airflow: Airflow, nightly: Run) -> None:
    query = "SELECT rendered_map_index, state FROM task_instance WHERE run_id = ? AND task_id = ?"
    found = airflow.rows(query, nightly.run["id"], "survey")
    assert sorted(found) == [("survey.eu", "success"), ("survey.us", "success")]
    assert "surveyed us" in nightly.output
    assert nightly.run["steps"]["survey.eu"]["record"] == {"kind": "StepDone", "step": "survey.eu"}


def test_data_model_and_tested_release_are_told_as_assets_once(
    airflow: Airflow, nightly: Run, refused: Run
) -> None:
    query = "SELECT uri, e.extra FROM asset_event e JOIN asset ON asset.id = asset_id"
    told = {uri: json.loads(extra) for uri, extra in airflow.rows(query)}
    assert len(airflow.rows(query)) == len(told)  # the run that was refused made the same data
    record = nightly.run["steps"]["register_model"]["record"]
    assert told == {
        "penstock://shop/data/rows": told["penstock://shop/data/rows"],
        "penstock://shop/models/shop": {n: record[n] for n in ("name", "version", "digest")},
        "penstock://shop/endpoints/staging": told["penstock://shop/endpoints/staging"],
    }
    assert told["penstock://shop/data/rows"]["rows"] == 800
    assert told["penstock://shop/endpoints/staging"]["model"] == "shop@1"


def test_a_failure_that_may_pass_is_tried_again(nightly: Run) -> None:
    assert nightly.tasks["count_rows"] == ("success", 2)
    assert "the counter does not answer" in nightly.output
    assert nightly.run["steps"]["count_rows"]["attempts"] == 2


def test_a_retry_that_helped_is_no_reason_to_call_anybody(nightly: Run, mailbox: Mailbox) -> None:
    subjects = [mail["subject"] for mail in mailbox.mails]
    assert not any("count_rows" in subject for subject in subjects)
    assert "[shop] shop@1 waits for approval" in subjects


def test_a_gate_that_says_no_fails_its_task_without_a_retry(refused: Run) -> None:
    assert refused.tasks["evaluate_model"] == ("failed", 1)
    assert "AirflowFailException" in refused.output


def test_behind_a_failed_gate_nothing_runs(refused: Run) -> None:
    behind = ("register_model", "deploy_to_staging", "run_integration_tests", "notify_team")
    assert {refused.tasks[name][0] for name in behind} == {"upstream_failed"}
    assert not set(behind) & set(refused.run["steps"])


def test_a_failed_run_is_recorded_with_the_reason(refused: Run) -> None:
    assert refused.run["status"] == "failed"
    assert refused.run["error"]["error"] == "GateFailed"
    assert "auc_roc" in refused.run["error"]["message"]
    assert refused.run["steps"]["evaluate_model"]["record"]["kind"] == "ModelReport"


def test_the_team_hears_of_a_failure_once(airflow: Airflow, refused: Run, mailbox: Mailbox) -> None:
    notices = (airflow.project / ".penstock" / "notices.log").read_text()
    assert notices.count("[shop] evaluate_model failed") == 1
    mails = [m for m in mailbox.mails if m["subject"] == "[shop] evaluate_model failed"]
    assert len(mails) == 1
    assert "expected >= 0.9999" in mails[0].get_payload(decode=True).decode()


def test_a_failed_gate_leaves_the_endpoint_as_it_was(airflow: Airflow, refused: Run) -> None:
    staging = airflow.penstock("status")["staging"]
    with urllib.request.urlopen(f"{staging['url']}/release", timeout=30) as answer:
        assert json.load(answer)["model"] == "shop@1"


def test_its_tasks_tell_openlineage_of_all_that_began_and_ended(
    airflow: Airflow, nightly: Run, refused: Run
) -> None:
    lines = (airflow.project / "events.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    assert [fault for event in events for fault in faults(event)] == []
    told = Counter((event["eventType"], event["job"]["name"]) for event in events)
    # Two runs, and one attempt more of the step that did not reach its source.
    assert told["START", "shop"] == 2
    assert (told["COMPLETE", "shop"], told["FAIL", "shop"]) == (1, 1)
    assert (told["START", "shop.count_rows"], told["FAIL", "shop.count_rows"]) == (3, 1)
    assert told["FAIL", "shop.evaluate_model"] == 1
    ended = {e["run"]["runId"] for e in events if e["eventType"] != "START"}
    assert ended == {e["run"]["runId"] for e in events}
    facets = [event["run"]["facets"] for event in events]
    assert len({one["parent"]["run"]["runId"] for one in facets if "parent" in one}) == 2


def test_the_end_of_a_run_leaves_a_signed_ledger(airflow: Airflow, nightly: Run) -> None:
    seen = airflow.penstock("audit", "verify")
    assert seen["holds"]
    assert seen["checkpoints"]
