"""Whole deployments of Airflow on this machine: with the local executor, and with Celery's."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gateways import until
from local_airflow import BIN, COMPONENTS, environment, make_home, stop, wait_until_healthy
from local_airflow import start as start_component
from online_backends import free_port
from sqlalchemy.engine import make_url

from penstock.audit.ledger import Ledger
from penstock.data import history
from penstock.project import Project, open_project
from penstock.registry import versions as registry
from penstock.state.database import open_database

PATIENCE = 1800.0  # seconds; a busy machine is slow, not wrong
ANSWER = 300.0  # seconds of one request
NEVER = "0 0 29 2 *"  # no such day between the DAG's first and 2028: runs start by hand only
ENDED = {"success", "failed"}
# Nothing is parsed twice, and no more goes on at once than there are cores.
IN_A_TEST = {
    "AIRFLOW__CORE__PARALLELISM": "2",
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "36000",
    "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "36000",
    # Airflow 3.3's API server builds what tasks ask for at the first question: busy, in a minute.
    "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "300",
    "PENSTOCK_SERVING_PORT": "0",
    "PENSTOCK_SERVING_REPLICAS": "1",
    "PENSTOCK_LOAD_TEST_DURATION": "1s",
    "PENSTOCK_LOAD_TEST_WARMUP": "200ms",
    "PENSTOCK_LOAD_TEST_ENTITIES": "20",
    "PENSTOCK_GATES_INTEGRATION_LATENCY_P95_MS": "< 5000",
    "PENSTOCK_GATES_INTEGRATION_THROUGHPUT_QPS": "> 1",
    "PENSTOCK_PIPELINE_SCHEDULE": NEVER,
    "PENSTOCK_PIPELINE_RETRY_DELAY": "0s",
    # Else each release would start a run that waits for people.
    "PENSTOCK_AIRFLOW_PRODUCTION": "false",
}
CHURN = {  # the example, small enough for a test
    "params.yaml": (("customers: 10000", "customers: 2000"), ("trials: 12", "trials: 1")),
    "penstock.toml": (('">= 0.85"', '">= 0.70"'), ('">= 0.80"', '">= 0.30"')),
}
# A dead worker is seen within a minute; a live one on a busy machine is never taken for dead.
DEATHS = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
}
# Nothing is deferred in these tests: a triggerer would only take time to start.
NEEDED = {name: COMPONENTS[name] for name in ("api-server", "scheduler", "dag-processor")}
USER, PIPELINE = "admin", "PENSTOCK_PIPELINE_AIRFLOW"


@dataclass
class Airflow:
    """One deployment and the project whose DAG it runs."""

    home: Path
    project: Path
    url: str
    variables: dict[str, str]
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def password(self) -> str:
        file = self.home / "simple_auth_manager_passwords.json.generated"
        return str(json.loads(file.read_text())[USER])

    def start(self, name: str, *command: str) -> None:
        log = self.home / f"{name}.log"
        self.running[name] = start_component(list(command), log, self.variables)

    def kill(self, name: str) -> None:
        """A component and all that it started in its session, as when its machine is gone."""
        process = self.running.pop(name)
        for pid in session(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()

    def penstock(self, *arguments: str) -> Any:
        """The answer of a command as JSON."""
        command = [BIN / "penstock", *arguments, "--json", "--project", self.project]
        done = subprocess.run(command, env=self.variables, text=True, capture_output=True)
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def opened(self, more: Mapping[str, str] | None = None) -> Project:
        """The project as whoever may start runs in this Airflow sees it."""
        who = {f"{PIPELINE}_URL": self.url, f"{PIPELINE}_PASSWORD": self.password}
        return open_project(self.project, "production", {**self.variables, **who, **(more or {})})

    def change(self, path: str, body: Any) -> Any:
        return self.ask(path, body, "PATCH")

    def ask(self, path: str, body: Any = None, method: str | None = None) -> Any:
        """Airflow's public API."""
        raw = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._token}"}
        request = urllib.request.Request(f"{self.url}/api/v2/{path}", raw, headers, method=method)
        with urllib.request.urlopen(request, timeout=ANSWER) as answer:
            return json.load(answer)

    @functools.cached_property
    def _token(self) -> str:
        body = json.dumps({"username": USER, "password": self.password}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/auth/token", body, headers)
        with urllib.request.urlopen(request, timeout=ANSWER) as answer:
            return str(json.load(answer)["access_token"])

    def has_dag(self) -> bool:
        return any(dag["dag_id"] == "churn" for dag in self.ask("dags")["dags"])

    def of_run(self, run: str, *path: str, dag: str = "churn") -> Any:
        """What Airflow says of a run, or of a part of it."""
        return self.ask("/".join((f"dags/{dag}/dagRuns/{quote(run)}", *path)))

    def state(self, run: str, dag: str = "churn") -> str:
        return str(self.of_run(run, dag=dag)["state"])

    def tasks(self, run: str) -> dict[str, tuple[str, int]]:
        """State and number of attempts of each task, and of each item of a mapped one."""
        found = self.of_run(run, "taskInstances")["task_instances"]
        return {
            one["rendered_map_index"] or one["task_id"]: (one["state"], one["try_number"])
            for one in found
        }

    def log(self, run: str, task: str, attempt: int = 1, dag: str = "churn") -> str:
        path = ("taskInstances", task, "logs", str(attempt))
        return json.dumps(self.of_run(run, *path, dag=dag)["content"])

    def ended(self, run: str, dag: str = "churn") -> str:
        """Waits for the end of a run; its state."""
        until(lambda: self.state(run, dag) in ENDED, PATIENCE, pause=1)
        return self.state(run, dag)


def session(leader: int) -> list[int]:
    """A process and all others of its session, or below one of them."""
    parents: dict[int, tuple[int, int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            parents[int(stat.parent.name)] = int(fields[1]), int(fields[3])
    found = {leader} | {pid for pid, (_, of) in parents.items() if of == leader}
    while more := {p for p, (above, _) in parents.items() if above in found} - found:
        found |= more
    return sorted(found)


def make_churn(project: Path) -> None:
    """The example project, with less data."""
    command = [sys.executable, "-m", "penstock", "init", project]
    subprocess.run(command, check=True, capture_output=True)
    for file, changes in CHURN.items():
        for old, new in changes:
            edited(project / file, old, new)


def edited(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text, f"{old!r} is not in {file}"
    file.write_text(text.replace(old, new))


def refuse_all(project: Path) -> None:
    """No model can pass the gate from now on."""
    edited(project / "penstock.toml", '">= 0.70"', '">= 0.9999"')


def effects(airflow: Airflow, run: str) -> dict[str, int]:
    """What a run has changed in the world, and how often; its story is told apart."""
    project = airflow.opened()
    database = open_database(project)
    entries = (entry for entry in Ledger(database).entries() if entry.run_id == run)
    told = Counter(e.action for e in entries if not e.action.startswith(("run.", "step.")))
    models, datasets = registry.versions(project), history.versions(project, database)
    return {**told, "versions": len(models), "datasets": len(datasets)}


ONCE = dict.fromkeys(
    ("model.registered", "release.made", "release.deployed", "versions", "datasets"), 1
)


def as_it_is(_project: Path) -> None:
    """Nothing more is done to the project."""


@contextlib.contextmanager
def deployed(
    folder: Path,
    more: Mapping[str, str],
    components: dict[str, list[str]],
    prepare: Callable[[Path], None] = as_it_is,
) -> Iterator[Airflow]:
    """Starts the components with the churn project in `folder`, and ends them."""
    home, project = folder / "airflow", folder / "churn"
    make_home(home)
    make_churn(project)
    prepare(project)
    url = f"http://127.0.0.1:{free_port()}"
    foreign = ("PENSTOCK_", "AIRFLOW_")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
    settings = {**clean, **environment(home, project, url), **IN_A_TEST, **more}
    made = Airflow(home, project, url, settings)
    migrate = [BIN / "airflow", "db", "migrate"]
    done = subprocess.run(migrate, env=settings, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    try:
        for name, command in components.items():
            made.start(name, *command)
        wait_until_healthy(url, made.running, home, PATIENCE)
        until(made.has_dag, PATIENCE, pause=1)
        yield made
    finally:
        stop(made.running)
        made.penstock("serve", "--stop")


def local_executor(
    folder: Path,
    more: Mapping[str, str] | None = None,
    prepare: Callable[[Path], None] = as_it_is,
) -> contextlib.AbstractContextManager[Airflow]:
    """All on SQLite, with the tasks beside the scheduler."""
    return deployed(folder, more or {}, NEEDED, prepare)


def celery_executor(
    folder: Path, database: str, state: str, redis: str
) -> contextlib.AbstractContextManager[Airflow]:
    """On two databases of a PostgreSQL server, with two workers that a Redis gives tasks to."""
    address = make_url(database).set(drivername="postgresql+psycopg")
    url = address.render_as_string(hide_password=False)
    settings = {
        **DEATHS,
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url,
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": url,
        "AIRFLOW__CELERY__BROKER_URL": redis,
        "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{url}",
        "PENSTOCK_STATE_URL": state,
    }
    options = ["--concurrency", "1", "--skip-serve-logs", "--without-mingle", "--without-gossip"]
    workers = {
        name: ["celery", "worker", "--celery-hostname", f"{name}@%h", *options]
        for name in ("worker-1", "worker-2")
    }
    return deployed(folder, settings, {**NEEDED, **workers})
