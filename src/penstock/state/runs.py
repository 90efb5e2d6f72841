"""The record of every run and of each of its steps."""

from __future__ import annotations

import builtins
import contextlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, select, update
from sqlalchemy.engine import Row

from penstock.state.tables import runs, steps, upsert

HERE = ("local", "dvc")  # orchestrators whose runs hold the run lock of the project
KILLED = {"error": "StepInterrupted", "message": "the run was killed", "hint": ""}


@dataclass(frozen=True)
class StepRow:
    step: str
    status: str  # running, succeeded, cached, failed, skipped
    attempts: int
    started_at: datetime
    finished_at: datetime | None
    record: dict[str, Any] | None
    error: dict[str, Any] | None

    @property
    def seconds(self) -> float | None:
        return (self.finished_at - self.started_at).total_seconds() if self.finished_at else None


@dataclass(frozen=True)
class RunRow:
    id: str
    pipeline: str
    environment: str
    orchestrator: str
    status: str  # running, succeeded, failed, interrupted
    as_of: datetime
    started_at: datetime
    finished_at: datetime | None
    error: dict[str, Any] | None
    trigger: str = ""  # what started it; empty: a person, by `penstock run`
    reason: str = ""
    steps: tuple[StepRow, ...] = ()


def new_run_id(now: datetime) -> str:
    """Sortable by time and readable: 20261123T020000-4f1c9a."""
    return f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"


class Runs:
    """The runs of one state database; of a connection, as part of its transaction."""

    def __init__(self, bind: Engine | Connection) -> None:
        self._bind = bind

    @contextlib.contextmanager
    def _connection(self) -> Iterator[Connection]:
        if isinstance(self._bind, Connection):
            yield self._bind
            return
        with self._bind.begin() as connection:
            yield connection

    def start(
        self,
        run_id: str,
        *,
        pipeline: str,
        environment: str,
        orchestrator: str,
        as_of: datetime,
        now: datetime,
        trigger: str = "",
        reason: str = "",
    ) -> None:
        """Starts a run; later tasks and attempts of an orchestrator's run go on with it."""
        again = {"status": "running", "finished_at": None, "error": None}
        first = {
            "id": run_id,
            "pipeline": pipeline,
            "environment": environment,
            "orchestrator": orchestrator,
            "as_of": as_of,
            "started_at": now,
            "trigger": trigger,
            "reason": reason,
        }
        with self._connection() as connection:
            upsert(connection, runs, first | again, change=tuple(again))

    def finish(
        self, run_id: str, status: str, now: datetime, error: dict[str, Any] | None = None
    ) -> None:
        with self._connection() as connection:
            connection.execute(
                update(runs)
                .where(runs.c.id == run_id)
                .values(status=status, finished_at=now, error=error)
            )

    def interrupt_abandoned(
        self, now: datetime, run_id: str = "", error: dict[str, Any] = KILLED
    ) -> list[str]:
        """Marks runs that are still `running` as interrupted: one, or all local ones.

        All only for the holder of the project's run lock: no other local run can be alive then.
        """
        which = runs.c.id == run_id if run_id else runs.c.orchestrator.in_(HERE)
        abandoned = (runs.c.status == "running") & which
        with self._connection() as connection:
            ids = [row.id for row in connection.execute(select(runs.c.id).where(abandoned))]
            ended = {"finished_at": now, "error": error}
            connection.execute(
                update(steps)
                .where(steps.c.run_id.in_(ids), steps.c.status == "running")
                .values(status="failed", **ended)
            )
            connection.execute(
                update(runs).where(runs.c.id.in_(ids)).values(status="interrupted", **ended)
            )
        return ids

    def record_step(
        self,
        run_id: str,
        step: str,
        *,
        status: str,
        started_at: datetime,
        finished_at: datetime | None = None,
        attempts: int = 1,
        record: dict[str, Any] | None = None,
        error: dict[str, Any] | None = None,
    ) -> None:
        """Writes the present state of one step, in place of what was known of it."""
        row = {
            "run_id": run_id,
            "step": step,
            "status": status,
            "attempts": attempts,
            "started_at": started_at,
            "finished_at": finished_at,
            "record": record,
            "error": error,
        }
        with self._connection() as connection:
            upsert(connection, steps, row)

    def list(self, limit: int = 20) -> list[RunRow]:
        """The latest runs, newest first, without their steps."""
        query = select(runs).order_by(runs.c.started_at.desc(), runs.c.id.desc()).limit(limit)
        with self._connection() as connection:
            return [_run(row) for row in connection.execute(query)]

    def running(self) -> builtins.list[RunRow]:
        """Those that go on, or were killed, by their rows; the newest first."""
        query = select(runs).where(runs.c.status == "running").order_by(runs.c.started_at.desc())
        with self._connection() as connection:
            return [_run(row) for row in connection.execute(query)]

    def latest_of(self, kind: str, subject: str) -> dict[str, Any] | None:
        """The latest record of a kind that is about a digest, of whichever run made it."""
        about = steps.c.record["kind"].as_string() == kind
        about &= steps.c.record["subject"].as_string() == subject
        query = select(steps.c.record).where(about, steps.c.status != "cached")
        query = query.order_by(steps.c.started_at.desc()).limit(1)
        with self._connection() as connection:
            found: dict[str, Any] | None = connection.execute(query).scalar()
        return found

    def get(self, run_id: str) -> RunRow | None:
        """One run with its steps in order of start; `run_id` may be a unique beginning."""
        with self._connection() as connection:
            found = connection.execute(
                select(runs)
                .where(runs.c.id.startswith(run_id, autoescape=True))
                .order_by(runs.c.id)  # the whole id stands before those that go on
                .limit(2)
            ).all()
            exact = [row for row in found if row.id == run_id] or found
            if len(exact) != 1:
                return None
            rows = connection.execute(
                select(steps)
                .where(steps.c.run_id == exact[0].id)
                .order_by(steps.c.started_at, steps.c.step)
            ).all()
        return _run(exact[0], tuple(_step(row) for row in rows))


def _run(row: Row[Any], children: tuple[StepRow, ...] = ()) -> RunRow:
    return RunRow(**row._mapping, steps=children)


def _step(row: Row[Any]) -> StepRow:
    fields = dict(row._mapping)
    fields.pop("run_id")
    return StepRow(**fields)
