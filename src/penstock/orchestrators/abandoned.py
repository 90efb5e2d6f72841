"""Runs that go on by their rows, and do not: whoever carried them out is asked, and the row closed.

A run that was killed cannot say so itself. One of this machine holds its project's lock as long as
it lives; of one in Airflow or Prefect, they know what became.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from filelock import FileLock, Timeout
from sqlalchemy import Engine

from penstock.errors import PenstockError, StepInterrupted
from penstock.orchestrators import airflow_api, prefect_api
from penstock.orchestrators.recording import close_killed
from penstock.orchestrators.task import tell_of_failure
from penstock.project import Project
from penstock.state.runs import HERE, RunRow, Runs

# As Airflow and Prefect call states that end a run.
ENDED = frozenset({"success", "failed", "COMPLETED", "FAILED", "CRASHED", "CANCELLED"})


@dataclass(frozen=True)
class Seen:
    """What an orchestrator says of a run."""

    state: str  # in its words; empty: it knows none of this name
    url: str = ""


def close_abandoned(project: Project, engine: Engine) -> list[str]:
    """Closes the rows of runs that do not go on. Says of which that could not be told, and why."""
    running = Runs(engine).running()
    if any(row.orchestrator in HERE for row in running):
        _close_killed_here(project, engine)
    return [
        said
        for row in running
        if row.orchestrator in ASKED and (said := _asked(project, engine, row))
    ]


def _close_killed_here(project: Project, engine: Engine) -> None:
    project.folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(project.run_lock, timeout=0):
            close_killed(project, engine)
    except Timeout:
        pass


def _asked(project: Project, engine: Engine, row: RunRow) -> str:
    """Closes the row, if the run has ended; why that cannot be told, if it cannot."""
    name = row.orchestrator.capitalize()
    try:
        seen = ASKED[row.orchestrator](project, row.id)
    except PenstockError as error:
        return f"whether {row.id} goes on {name} cannot say: {error.message}"
    if seen.state and seen.state not in ENDED:
        return ""
    latest = Runs(engine).get(row.id) or row
    end = _end(name, latest, seen)
    if close_killed(project, engine, row.id, end):  # else it has told of itself meanwhile
        tell_of_failure(project, row.id, next(_unfinished(latest), "the run"), end)
    return ""


def _end(name: str, row: RunRow, seen: Seen) -> StepInterrupted:
    where = ", ".join(_unfinished(row)) or "no step under way"
    if not seen.state:
        said = f"{name} knows no such run: it was deleted there, amid {where}"
        return StepInterrupted(said, hint=f"`penstock runs show {row.id}` has what it had done")
    said = f"{name} says that it is over ({seen.state}), and it left no word of that, amid {where}"
    return StepInterrupted(said, hint=f"see {seen.url}: it was killed, or marked by hand")


def _unfinished(row: RunRow) -> Iterator[str]:
    return (step.step for step in row.steps if step.status == "running")


def _airflow(project: Project, run: str) -> Seen:
    found = airflow_api.find_run(project, run)
    return Seen(found.state, found.url) if found else Seen("")


def _prefect(_: Project, run: str) -> Seen:
    found = prefect_api.find_run(run)
    return Seen(found.state, found.url) if found else Seen("")


ASKED: dict[str, Callable[[Project, str], Seen]] = {"airflow": _airflow, "prefect": _prefect}
