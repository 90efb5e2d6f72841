"""A project's flow under a real Prefect server: served on its schedule, run, and its artifacts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from uuid import UUID

import pytest
from gateways import until
from mailboxes import closed_port
from own_steps import COUNT_ROWS

from penstock.project import open_project
from penstock.state.database import open_database
from penstock.state.runs import Runs

# Each run is a dozen processes, on a machine that may be busy.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

BIN = Path(sys.executable).parent
BUSY = 503  # while SQLite is locked
SMALL = """
[load_test]
duration = "1s"
warmup = "0s"
entities = 20

[serving]
replicas = 1
port = 0

[gates.integration]
latency_p95_ms = "< 5000"
"""


@dataclass(frozen=True)
class Prefect:
    """A server of its own, and one project whose flow is served."""

    project: Path
    url: str
    environment: dict[str, str]

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        request = urllib.request.Request(
            f"{self.url}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"content-type": "application/json"},
        )
        while True:
            try:
                with urllib.request.urlopen(request) as answer:
                    return json.load(answer)
            except HTTPError as error:
                if error.code != BUSY:
                    raise
            time.sleep(0.5)

    def run(self, **parameters: Any) -> dict[str, Any]:
        """A run of the deployment, from its start to its end."""
        asked = {"parameters": parameters}
        begun = self.ask(f"/deployments/{self.deployment['id']}/create_flow_run", asked)
        return self.ended(begun["id"])

    def ended(self, run: str) -> dict[str, Any]:
        while True:
            time.sleep(1)
            found = self.ask(f"/flow_runs/{run}")
            if found["state"]["type"] in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}:
                return dict(found)

    @property
    def deployment(self) -> dict[str, Any]:
        return dict(self.ask("/deployments/name/shop/production"))

    def tasks(self, run: dict[str, Any]) -> dict[str, tuple[str, int]]:
        """State and attempts of each task that began; the server hears of them a little later."""
        query = {"flow_runs": {"id": {"any_": [run["id"]]}}}

        def known() -> list[dict[str, Any]]:
            found = list(self.ask("/task_runs/filter", query))
            return found if all(one["state"] for one in found) else []

        found = until(known, 300, pause=0.5)
        return {one["name"]: (one["state"]["type"], one["run_count"]) for one in found}

    def artifacts(self) -> dict[str, str]:
        return {one["key"]: one["data"] for one in self.ask("/artifacts/latest/filter", {})}

    def penstock(self, *arguments: str) -> Any:
        command = [BIN / "penstock", *arguments, "--json", "--project", self.project]
        done = subprocess.run(command, env=self.environment, text=True, capture_output=True)
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prefect]:
    home = tmp_path_factory.mktemp("prefect")
    url = f"http://127.0.0.1:{closed_port()}/api"
    foreign = ("PENSTOCK_", "PREFECT_")
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(foreign)},
        "DO_NOT_TRACK": "1",
        "PENSTOCK_ENVIRONMENT": "production",
        "PENSTOCK_PIPELINE_ORCHESTRATOR": "prefect",
        "PENSTOCK_PIPELINE_RETRIES": "1",
        "PENSTOCK_PIPELINE_RETRY_DELAY": "1s",
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_API_URL": url,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
    }
    project = _project(home, environment)
    port = url.split(":")[2].removesuffix("/api")
    with (home / "log").open("w") as log:
        quiet: dict[str, Any] = {"env": environment, "stdout": log, "stderr": log}
        server = subprocess.Popen([BIN / "prefect", "server", "start", "--port", port], **quiet)
        found = Prefect(project, url, environment)
        flow = None
        try:
            _until(lambda: found.ask("/health"))
            flow = subprocess.Popen([sys.executable, project / "flows" / "shop.py"], **quiet)
            _until(lambda: found.deployment)
            yield found
        finally:
            for process in (flow, server):
                if process is not None:
                    process.terminate()
                    process.wait()
            found.penstock("serve", "--stop")


def _project(home: Path, environment: dict[str, str]) -> Path:
    subprocess.run(
        [BIN / "penstock", "init", "shop", "--template", "blank"],
        cwd=home,
        env=environment,
        check=True,
    )
    project = home / "shop"
    params = project / "params.yaml"
    params.write_text(params.read_text().replace("3000", "800").replace("trials: 5", "trials: 2"))
    settings = project / "penstock.toml"
    settings.write_text(settings.read_text().replace(">= 0.70", ">= 0.60") + SMALL)
    code = project / "pipeline.py"
    code.write_text(code.read_text() + COUNT_ROWS)
    return project


def _until(ready: Any) -> None:
    for _ in range(3600):
        try:
            if ready():
                return
        except OSError:
            pass
        time.sleep(0.5)
    raise AssertionError("Prefect did not come up")


def test_the_flow_is_served_on_the_project_s_schedule(prefect: Prefect) -> None:
    (schedule,) = prefect.deployment["schedules"]
    assert schedule["schedule"]["cron"] == "0 2 * * *"
    assert schedule["schedule"]["timezone"] == "UTC"
    planned = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
    _until(lambda: prefect.ask("/flow_runs/filter", planned))
    due = {run["next_scheduled_start_time"] for run in prefect.ask("/flow_runs/filter", planned)}
    assert {time[11:16] for time in due} == {"02:00"}


@pytest.fixture(scope="module")
def triggered(prefect: Prefect) -> str:
    """A run that somebody started, by its name; what it counts with does not answer at first."""
    (prefect.project / "trouble").touch()
    fired = prefect.penstock("triggers", "fire", "--reason", "prices changed")
    return str(fired["run"])


def test_a_trigger_starts_one_run_which_carries_the_reason(
    prefect: Prefect, triggered: str
) -> None:
    by_name = {"flow_runs": {"name": {"any_": [triggered]}}}
    (begun,) = prefect.ask("/flow_runs/filter", by_name)
    assert begun["parameters"] == {"run_id": triggered, "reason": "prices changed"}
    again = prefect.penstock("triggers", "fire", "--reason", "once more")
    assert (again["run"], again["hold"]) == (None, "joined")

    run = prefect.ended(begun["id"])
    assert run["state"]["type"] == "COMPLETED", run["state"]
    shown = prefect.penstock("runs", "show", triggered)
    assert (shown["orchestrator"], shown["status"]) == ("prefect", "succeeded")
    assert (shown["trigger"], shown["reason"]) == ("manual", "prices changed")
    (ended,) = prefect.penstock("triggers", "check")["ended"]
    assert (ended["run"], ended["outcome"]) == (triggered, "registered")
    assert len(prefect.ask("/flow_runs/filter", by_name)) == 1


def test_a_step_that_may_pass_is_tried_again_and_what_it_came_to_is_shown(
    prefect: Prefect, triggered: str
) -> None:
    (run,) = prefect.ask("/flow_runs/filter", {"flow_runs": {"name": {"any_": [triggered]}}})
    tasks = prefect.tasks(run)
    assert len(tasks) == 10
    assert {state for state, _ in tasks.values()} == {"COMPLETED"}
    assert tasks["count_rows"][1] == 2
    shown = prefect.artifacts()
    assert "| auc_roc" in shown["shop-evaluate-model"]
    assert "shop@1" in shown["shop-register-model"]


def test_a_run_that_left_no_word_is_asked_after(prefect: Prefect) -> None:
    project = open_project(prefect.project, "production")
    engine, now = open_database(project), datetime.now(UTC)
    (over,) = prefect.ask("/flow_runs/filter", {"limit": 1, "sort": "END_TIME_DESC"})
    common = {"pipeline": "shop", "environment": "production", "orchestrator": "prefect"}
    for run in (over["id"], str(UUID(int=7))):
        Runs(engine).start(run, as_of=now, now=now, **common)
    prefect.penstock("triggers", "check")
    said = [Runs(engine).get(run) for run in (over["id"], str(UUID(int=7)))]
    engine.dispose()
    words = [(one.status, (one.error or {})["message"]) for one in said if one]
    assert [status for status, _ in words] == ["interrupted"] * 2
    assert "Prefect says that it is over (COMPLETED)" in words[0][1]
    assert "Prefect knows no such run" in words[1][1]


def test_a_server_that_is_away_is_said_and_tried_again(
    prefect: Prefect,
) -> None:
    environment = {**prefect.environment, "PREFECT_CLIENT_MAX_RETRIES": "0"}
    environment["PREFECT_API_URL"] = f"http://127.0.0.1:{closed_port()}/api"
    command = [BIN / "penstock", "triggers", "fire", "--reason", "x", "--project", prefect.project]
    done = subprocess.run(command, env=environment, text=True, capture_output=True)
    assert done.returncode == 1
    assert "does not answer" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_gate_that_says_no_fails_its_task_without_a_retry(prefect: Prefect) -> None:
    settings = prefect.project / "penstock.toml"
    settings.write_text(settings.read_text().replace(">= 0.60", ">= 0.99"))
    before = prefect.penstock("runs", "show", "last")

    run = prefect.run(as_of=before["as_of"])  # the same data, so that only the gate is new

    assert run["state"]["type"] == "FAILED"
    tasks = prefect.tasks(run)
    assert tasks["evaluate_model"] == ("FAILED", 1)
    later = {"register_model", "deploy_to_staging", "run_integration_tests", "notify_team"}
    assert not any(state == "COMPLETED" for name, (state, _) in tasks.items() if name in later)
    assert ">= 0.99" in prefect.artifacts()["shop-evaluate-model"]
    assert prefect.penstock("runs", "show", run["id"])["status"] == "failed"
