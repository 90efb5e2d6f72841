"""A task's step under another Python: what comes back, and what becomes of it when either dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from environments import other_python
from gateways import alive, until

from penstock.errors import (
    PenstockError,
    ResourceError,
    SettingsError,
    StepError,
    StepInterrupted,
    UserCodeError,
)
from penstock.orchestrators import other_python as ours
from penstock.orchestrators.task import Task
from penstock.project import Project
from penstock.state.database import open_database
from penstock.state.runs import RunRow, Runs

pytestmark = pytest.mark.slow

TASK = Task(
    step="extract_data",
    run_id="scheduled__2026-11-23T02:00:00+00:00",
    as_of=datetime(2026, 11, 23, 2, tzinfo=UTC),
    attempt=1,
    last_attempt=True,
    orchestrator="airflow",
)
WAITS = """import os, signal
    (context.project / "pid").write_text(str(os.getpid()))
    signal.pause()"""
# Sends the signal to the process of that id when the file says that a step waits.
STRIKES = """
import os, pathlib, sys, time
file = pathlib.Path(sys.argv[1])
while not (file.exists() and file.read_text()):
    time.sleep(0.05)
os.kill(int(sys.argv[2]), int(sys.argv[3]))
"""
PARENT = """
import json, sys
from datetime import datetime
from penstock.orchestrators.other_python import run_task_in
from penstock.orchestrators.task import Task
python, project, task = json.loads(sys.argv[1])
task = Task(**{**task, "as_of": datetime.fromisoformat(task["as_of"])})
run_task_in(python, project, "dev", task, {})
"""

Shop = Callable[[str], Project]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    return other_python(tmp_path_factory.mktemp("environment") / "venv")


@pytest.fixture
def shop(make_project: Any) -> Shop:
    """A project whose extract() has this body."""

    def make(body: str) -> Project:
        code = f"import sys\n\n\ndef extract(context):\n    {body}\n"
        project: Project = make_project(**{"pipeline.py": code})
        return project

    return make


def run(python: str, project: Project, task: Task = TASK) -> dict[str, Any]:
    return ours.run_task_in(python, str(project.root), "dev", task, {})


def run_of(project: Project) -> RunRow:
    row = Runs(open_database(project)).get(TASK.run_id)
    assert row is not None
    return row


def pid_of(project: Project) -> int:
    """Of the step's process, once it waits."""
    file = project.root / "pid"
    return int(until(lambda: file.exists() and file.read_text(), 600.0))


def test_a_step_runs_there_and_gives_its_record_and_prints_here(
    shop: Shop, python: str, capfd: pytest.CaptureFixture[str]
) -> None:
    body = "import pandas as pd; print('by', sys.prefix); return pd.DataFrame({'n': [1, 2]})"
    project = shop(body)
    record = run(python, project)
    assert (record["kind"], record["rows"]) == ("DatasetVersion", 2)
    assert run_of(project).steps[0].status == "succeeded"
    assert f"by {Path(python).parents[1]}" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        ("return 1 / 0", UserCodeError, "division by zero"),
        ("raise ConnectionError('no route')", ResourceError, "no route"),
        ("import os, signal; os.kill(os.getpid(), 9)", StepInterrupted, "(SIGKILL)"),
        ("import os; os._exit(3)", StepError, "ended with status 3"),
    ],
)
def test_what_went_wrong_there_is_the_same_error_here(
    shop: Shop, python: str, body: str, kind: type[PenstockError], said: str
) -> None:
    with pytest.raises(PenstockError) as raised:
        run(python, shop(body))
    assert type(raised.value) is kind
    assert said in raised.value.message


def test_a_run_whose_step_was_killed_is_closed_there(shop: Shop, python: str) -> None:
    project = shop("import os; os.kill(os.getpid(), 9)")
    with pytest.raises(StepInterrupted):
        run(python, project)
    assert run_of(project).status == "running"
    where = (python, str(project.root), "dev")
    ours.close_run_in(*where, TASK.run_id, TASK.step, "task_failure")
    assert run_of(project).status == "failed"
    assert "ended without a word" in (project.folder / "notices.log").read_text()


@pytest.mark.parametrize(
    ("python", "kind", "said"),
    [
        ("/nowhere/bin/python", SettingsError, "No such file or directory"),
        ("/dev/null", SettingsError, "Permission denied"),
        ("/bin/false", StepError, "ended with status 1"),
    ],
)
def test_a_python_that_cannot_run_steps_is_named(
    shop: Shop, python: str, kind: type[PenstockError], said: str
) -> None:
    with pytest.raises(kind) as raised:
        run(python, shop("return 1"))
    assert python in raised.value.message
    assert said in raised.value.message
    assert not raised.value.transient


def test_another_version_of_penstock_there_is_refused(
    shop: Shop, python: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ours, "__version__", "0.0.9")
    with pytest.raises(StepError, match=r"the orchestrator has 0\.0\.9"):
        run(python, shop("return 1"))


@contextmanager
def interrupted_by(error: BaseException) -> Iterator[None]:
    """As Airflow ends a task: by an exception out of the handler of a signal."""

    def strike(*_: Any) -> None:
        raise error

    before = signal.signal(signal.SIGUSR1, strike)
    yield
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("end", [TimeoutError("too long"), SystemExit(143)])
def test_a_task_that_is_ended_ends_its_step_which_records_that(
    shop: Shop, python: str, end: BaseException
) -> None:
    project = shop(WAITS)
    told = [project.root / "pid", str(os.getpid()), str(int(signal.SIGUSR1))]
    striking = [sys.executable, "-c", STRIKES, *told]
    with interrupted_by(end), subprocess.Popen(striking), pytest.raises(type(end)):
        run(python, project)
    assert not alive(pid_of(project))
    (step,) = run_of(project).steps
    assert step.status == "failed"
    assert step.error is not None
    assert "was ended before it was done" in step.error["message"]


def test_a_step_does_not_outlive_a_task_that_was_killed(shop: Shop, python: str) -> None:
    project = shop(WAITS)
    told = {**TASK.__dict__, "as_of": TASK.as_of.isoformat()}
    arguments = json.dumps([python, str(project.root), told])
    task = subprocess.Popen([sys.executable, "-c", PARENT, arguments])
    step = pid_of(project)
    task.kill()
    task.wait()
    until(lambda: not alive(step))
