"""One step: is it cached? If not, run it, check what it made, and remember it.

Every orchestrator comes through here, whichever process it runs in.
"""

from __future__ import annotations

import contextlib
import importlib
import random
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock
from pydantic import ValidationError
from sqlalchemy import Engine

from penstock.errors import GateFailed, IntegrityError, NoBetter, StepError
from penstock.gates.thresholds import BETTER, CHAMPION
from penstock.lineage.store import record_step
from penstock.pipeline.context import Progress, StepContext
from penstock.pipeline.failures import translated
from penstock.pipeline.inputs import Inputs, inputs_of, key_of
from penstock.pipeline.plan import Plan, Step
from penstock.project import Project
from penstock.records import GateReport, Record, Release, from_json, to_json
from penstock.registry.champions import champion_label
from penstock.state.cache import CacheEntry, StepCache


@dataclass(frozen=True)
class Prepared:
    """A step whose inputs are known."""

    step: Step
    records: Mapping[str, Record]  # by kind
    inputs: Inputs
    key: str


@dataclass(frozen=True)
class Occasion:
    """What a run is started for."""

    trigger: str = ""  # schedule, drift, manual, …; empty: a person types `penstock run`
    reason: str = ""
    run_id: str = ""  # where it was fixed before the run; empty: a new one


@dataclass(frozen=True)
class RunIdentity:
    id: str
    as_of: datetime  # UTC
    asked: bool  # whether somebody asked for that moment, by hand or by schedule
    trigger: str = ""  # what started the run: schedule, drift, manual, …; empty: a person typed it
    reason: str = ""

    @property
    def asked_as_of(self) -> datetime | None:
        return self.as_of if self.asked else None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"as_of": self.as_of.isoformat()}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> RunIdentity:
        return cls(**stored | {"as_of": datetime.fromisoformat(stored["as_of"])})


class GateRefused(GateFailed):
    """A gate step came to its verdict, and the verdict is no; the report says why."""

    def __init__(self, message: str, *, hint: str = "", report: GateReport | None = None) -> None:
        super().__init__(message, hint=hint)
        self.report = report


class ChampionStays(NoBetter, GateRefused):
    """The same where all that speaks against a model is that the champion is as good."""


def prepare(
    plan: Plan,
    step: Step,
    project: Project,
    done: Mapping[str, Record],
    database: Engine,
    as_of: datetime | None = None,
) -> Prepared:
    """Collects what a step takes from the records of the steps before it.

    `as_of` is the moment that somebody asked for, by hand or by schedule: another moment is another
    extract. None, the present, leaves it to the sources to say whether there is anything new.
    """
    records = {kind: done[maker] for kind, maker in plan.sources(step).items()}
    inputs = inputs_of(step, project, records)
    if "champion" in step.world:
        inputs["champion"] = champion_label(database)
    if "as_of" in step.world and as_of is not None:
        inputs["as of"] = as_of.isoformat()
    # A step that takes nothing from another still waits for it, and depends on its outcome.
    for name in step.after:
        if name in done and not records:
            inputs |= {f"after {name}: {k}": v for k, v in done[name].fingerprint().items()}
    return Prepared(step, records, inputs, key_of(inputs))


def cached(prepared: Prepared, project: Project, database: Engine) -> Record | None:
    """The result that an earlier run left for the same inputs, if it still holds.

    Raises `IntegrityError` when the files it names are not the bytes that were recorded.
    """
    step = prepared.step
    if step.name == "extract_data" and project.settings.data.refresh == "always":
        return None
    entry = StepCache(database).get(step.name, prepared.key)
    if entry is None:
        return None
    try:
        record = from_json(entry.record)
    except (KeyError, ValidationError) as error:
        raise IntegrityError(
            f"the cache entry of {step.name} cannot be read: {str(error).splitlines()[0]}",
            hint=f"`penstock run --rerun {step.name}` makes it anew",
        ) from error
    return record if artifacts_hold(record, step, project) and _still_up(record, project) else None


def artifacts_hold(record: Record, step: Step, project: Project) -> bool:
    """Whether the files of a record are there. Raises `IntegrityError` when they were changed."""
    for path_field, digest_field in record.artifacts.items():
        path = project.absolute(getattr(record, path_field))
        if not path.exists():
            return False
        seen, expected = project.digests.of(path), getattr(record, digest_field)
        if seen != expected:
            raise IntegrityError(
                f"{path} was changed after {step.name} wrote it: its digest is {seen[:12]}, "
                f"{expected[:12]} was recorded",
                hint=f"`penstock run --rerun {step.name}` makes it anew",
            )
    return True


def _still_up(record: Record, project: Project) -> bool:
    """A release counts as done only while its endpoint serves it."""
    if not isinstance(record, Release):
        return True
    from penstock.serving.endpoint import status

    return status(project.endpoint(record.endpoint)).live == record.id


def found_or_made(
    prepared: Prepared, project: Project, run: RunIdentity, database: Engine, progress: Progress
) -> tuple[str, Record]:
    """A step's result, and whether it is `cached` or `succeeded`. Raises a `PenstockError`."""
    found = cached(prepared, project, database)
    if found is not None:
        return "cached", found
    return "succeeded", perform(prepared, project, run, database, progress)


def perform(
    prepared: Prepared, project: Project, run: RunIdentity, database: Engine, progress: Progress
) -> Record:
    """Runs a step and remembers its result. Raises a `PenstockError`, and nothing else.

    Two runs that want the same step wait for each other here; the second finds it done.
    """
    step = prepared.step
    locks = project.folder / "locks"
    with translated(step.name):
        locks.mkdir(parents=True, exist_ok=True)
        with FileLock(locks / f"{step.name}.lock"):
            if (found := cached(prepared, project, database)) is not None:
                return found
            record = _run(prepared, project, run, database, progress)
            record_step(database, run.id, record, prepared.inputs)
            if isinstance(record, GateReport) and not record.passed:
                raise _refusal(step, record)
            now, stored = datetime.now(UTC), to_json(record)
            StepCache(database).put(
                CacheEntry(step.name, prepared.key, prepared.inputs, stored, run.id, now)
            )
    return record


def _run(
    prepared: Prepared, project: Project, run: RunIdentity, database: Engine, progress: Progress
) -> Record:
    step = prepared.step
    for record in prepared.records.values():
        if not artifacts_hold(record, step, project):
            raise IntegrityError(
                f"a file that {step.name} needs is gone: {_paths(record)}", hint="run again"
            )
    random.seed(project.seed)
    scratch = Path(tempfile.mkdtemp(prefix="penstock-"))
    try:
        context = StepContext(
            project=project,
            step=step,
            run_id=run.id,
            as_of=run.as_of,
            trigger=run.trigger,
            reason=run.reason,
            key=prepared.key,
            scratch=scratch,
            progress=progress,
            database=database,
        )
        module, _, name = step.function.partition(":")
        function = getattr(importlib.import_module(module), name)
        # A project's code may name its files as seen from the project's folder.
        with contextlib.chdir(project.root):
            record = function(context, *prepared.records.values())
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if not isinstance(record, Record):
        raise StepError(
            f"{step.name} returned {type(record).__name__}, not a record",
            hint="return one of the records of penstock.records, or nothing",
        )
    return record


def _refusal(step: Step, report: GateReport) -> GateRefused:
    failures = {check.name: check for check in report.failures}
    if BETTER in failures and failures.keys() <= {BETTER, CHAMPION}:
        return ChampionStays(failures[BETTER].reason, report=report)
    lines = "; ".join(
        f"{check.name}: {check.observed}, expected {check.expected}"
        for check in report.failures[:5]
    )
    more = f" and {len(report.failures) - 5} more" if len(report.failures) > 5 else ""
    return GateRefused(
        f"{len(report.failures)} of {len(report.checks)} checks failed: {lines}{more}",
        report=report,
    )


def _paths(record: Record) -> str:
    return ", ".join(str(getattr(record, field)) for field in record.artifacts)
