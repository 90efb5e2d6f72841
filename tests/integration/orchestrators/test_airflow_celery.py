"""The churn DAG on PostgreSQL, Celery and Redis, while one of two workers is lost at its worst.

The worker dies between the registry and the ledger: MLflow has the model's version already.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from airflows import (
    ONCE,
    PATIENCE,
    Airflow,
    celery_executor,
    effects,
    refuse_all,
    session,
)
from databases import empty_postgres
from gateways import until
from online_backends import redis_url
from sqlalchemy import Connection, Engine, create_engine, text

from penstock.orchestrators.airflow_api import start_run
from penstock.registry import versions as registry

# The first test waits for a whole deployment and its run, on a machine that may be busy.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

__all__ = ["redis_url"]

AS_OF = datetime(2026, 1, 5, tzinfo=UTC)
WORKERS = ("worker-1", "worker-2")
REGISTERING = "SELECT count(*) FROM steps WHERE step = 'register_model'"
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'ledger'::regclass"


@pytest.fixture(scope="module")
def state() -> Iterator[Engine]:
    """The database that Penstock shares between the workers."""
    with empty_postgres() as url:
        engine = create_engine(url)
        yield engine
        engine.dispose()


@pytest.fixture(scope="module")
def airflow(
    tmp_path_factory: pytest.TempPathFactory, state: Engine, redis_url: str
) -> Iterator[Airflow]:
    shared = state.url.render_as_string(hide_password=False)
    with (
        empty_postgres() as metadata,
        celery_executor(tmp_path_factory.mktemp("celery"), metadata, shared, redis_url) as deployed,
    ):
        yield deployed


@dataclass(frozen=True)
class Survived:
    run: str
    state: str
    tasks: dict[str, tuple[str, int]]
    half_done: int  # versions in the registry when the worker died


@pytest.fixture(scope="module")
def survived(airflow: Airflow, state: Engine) -> Survived:
    """A run that lost a worker while it was registering the model."""
    run = start_run(airflow.opened(), "new data: events of December", as_of=AS_OF).id
    until(lambda: airflow.tasks(run)["evaluate_model"][1], PATIENCE, pause=1)
    with state.connect() as connection:  # it has begun: the ledger has been asked already
        until(lambda: connection.scalar(text(REGISTERING)), PATIENCE, pause=0.05)
    with ledger_locked(state) as connection:
        until(lambda: connection.scalar(text(WAITING)), PATIENCE, pause=0.2)
        airflow.kill(busiest(airflow))
        half_done = len(registry.versions(airflow.opened()))
    ended = airflow.ended(run)
    return Survived(run, ended, airflow.tasks(run), half_done)


@contextmanager
def ledger_locked(engine: Engine) -> Iterator[Connection]:
    """Nobody writes to the ledger meanwhile."""
    with engine.connect() as connection:
        connection.execute(text("LOCK TABLE ledger IN EXCLUSIVE MODE"))
        yield connection


def busiest(airflow: Airflow) -> str:
    """The worker that has a task: its processes are below it."""
    return max(WORKERS, key=lambda name: len(session(airflow.running[name].pid)))


@pytest.fixture(scope="module")
def refused(airflow: Airflow, survived: Survived) -> str:
    """A run over the same data, with a gate that no model can pass."""
    refuse_all(airflow.project)
    run = start_run(airflow.opened(), "a look at a gate", key="refused", as_of=AS_OF).id
    airflow.ended(run)
    return run


def test_the_run_succeeds_on_the_worker_that_is_left(airflow: Airflow, survived: Survived) -> None:
    assert survived.state == "success", airflow.log(survived.run, "register_model", 2)
    again = {task for task, (_, attempts) in survived.tasks.items() if attempts > 1}
    assert again == {"register_model"}


def test_what_the_lost_worker_had_half_done_is_done_once(
    airflow: Airflow, survived: Survived
) -> None:
    assert survived.half_done == 1
    assert effects(airflow, survived.run) == ONCE
    assert airflow.penstock("audit", "verify")["holds"]


def test_the_shared_state_knows_the_run(airflow: Airflow, survived: Survived) -> None:
    run = airflow.penstock("runs", "show", survived.run)
    assert run["status"] == "succeeded"
    assert {step["status"] for step in run["steps"]} == {"succeeded"}
    assert not (airflow.project / ".penstock" / "state.db").exists()


def test_a_gate_that_says_no_fails_its_task_at_once_and_what_is_behind_it(
    airflow: Airflow, refused: str
) -> None:
    assert airflow.state(refused) == "failed"
    tasks = airflow.tasks(refused)
    assert tasks["evaluate_model"] == ("failed", 1)
    ends = Counter(state for state, _ in tasks.values())
    assert ends == {"success": 4, "failed": 1, "upstream_failed": 4}
    assert "expected >= 0.9999" in airflow.log(refused, "evaluate_model")
