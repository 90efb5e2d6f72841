"""One attempt at a step, in a process of its own: started, listened to, ended on time."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from penstock.errors import PenstockError, StepInterrupted, from_dict
from penstock.orchestrators.alarm import Alarm
from penstock.orchestrators.outcomes import Watcher
from penstock.pipeline.execution import Prepared, RunIdentity
from penstock.pipeline.plan import Plan, Step
from penstock.processes import Host, Job
from penstock.project import Project
from penstock.records import Record, from_json, to_json

WORKER = "penstock.pipeline.worker"
# What every step process needs; SQLAlchemy would look for the dialect in each of them anew.
COMMON = (WORKER, "sqlalchemy.dialects.sqlite.pysqlite", "penstock.pipeline.steps.custom_step")
Result = tuple[Record | None, PenstockError | None]  # a gate that says no gives both


@dataclass
class Attempts:
    """Owns the host, which exists only once there is something to run."""

    plan: Plan
    project: Project
    run: RunIdentity
    watcher: Watcher
    host: Host | None = None
    starting: threading.Lock = field(default_factory=threading.Lock)

    def attempt(
        self, prepared: Prepared, records: Mapping[str, Record], log: Path, upcoming: list[Step]
    ) -> Result:
        """Runs a step to its end, while the host imports what the upcoming ones will need."""
        step, limits = prepared.step, self.project.settings.pipeline
        job = self._start(prepared, records, log)
        for following in upcoming:
            self._prepare_for(following)
        alarm = Alarm(limits.timeouts.get(step.family, limits.timeout), job.kill)
        try:
            result = self._listen(job, step.name)
        finally:
            alarm.cancel()
            job.kill()
            job.close()
        return result or (None, _death(step.name, log, alarm))

    def close(self) -> None:
        if self.host:
            self.host.close()

    def _start(self, prepared: Prepared, records: Mapping[str, Record], log: Path) -> Job:
        log.parent.mkdir(parents=True, exist_ok=True)
        step = prepared.step
        needed = self.plan.needs(step)
        arguments = {
            "project": str(self.project.root),
            "environment": self.project.environment,
            "step": step.name,
            "key": prepared.key,
            "run": self.run.as_dict(),
            "records": {n: to_json(r) for n, r in records.items() if n in needed},
        }
        return self._host().start(f"{WORKER}:work", arguments, log, (*COMMON, *step.warm))

    def _host(self) -> Host:
        with self.starting:
            self.host = self.host or Host()
            return self.host

    def _prepare_for(self, step: Step) -> None:
        """What can be done for a step before its turn."""
        self._host().warm(*step.warm)
        if step.ahead:
            module, _, name = step.ahead.partition(":")
            getattr(import_module(module), name)(self.project)

    def _listen(self, job: Job, step: str) -> Result | None:
        """None when the process ended without a word."""
        while (message := job.channel.receive()) is not None:
            if "progress" in message:
                self.watcher.step_progress(step, message["progress"], message["done"])
                continue
            record = from_json(message["record"]) if message.get("record") else None
            return record, from_dict(message["error"]) if "error" in message else None
        return None


def _death(step: str, log: Path, alarm: Alarm) -> StepInterrupted:
    if alarm.rang:
        return alarm.too_long(step, f"; its log is {log}")
    return StepInterrupted(
        f"the process of {step} died without a result (killed, out of memory, or crashed)",
        hint=f"see its log: {log}",
    )
