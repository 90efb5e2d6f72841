"""Runs the plan on this machine: each step in a process of its own, independent ones side by side.

The runner itself imports nothing heavy. While a step runs, the host process imports what the next
one will need. What happens is told to a `Watcher`; the terminal is one of several.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout
from sqlalchemy import Engine

from penstock.errors import PenstockError, StepInterrupted, from_dict
from penstock.orchestrators.task import tell_of_failure
from penstock.pipeline.execution import Prepared, RunIdentity, cached, prepare
from penstock.pipeline.failures import decide_retry
from penstock.pipeline.plan import Plan, Step
from penstock.processes import Host, Job
from penstock.project import Project
from penstock.records import Record, from_json, to_json
from penstock.state.cache import StepCache
from penstock.state.runs import Runs, new_run_id


class Watcher(Protocol):
    """Is told what happens, from several threads."""

    def run_started(self, run_id: str, steps: list[str]) -> None: ...
    def waiting_for_other_run(self) -> None: ...
    def step_started(self, step: str, attempt: int) -> None: ...
    def step_progress(self, step: str, message: str, done: float | None) -> None: ...
    def step_ended(self, outcome: StepOutcome) -> None: ...


@dataclass(frozen=True)
class StepOutcome:
    step: str
    status: str  # succeeded, cached, failed, skipped
    seconds: float
    record: Record | None = None
    error: PenstockError | None = None
    log: Path | None = None
    attempts: int = 1


@dataclass(frozen=True)
class RunOutcome:
    run_id: str
    seconds: float
    steps: tuple[StepOutcome, ...]

    @property
    def error(self) -> PenstockError | None:
        return next((s.error for s in self.steps if s.error is not None), None)

    def record(self, kind: type[Record]) -> Any:
        return next((s.record for s in self.steps if isinstance(s.record, kind)), None)


def run_plan(
    plan: Plan,
    project: Project,
    database: Engine,
    watcher: Watcher,
    *,
    as_of: datetime | None = None,
    rerun: str | None = None,
    until: str | None = None,
) -> RunOutcome:
    """Runs the plan, or the part of it up to `until`. A failed step stops what rests on it.

    Raises only for what stands before the first step; a step's failure is in the outcome.
    """
    lock = FileLock(project.folder / "run.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        watcher.waiting_for_other_run()
        lock.acquire()
    with lock:
        if rerun:
            StepCache(database).forget(plan.step(rerun).name)
        run = _Run(plan, project, database, watcher, as_of or datetime.now(UTC), as_of)
        return run.execute(_wanted(plan, until))


def _wanted(plan: Plan, until: str | None) -> list[Step]:
    if until is None:
        return list(plan.steps)
    last = plan.step(until)
    names = {last.name} | {step.name for step in plan.upstream(last)}
    return [step for step in plan.steps if step.name in names]


@dataclass
class _Run:
    plan: Plan
    project: Project
    database: Engine
    watcher: Watcher
    as_of: datetime
    asked_as_of: datetime | None  # the same, where somebody asked for it
    host: Host | None = None
    outcomes: dict[str, StepOutcome] = field(default_factory=dict)
    records: dict[str, Record] = field(default_factory=dict)
    host_lock: threading.Lock = field(default_factory=threading.Lock)

    def execute(self, wanted: list[Step]) -> RunOutcome:
        started, now = time.monotonic(), datetime.now(UTC)
        runs = Runs(self.database)
        runs.interrupt_abandoned(now)
        self.identity = RunIdentity(new_run_id(now), self.as_of)
        runs.start(
            self.identity.id,
            pipeline=self.project.settings.project.name,
            environment=self.project.environment,
            orchestrator="local",
            as_of=self.as_of,
            now=now,
        )
        self.watcher.run_started(self.identity.id, [step.name for step in wanted])
        try:
            self._run_all(wanted)
        except KeyboardInterrupt:
            runs.finish(self.identity.id, "interrupted", datetime.now(UTC))
            raise
        finally:
            if self.host:
                self.host.close()
            self.project.digests.save()
        outcome = RunOutcome(
            self.identity.id,
            time.monotonic() - started,
            tuple(self.outcomes[step.name] for step in wanted),
        )
        error = outcome.error
        runs.finish(
            self.identity.id,
            "failed" if error else "succeeded",
            datetime.now(UTC),
            error.as_dict() if error else None,
        )
        if error:
            failed = next(step.step for step in outcome.steps if step.error is not None)
            tell_of_failure(self.project, outcome.run_id, failed, error)
        return outcome

    def _run_all(self, wanted: list[Step]) -> None:
        """Starts every step as soon as all that it stands behind is done."""
        waiting, running = list(wanted), dict[Future[StepOutcome], Step]()
        with ThreadPoolExecutor(self.project.settings.pipeline.workers) as pool:
            while waiting or running:
                for step in [s for s in waiting if all(n in self.outcomes for n in s.after)]:
                    waiting.remove(step)
                    if any(name not in self.records for name in step.after):
                        self._note(StepOutcome(step.name, "skipped", 0.0))
                    else:
                        running[pool.submit(self._one, step, waiting[:1])] = step
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
        begun, started_at = time.monotonic(), datetime.now(UTC)
        attempt, record, error, status = 0, None, None, "succeeded"
        log = self.project.folder / "runs" / self.identity.id / f"{step.name}.log"
        while True:
            attempt += 1
            try:
                prepared = prepare(self.plan, step, self.project, self.records, self.database)
                record = cached(prepared, self.project, self.database)
                status = "cached" if record is not None else "succeeded"
                if record is None:
                    self._record(step, "running", started_at, attempt)
                    self.watcher.step_started(step.name, attempt)
                    record, error = self._attempt(prepared, log, upcoming)
            except PenstockError as raised:
                error = raised
            if error is None:
                break
            status, policy = "failed", self.project.settings.pipeline
            decision = decide_retry(error, attempt, policy.retries, policy.retry_delay)
            if not decision.retry:
                break
            self.watcher.step_progress(step.name, f"{error.message}; {decision.reason}", None)
            time.sleep(decision.delay.total_seconds())
            error = None
        self._record(step, status, started_at, attempt, record, error)
        seconds = time.monotonic() - begun
        return StepOutcome(step.name, status, seconds, record, error, log, attempt)

    def _attempt(
        self, prepared: Prepared, log: Path, upcoming: list[Step]
    ) -> tuple[Record | None, PenstockError | None]:
        """Runs a step in a job of the host, and listens until it ends."""
        job = self._start(prepared, log)
        for step in upcoming:
            self._warm(step)
        limits = self.project.settings.pipeline
        limit = limits.timeouts.get(prepared.step.name, limits.timeout)
        out_of_time = threading.Event()

        def end() -> None:
            out_of_time.set()
            job.kill()

        alarm = threading.Timer(limit.total_seconds(), end)
        alarm.daemon = True
        alarm.start()
        record: Record | None = None
        try:
            while (message := job.channel.receive()) is not None:
                if "progress" in message:
                    self.watcher.step_progress(
                        prepared.step.name, message["progress"], message["done"]
                    )
                    continue
                if message.get("record"):
                    record = from_json(message["record"])
                return record, from_dict(message["error"]) if "error" in message else None
        finally:
            alarm.cancel()
            job.kill()
            job.close()
        return None, _death(prepared.step.name, log, timed_out=out_of_time.is_set(), limit=limit)

    def _start(self, prepared: Prepared, log: Path) -> Job:
        log.parent.mkdir(parents=True, exist_ok=True)
        self._warm(prepared.step)
        assert self.host is not None
        sources = self.plan.sources(prepared.step).values()
        needed = {*sources, *prepared.step.after}
        return self.host.start(
            "penstock.pipeline.worker:work",
            {
                "project": str(self.project.root),
                "environment": self.project.environment,
                "step": prepared.step.name,
                "key": prepared.key,
                "run": {
                    "id": self.identity.id,
                    "as_of": self.as_of.isoformat(),
                    "as_of_asked": self.asked_as_of is not None,
                },
                "records": {n: to_json(r) for n, r in self.records.items() if n in needed},
            },
            log,
        )

    def _warm(self, step: Step) -> None:
        with self.host_lock:
            if self.host is None:
                self.host = Host()
                self.host.warm("penstock.pipeline.worker")
        self.host.warm(*step.warm)

    def _record(
        self,
        step: Step,
        status: str,
        started_at: datetime,
        attempts: int,
        record: Record | None = None,
        error: PenstockError | None = None,
    ) -> None:
        Runs(self.database).record_step(
            self.identity.id,
            step.name,
            status=status,
            started_at=started_at,
            finished_at=None if status == "running" else datetime.now(UTC),
            attempts=attempts,
            record=to_json(record) if record else None,
            error=error.as_dict() if error else None,
        )


def _death(step: str, log: Path, *, timed_out: bool, limit: Any) -> StepInterrupted:
    if timed_out:
        return StepInterrupted(
            f"{step} ran longer than its timeout of {limit} and was ended",
            hint=f"raise [pipeline] timeout, or timeouts.{step}; its log is {log}",
        )
    return StepInterrupted(
        f"the process of {step} died without a result (killed, out of memory, or crashed)",
        hint=f"see its log: {log}",
    )


def summary(outcome: RunOutcome) -> Mapping[str, Any]:
    """The outcome as plain JSON values."""
    error = outcome.error
    return {
        "run": outcome.run_id,
        "status": "failed" if error else "succeeded",
        "seconds": round(outcome.seconds, 3),
        "error": error.as_dict() if error else None,
        "steps": [
            {
                "step": step.step,
                "status": step.status,
                "seconds": round(step.seconds, 3),
                "attempts": step.attempts,
                "record": to_json(step.record) if step.record else None,
                "error": step.error.as_dict() if step.error else None,
            }
            for step in outcome.steps
        ],
    }
