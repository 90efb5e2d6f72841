"""Runs the plan on this machine: each step in a process of its own, independent ones side by side.

The runner itself imports nothing heavy. While a step runs, the host process imports what the next
one will need. What happens is told to a `Watcher`; the terminal is one of several.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from filelock import FileLock, Timeout
from sqlalchemy import Engine

from penstock.errors import ConflictError, PenstockError
from penstock.orchestrators.attempts import Attempts
from penstock.orchestrators.outcomes import RunOutcome, StepOutcome, Watcher
from penstock.orchestrators.recording import Recording, Turn
from penstock.orchestrators.task import tell_of_failure
from penstock.pipeline.execution import Occasion, RunIdentity, cached, prepare
from penstock.pipeline.failures import decide_retry
from penstock.pipeline.plan import Plan, Step
from penstock.project import Project
from penstock.records import Record
from penstock.state.cache import StepCache
from penstock.state.runs import Runs, new_run_id

ORCHESTRATOR = "local"
BY_HAND = Occasion()
IN_VIEW = 3  # steps behind the one that runs for which the host already imports


def run_plan(
    plan: Plan,
    project: Project,
    database: Engine,
    watcher: Watcher,
    *,
    as_of: datetime | None = None,
    rerun: str | None = None,
    until: str | None = None,
    occasion: Occasion = BY_HAND,
) -> RunOutcome:
    """Runs the plan, or the part of it up to `until`. A failed step stops what rests on it.

    Raises only for what stands before the first step; a step's failure is in the outcome.
    """
    with _alone(project, watcher):
        _require_not_run(database, occasion)
        if rerun:
            StepCache(database).forget(plan.step(rerun).name)
        now = datetime.now(UTC)
        identity = RunIdentity(
            occasion.run_id or new_run_id(now),
            as_of or now,
            asked=as_of is not None,
            trigger=occasion.trigger,
            reason=occasion.reason,
        )
        attempts = Attempts(plan, project, identity, watcher)
        recording = Recording.alone(project, database, identity, ORCHESTRATOR)
        return _Run(plan, project, database, watcher, identity, attempts, recording).execute(
            plan.until(until)
        )


@contextlib.contextmanager
def _alone(project: Project, watcher: Watcher) -> Iterator[None]:
    """Waits for another run on this machine to end."""
    lock = FileLock(project.run_lock)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        watcher.waiting_for_other_run()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _require_not_run(database: Engine, occasion: Occasion) -> None:
    """An order is carried out once, however often it is given. Raises `ConflictError`."""
    run = Runs(database).get(occasion.run_id) if occasion.run_id else None
    if run is not None and run.finished_at is not None:
        raise ConflictError(
            f"run {run.id} was ordered once, and is over: it {run.status}",
            hint=f"`penstock runs show {run.id}`",
        )


@dataclass
class _Run:
    plan: Plan
    project: Project
    database: Engine
    watcher: Watcher
    identity: RunIdentity
    attempts: Attempts
    recording: Recording
    outcomes: dict[str, StepOutcome] = field(default_factory=dict)
    records: dict[str, Record] = field(default_factory=dict)

    def execute(self, wanted: Sequence[Step]) -> RunOutcome:
        started = time.monotonic()
        self.watcher.run_started(self.identity.id, [step.name for step in wanted])
        try:
            self._run_all(wanted)
        except KeyboardInterrupt:
            self.recording.finish("interrupted")
            self.recording.leave()
            raise
        finally:
            self.attempts.close()
            self.project.digests.save()
        outcome = RunOutcome(
            self.identity.id,
            time.monotonic() - started,
            tuple(self.outcomes[step.name] for step in wanted),
        )
        error = outcome.error
        self.recording.finish("failed" if error else "succeeded", error)
        if error:
            failed = next(step.step for step in outcome.steps if step.error is not None)
            tell_of_failure(self.project, outcome.run_id, failed, error)
        return replace(outcome, remarks=tuple(self.recording.leave()))

    def _run_all(self, wanted: Sequence[Step]) -> None:
        """Starts every step as soon as all that it stands behind is done."""
        waiting, running = list(wanted), dict[Future[StepOutcome], Step]()
        with ThreadPoolExecutor(self.project.settings.pipeline.workers) as pool:
            while waiting or running:
                for step in [s for s in waiting if all(n in self.outcomes for n in s.after)]:
                    waiting.remove(step)
                    if any(name not in self.records for name in step.after):
                        self._note(StepOutcome(step.name, "skipped", 0.0))
                    else:
                        running[pool.submit(self._one, step, waiting[:IN_VIEW])] = step
                if not running:
                    continue
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    running.pop(future)
                    self._note(future.result())

    def _note(self, outcome: StepOutcome) -> None:
        self.outcomes[outcome.step] = outcome
        if outcome.error is None and outcome.record is not None:
            self.records[outcome.step] = outcome.record
        self.watcher.step_ended(outcome)

    def _one(self, step: Step, upcoming: list[Step]) -> StepOutcome:
        """One step with its retries, and the record of it."""
        begun, turn = time.monotonic(), Turn(step.name, datetime.now(UTC), attempt=0)
        record, error, status = None, None, "succeeded"
        log = self.project.folder / "runs" / self.identity.id / f"{step.name}.log"
        while True:
            turn = replace(turn, attempt=turn.attempt + 1)
            try:
                asked = self.identity.asked_as_of
                prepared = prepare(
                    self.plan, step, self.project, self.records, self.database, asked
                )
                turn = turn.with_inputs(prepared)
                record = cached(prepared, self.project, self.database)
                status = "cached" if record is not None else "succeeded"
                if record is None:
                    self.recording.started(turn)
                    self.watcher.step_started(step.name, turn.attempt)
                    record, error = self.attempts.attempt(prepared, self.records, log, upcoming)
            except PenstockError as raised:
                error = raised
            if error is None:
                break
            status, policy = "failed", self.project.settings.pipeline
            decision = decide_retry(error, turn.attempt, policy.retries, policy.retry_delay)
            if not decision.retry:
                break
            self.recording.tried(turn, error)
            self.watcher.step_progress(step.name, f"{error.message}; {decision.reason}", None)
            time.sleep(decision.delay.total_seconds())
            error = None
        self.recording.ended(turn, status, record, error)
        seconds = time.monotonic() - begun
        return StepOutcome(step.name, status, seconds, record, error, log, turn.attempt)
