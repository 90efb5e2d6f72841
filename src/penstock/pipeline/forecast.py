"""What the next run would do, and why. Nothing is run."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from pydantic import ValidationError
from sqlalchemy import Engine

from penstock.errors import IntegrityError
from penstock.pipeline.execution import Prepared, cached, prepare
from penstock.pipeline.inputs import changes
from penstock.pipeline.plan import Plan, Step
from penstock.project import Project
from penstock.records import Record, from_json
from penstock.state.cache import StepCache

CACHED, RUN, MAYBE = "cached", "runs", "runs if its input changes"


@dataclass(frozen=True)
class StepForecast:
    step: str
    after: tuple[str, ...]
    action: str  # cached, runs, runs if its input changes
    reasons: tuple[str, ...]


def forecast(plan: Plan, project: Project, database: Engine) -> tuple[StepForecast, ...]:
    """One entry a step, in order of the plan.

    Behind a step that would run, a step is compared on the inputs of its own; whether the records
    that reach it change too is known only when they are made.
    """
    oracle = _Oracle(plan, project, database)
    found = tuple(oracle.look(step) for step in plan.steps)
    project.digests.save()
    return found


class _Oracle:
    def __init__(self, plan: Plan, project: Project, database: Engine) -> None:
        self.plan, self.project, self.database = plan, project, database
        self.records: dict[str, Record] = {}  # of steps that are cached
        self.earlier: dict[str, Record] = {}  # of steps that would run: what they gave last time
        self.uncertain: set[str] = set()

    def look(self, step: Step) -> StepForecast:
        waits = tuple(name for name in step.after if name in self.uncertain)
        makers = self.plan.sources(step).values()
        known = self.records | self.earlier
        if any(maker not in known for maker in makers):
            return self._runs(step, tuple(f"waits for {name}, which runs" for name in waits))
        prepared = prepare(self.plan, step, self.project, known, self.database)
        if waits:
            own = self._changed(prepared)
            reasons = tuple(f"waits for {name}, which runs" for name in waits)
            return self._runs(step, own + reasons, RUN if own else MAYBE)
        try:
            record = cached(prepared, self.project, self.database)
        except IntegrityError as error:
            return self._runs(step, (error.message,))
        if record is not None:
            self.records[step.name] = record
            return StepForecast(step.name, step.after, CACHED, ("nothing changed",))
        return self._runs(step, self._changed(prepared) or self._without_change(prepared))

    def _runs(self, step: Step, reasons: tuple[str, ...], action: str = RUN) -> StepForecast:
        self.uncertain.add(step.name)
        latest = StepCache(self.database).latest(step.name)
        if latest is not None:
            with contextlib.suppress(KeyError, ValidationError):  # unreadable: as if it never ran
                self.earlier[step.name] = from_json(latest.record)
        return StepForecast(step.name, step.after, action, reasons)

    def _changed(self, prepared: Prepared) -> tuple[str, ...]:
        latest = StepCache(self.database).latest(prepared.step.name)
        if latest is None:
            return ("it never ran to its end",)
        return tuple(changes(latest.inputs, prepared.inputs))

    def _without_change(self, prepared: Prepared) -> tuple[str, ...]:
        """Nothing that it reads changed, yet its result does not hold."""
        if prepared.step.name == "deploy_to_staging":
            return ("the staging endpoint does not serve that release any more",)
        if prepared.step.name == "extract_data":
            return ('[data] refresh is "always", or the dataset is gone',)
        return ("a file that it made is gone",)
