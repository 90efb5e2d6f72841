"""One step as the task of an orchestrator: what is recorded, and who is told, however it ends."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from penstock.access import administration
from penstock.access.roles import Role
from penstock.audit.ledger import present_actor
from penstock.errors import AccessError, ResourceError, StepError, UserCodeError
from penstock.orchestrators.task import Task, close_run, run_task
from penstock.project import Project
from penstock.state.database import open_database
from penstock.state.runs import RunRow, Runs

pytestmark = pytest.mark.slow  # extract_data imports pandas and DVC

FIRST = Task(
    step="extract_data",
    run_id="scheduled__2026-11-23T02:00:00+00:00",
    as_of=datetime(2026, 11, 23, 2, tzinfo=UTC),
    attempt=1,
    last_attempt=False,
    orchestrator="airflow",
)
LAST = replace(FIRST, attempt=4, last_attempt=True)

Shop = Callable[[str], Project]


@pytest.fixture
def shop(make_project: Any, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A project whose extract() has this body."""
    monkeypatch.setattr(sys, "path", list(sys.path))

    def make(body: str) -> Project:
        monkeypatch.delitem(sys.modules, "pipeline", raising=False)
        project: Project = make_project(**{"pipeline.py": f"def extract(context):\n    {body}\n"})
        return project

    return make


def run_of(project: Project) -> RunRow:
    run = Runs(open_database(project)).get(FIRST.run_id)
    assert run is not None
    return run


def notices(project: Project) -> str:
    log = project.folder / "notices.log"
    return log.read_text() if log.exists() else ""


def test_before_a_retry_the_run_goes_on_and_nobody_is_told(shop: Shop) -> None:
    project = shop("raise ConnectionError('no route to the warehouse')")
    with pytest.raises(ResourceError):
        run_task(project, FIRST, {})
    (step,) = run_of(project).steps
    assert (run_of(project).status, step.status) == ("running", "running")
    assert step.error is not None
    assert "no route to the warehouse" in step.error["message"]
    assert notices(project) == ""


def test_when_no_retry_is_left_the_run_has_failed_and_the_team_is_told(shop: Shop) -> None:
    project = shop("raise ConnectionError('no route to the warehouse')")
    with pytest.raises(ResourceError):
        run_task(project, LAST, {})
    (step,) = run_of(project).steps
    assert (run_of(project).status, step.status, step.attempts) == ("failed", "failed", 4)
    assert "no route to the warehouse" in notices(project)


def test_a_task_of_nobody_fails_the_run_and_the_team_is_told(shop: Shop) -> None:
    project = shop("return 1")
    administration.add(open_database(project), "ann", Role.ADMIN, by=present_actor())
    with pytest.raises(AccessError, match="no token says who you are"):
        run_task(project, FIRST, {})
    (step,) = run_of(project).steps
    assert (run_of(project).status, step.status) == ("failed", "failed")
    assert "no token says who you are" in notices(project)


def test_an_error_of_the_code_fails_the_run_at_the_first_attempt(shop: Shop) -> None:
    project = shop("return 1 / 0")
    with pytest.raises(UserCodeError):
        run_task(project, FIRST, {})
    assert run_of(project).status == "failed"
    assert "division by zero" in notices(project)


@pytest.mark.parametrize("end", ["SystemExit(143)", "KeyboardInterrupt()"])
def test_a_task_that_is_ended_from_outside_says_so_and_ends(shop: Shop, end: str) -> None:
    project = shop(f"raise {end}")
    with pytest.raises((SystemExit, KeyboardInterrupt)):
        run_task(project, LAST, {})
    assert run_of(project).status == "failed"
    assert "extract_data was ended before it was done" in notices(project)


def test_a_step_that_starts_while_another_has_failed_leaves_the_run_failed(shop: Shop) -> None:
    project = shop("return 1 / 0")
    with pytest.raises(UserCodeError):
        run_task(project, FIRST, {})
    beside = replace(FIRST, step="validate_data")
    with pytest.raises(StepError):
        run_task(project, beside, {"extract_data": None})
    error = run_of(project).error
    assert error is not None
    assert "division by zero" in error["message"]


def test_a_record_that_is_missing_is_named_with_its_task(shop: Shop) -> None:
    project = shop("return None")
    with pytest.raises(StepError) as raised:
        run_task(project, replace(FIRST, step="validate_data"), {"extract_data": None})
    assert "needs the record of extract_data" in raised.value.message


def test_a_run_whose_task_was_killed_is_closed_and_told(shop: Shop) -> None:
    project = shop("return None")
    runs = Runs(open_database(project))
    runs.start(
        FIRST.run_id,
        pipeline="shop",
        environment="production",
        orchestrator="airflow",
        as_of=FIRST.as_of,
        now=FIRST.as_of,
    )
    runs.record_step(FIRST.run_id, "extract_data", status="running", started_at=FIRST.as_of)
    close_run(project, FIRST.run_id, "extract_data", "task_failure")
    (step,) = run_of(project).steps
    assert (run_of(project).status, step.status) == ("failed", "failed")
    assert "extract_data ended without a word" in notices(project)


def test_a_run_that_has_failed_aloud_is_not_told_again(shop: Shop) -> None:
    project = shop("return 1 / 0")
    with pytest.raises(UserCodeError):
        run_task(project, FIRST, {})
    told = notices(project)
    close_run(project, FIRST.run_id, "extract_data", "task_failure")
    assert notices(project) == told


def test_a_run_of_which_no_task_ever_started_is_told_all_the_same(shop: Shop) -> None:
    project = shop("return None")
    close_run(project, FIRST.run_id, "extract_data", "task_failure")
    assert "extract_data ended without a word" in notices(project)


COUNTED = (
    "import pandas; (context.project / 'count').open('a').write('x'); "
    "return pandas.DataFrame({'age': [1, 2]})"
)


def test_a_run_until_a_step_has_succeeded_with_it(shop: Shop) -> None:
    project = shop(COUNTED)
    run_task(project, replace(FIRST, until="extract_data"), {})
    assert run_of(project).status == "succeeded"


def test_a_step_that_is_to_run_anew_does_so_at_its_first_attempt_alone(shop: Shop) -> None:
    project = shop(COUNTED)
    ran = []
    for changes in ({}, {}, {"rerun": True}, {"rerun": True, "attempt": 2}):
        run_task(project, replace(FIRST, **changes), {})
        ran.append(len((project.root / "count").read_text()))
    assert ran == [1, 1, 2, 2]
