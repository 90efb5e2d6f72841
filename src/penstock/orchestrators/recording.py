"""What is written down of a run and of its steps, whichever orchestrator runs them.

Rows of the state database with entries of the ledger, events for other tools, in the end a signed
checkpoint. Only the database can fail a run, and then it does: what is not in the ledger has not
happened. Of the others, what did not succeed is said when a run is left.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Self

from sqlalchemy import Engine

from penstock.audit.anchoring import anchor_growth
from penstock.audit.ledger import Ledger
from penstock.errors import PenstockError, from_dict
from penstock.lineage.openlineage.happenings import Happening, RunOf, State
from penstock.lineage.openlineage.sender import Sender, sender_of
from penstock.orchestrators.story import Story
from penstock.pipeline.execution import GateRefused, Prepared, RunIdentity
from penstock.project import Project
from penstock.records import Record, to_json
from penstock.state.runs import KILLED, RunRow, Runs, StepRow

ENDS: dict[str, State] = {"succeeded": "COMPLETE", "failed": "FAIL", "interrupted": "ABORT"}


@dataclass(frozen=True)
class Turn:
    """One attempt at a step."""

    step: str
    began: datetime  # UTC; of the step, where it is tried again
    attempt: int = 1
    prepared: Prepared | None = None  # None: what it takes is not known yet

    def with_inputs(self, prepared: Prepared) -> Turn:
        return replace(self, prepared=prepared)


@dataclass
class Recording:
    """Of one run, in one of the processes that take part in it. May be used by several threads."""

    project: Project
    database: Engine
    run: RunOf
    sender: Sender | None
    status: str = ""  # of the run, as far as was told; empty: nothing yet
    begun: set[tuple[str, int]] = field(default_factory=set)  # steps and attempts told of

    @classmethod
    def begin(cls, project: Project, database: Engine, run: RunIdentity, orchestrator: str) -> Self:
        """Starts a run, or goes on with one that another task has started."""
        name, now = project.settings.project.name, datetime.now(UTC)
        about = RunOf(run.id, name, project.environment, orchestrator, run.as_of)
        with Ledger(database).page() as page:
            runs = Runs(page.connection)
            known = runs.get(run.id)
            runs.start(
                run.id,
                pipeline=name,
                environment=project.environment,
                orchestrator=orchestrator,
                as_of=run.as_of,
                now=now,
                trigger=run.trigger,
                reason=run.reason,
            )
            Story.of(page, about).begin(run.trigger, run.reason)
        begun = cls(project, database, about, sender_of(project))
        if known is not None and known.id == run.id:
            begun.status = known.status
        else:
            begun._tell(Happening("START", now, about))
            begun.status = "running"
        return begun

    @classmethod
    def alone(cls, project: Project, database: Engine, run: RunIdentity, orchestrator: str) -> Self:
        """The same for the holder of the run lock: what still runs by the rows was killed."""
        killed = _interrupted(database)
        begun = cls.begin(project, database, run, orchestrator)
        begun._tell_of_killed(killed)
        return begun

    @classmethod
    def resumed(cls, project: Project, database: Engine, row: RunRow) -> Self:
        """Of a run whose own processes are gone."""
        begun = {(step.step, step.attempts) for step in row.steps}
        return cls(project, database, _about(row), sender_of(project), row.status, begun)

    def started(self, turn: Turn) -> None:
        self._write(turn, "running")
        self._tell_of(turn, "START", datetime.now(UTC))

    def tried(self, turn: Turn, error: PenstockError) -> None:
        """The attempt failed, and another follows."""
        self._write(turn, "running", _report_of(error), error, entry="failed")
        self._tell_of(turn, "FAIL", datetime.now(UTC), _report_of(error), error)

    def ended(
        self,
        turn: Turn,
        status: str,
        record: Record | None = None,
        error: PenstockError | None = None,
    ) -> None:
        """A step succeeded, was cached, or failed for good; a refused gate has a record too."""
        record = record or _report_of(error)
        self._write(turn, status, record, error, entry="" if status == "cached" else status)
        state: State = "FAIL" if status == "failed" else "COMPLETE"
        self._tell_of(turn, state, datetime.now(UTC), record, error, cached=status == "cached")

    def finish(self, status: str, error: PenstockError | None = None) -> None:
        """The run succeeded, failed, or was interrupted."""
        now = datetime.now(UTC)
        with Ledger(self.database).page() as page:
            runs = Runs(page.connection)
            runs.finish(self.run.id, status, now, error.as_dict() if error else None)
            row = runs.get(self.run.id)
            cached = [step.step for step in row.steps if step.status == "cached"] if row else []
            Story.of(page, self.run).end(status, cached)
        if status != self.status:
            self._tell(Happening(ENDS[status], now, self.run, error=error))
            self.status = status

    def leave(self) -> list[str]:
        """Ends this process's part. Says what of the run is not signed, anchored or sent."""
        said = anchor_growth(self.project, self.database) if self.status in ENDS else []
        unsent = self.sender.close() if self.sender else ""
        return [*said, unsent] if unsent else said

    def _write(
        self,
        turn: Turn,
        status: str,
        record: Record | None = None,
        error: PenstockError | None = None,
        *,
        entry: str = "",
    ) -> None:
        """The step's row and, where something came of the attempt, its entry: both or neither."""
        row: dict[str, Any] = {
            "status": status,
            "started_at": turn.began,
            "finished_at": None if status == "running" else datetime.now(UTC),
            "attempts": turn.attempt,
            "record": to_json(record) if record else None,
            "error": error.as_dict() if error else None,
        }
        if not entry:
            Runs(self.database).record_step(self.run.id, turn.step, **row)
            return
        with Ledger(self.database).page() as page:
            Runs(page.connection).record_step(self.run.id, turn.step, **row)
            Story.of(page, self.run).step(
                turn.step,
                entry,
                attempt=turn.attempt,
                prepared=turn.prepared,
                record=record,
                error=error,
                again=status == "running",
            )

    def _tell_of(
        self,
        turn: Turn,
        state: State,
        at: datetime,
        record: Record | None = None,
        error: PenstockError | None = None,
        *,
        cached: bool = False,
    ) -> None:
        """A step that ends at once, cached or without its inputs, has begun as well."""
        if self.sender is None:
            return
        told = Happening(
            state,
            at,
            self.run,
            turn.step,
            turn.attempt,
            inputs=turn.prepared.records if turn.prepared else {},
            sources=_sources(self.project, turn.prepared),
            output=record,
            error=error,
            cached=cached,
        )
        if (turn.step, turn.attempt) not in self.begun:
            self.begun.add((turn.step, turn.attempt))
            self._tell(replace(told, state="START", output=None, error=None))
        if state != "START":
            self._tell(told)

    def _tell_of_killed(self, killed: Sequence[RunRow]) -> None:
        """The ends of runs, and of their steps, that could not tell of them."""
        for row in killed:
            ended = row.finished_at or datetime.now(UTC)
            for step in _killed(row):
                self._tell(Happening("FAIL", ended, _about(row), step.step, step.attempts))
            self._tell(Happening("ABORT", ended, _about(row)))

    def _tell(self, happening: Happening) -> None:
        if self.sender is not None:
            self.sender.send(happening)


def _report_of(error: PenstockError | None) -> Record | None:
    return error.report if isinstance(error, GateRefused) else None


def _sources(project: Project, prepared: Prepared | None) -> dict[str, str]:
    """The files that an extract reads. What other steps depend on is code and configuration."""
    if prepared is None or prepared.step.gives != "DatasetVersion":
        return {}
    files = (name.partition(" ") for name in prepared.inputs if name.startswith("file "))
    return {
        os.path.normpath(project.root / path): prepared.inputs[f"file {path}"]
        for _, _, path in files
    }


def close_killed(
    project: Project, database: Engine, run_id: str = "", error: PenstockError | None = None
) -> list[RunRow]:
    """Writes of a run that does not go on that it was interrupted; returns it, if that is news.

    Without an id, of all local ones: for the holder of the run lock.
    """
    killed = _interrupted(database, run_id, error)
    for row in killed:
        recording = Recording.resumed(project, database, row)
        recording._tell_of_killed([row])
        recording.leave()
    return killed


def _interrupted(
    database: Engine, run_id: str = "", error: PenstockError | None = None
) -> list[RunRow]:
    """Rows and entries of what was killed, written now: of two who do so, one does."""
    ended, why = datetime.now(UTC), error.as_dict() if error else KILLED
    with Ledger(database).page() as page:
        runs = Runs(page.connection)
        ids = runs.interrupt_abandoned(ended, run_id, why)
        killed = [row for one in ids if (row := runs.get(one))]
        for row in killed:
            story = Story.of(page, _about(row))
            for step in _killed(row):
                told = from_dict(step.error or {})
                story.step(step.step, "failed", attempt=step.attempts, error=told)
            story.end("interrupted", [step.step for step in row.steps if step.status == "cached"])
    return killed


def _killed(row: RunRow) -> list[StepRow]:
    """The steps that ran when their run was killed."""
    ended = row.finished_at
    return [step for step in row.steps if step.status == "failed" and step.finished_at == ended]


def _about(row: RunRow) -> RunOf:
    return RunOf(row.id, row.pipeline, row.environment, row.orchestrator, row.as_of)
