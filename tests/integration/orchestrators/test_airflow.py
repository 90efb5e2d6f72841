"""A project's DAG as a process sees it that parses it: the tasks, and what the settings say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from own_steps import COUNT_ROWS, SURVEY

from penstock.cli.main import run
from penstock.pipeline.plan import plan_of
from penstock.project import open_project

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Airflow:
    """An Airflow that has nothing yet, and one project."""

    home: Path
    project: Path

    def python(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        foreign = ("PENSTOCK_", "AIRFLOW_")
        clean = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
        return subprocess.run(
            [sys.executable, *command],
            env={**clean, "AIRFLOW_HOME": str(self.home)},
            text=True,
            capture_output=True,
        )


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Airflow:
    """The blank project, with a step of its own and a mapped one."""
    folder = tmp_path_factory.mktemp("projects")
    project = folder / "shop"
    assert run(["init", str(project), "--template", "blank"]) == 0
    settings = project / "penstock.toml"
    named = '"shop-team"\ntags = ["shop", "nightly"]'
    settings.write_text(settings.read_text().replace('"you@example.com"', named))
    regions = "\nsurvey:\n  regions: [eu, us]\n"
    for file, more in {"pipeline.py": COUNT_ROWS + SURVEY, "params.yaml": regions}.items():
        with (project / file).open("a") as stream:
            stream.write(more)
    return Airflow(folder / "airflow", project)


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
    file = airflow.project / "dags" / "shop.py"
    answer = airflow.python("-c", PARSE, file)
    assert answer.returncode == 0, answer.stderr
    return dict(json.loads(answer.stdout.splitlines()[-1]))


def test_the_dag_file_has_three_lines(airflow: Airflow) -> None:
    text = (airflow.project / "dags" / "shop.py").read_text()
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
    assert after["extract_data"] == []
    assert after["count_rows"] == ["validate_data"]
    assert after["train_model"] == ["count_rows", "feature_engineering"]
    plan = plan_of(open_project(airflow.project, "production"))
    assert after == {step.family: sorted(step.after) for step in plan.steps}


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
    stray.write_text((airflow.project / "dags" / "shop.py").read_text())
    answer = airflow.python(stray)
    assert answer.returncode != 0
    assert f"no penstock.toml in any folder above {stray}" in answer.stderr
