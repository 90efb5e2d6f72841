"""Runs one stage of the exported `dvc.yaml`, in the process that `dvc repro` provides.

Its steps are done, cached and recorded as in any other run; only that records come from the files
of earlier stages, and go to one of this stage's own.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock
from pydantic import ValidationError
from sqlalchemy import Engine

from penstock.digests import digest_at, written_whole
from penstock.errors import DataError, PenstockError, ProjectError
from penstock.orchestrators.dvc_stages import (
    Stage,
    laid_out,
    metrics_file,
    needed,
    stages_of,
)
from penstock.orchestrators.recording import Recording, Turn
from penstock.orchestrators.task import tell_of_failure
from penstock.pipeline.execution import RunIdentity, found_or_made, prepare
from penstock.pipeline.plan import Plan
from penstock.project import Project
from penstock.records import Record, from_json, to_json
from penstock.state.runs import new_run_id

ORCHESTRATOR = "dvc"
Progress = Callable[..., None]


def run_stage(
    plan: Plan, project: Project, database: Engine, name: str, progress: Progress
) -> dict[str, Record]:
    """Runs the steps of a stage and lays out what they made. Raises a `PenstockError`."""
    stage = _stage(plan, name)
    with FileLock(project.run_lock):
        done = _given(plan, project, stage)
        now = datetime.now(UTC)
        # No moment is asked for, so that the steps' results are those that `penstock run` has.
        run = RunIdentity(new_run_id(now), now, asked=False)
        recording = Recording.alone(project, database, run, ORCHESTRATOR)
        work = _Work(plan, project, database, run, recording, progress)
        made: dict[str, Record] = {}
        try:
            for step in stage.steps:
                made[step.name] = work.do(step.name, done | made)
            for record in made.values():
                _lay_out(project, record)
            _write(project.root / stage.records, {n: to_json(r) for n, r in made.items()})
            recording.finish("succeeded")
        finally:
            for remark in recording.leave():
                progress(remark)
        project.digests.save()
    return made


@dataclass(frozen=True)
class _Work:
    plan: Plan
    project: Project
    database: Engine
    run: RunIdentity
    recording: Recording
    progress: Progress

    def do(self, name: str, done: Mapping[str, Record]) -> Record:
        """One step, recorded; where it fails, so does the run, and the team hears of it."""
        turn, step = Turn(name, datetime.now(UTC)), self.plan.step(name)
        self.progress(f"{name}")
        self.recording.started(turn)
        try:
            prepared = prepare(self.plan, step, self.project, done, self.database)
            turn = turn.with_inputs(prepared)
            status, record = found_or_made(
                prepared, self.project, self.run, self.database, self._say
            )
        except PenstockError as error:
            self.recording.ended(turn, "failed", error=error)
            self.recording.finish("failed", error)
            tell_of_failure(self.project, self.run.id, name, error)
            raise
        self.recording.ended(turn, status, record)
        return record

    def _say(self, message: str, done: float | None = None) -> None:
        self.progress(message, done)


def _stage(plan: Plan, name: str) -> Stage:
    stages = {stage.name: stage for stage in stages_of(plan)}
    if name not in stages:
        raise ProjectError(
            f"no stage is called {name!r}", hint=f"the stages are: {', '.join(stages)}"
        )
    return stages[name]


def _given(plan: Plan, project: Project, stage: Stage) -> dict[str, Record]:
    """The records of earlier stages that this one needs, with their files in Penstock's place."""
    makers = {step.name: one for one in stages_of(plan) for step in one.steps}
    found = {}
    for name in needed(stage, plan):
        maker = makers[name]
        file = project.root / maker.records
        try:
            record = from_json(json.loads(file.read_text(encoding="utf-8"))[name])
        except (OSError, ValueError, KeyError, ValidationError) as error:
            raise DataError(
                f"{file} does not hold the record of {name}: {type(error).__name__}: {error}",
                hint=f"`dvc repro {maker.name}` makes it anew",
            ) from error
        _bring(project, record)
        found[name] = record
    return found


def _bring(project: Project, record: Record) -> None:
    """A file that a record names and this machine lacks, from among the stages' outputs.

    So a stage can go on from what `dvc pull` brought of somebody else's run.
    """
    laid = laid_out(type(record).__name__)
    for path_field, digest_field in record.artifacts.items():
        place = project.absolute(getattr(record, path_field))
        if laid is None or place.exists() or not (project.root / laid).exists():
            continue
        if digest_at(project.root / laid) == getattr(record, digest_field):
            _copy(project.root / laid, place)


def _lay_out(project: Project, record: Record) -> None:
    """What a record names, and its metrics, at the paths that `dvc.yaml` has for them."""
    kind = type(record).__name__
    if (laid := laid_out(kind)) is not None:
        for path_field in record.artifacts:
            _copy(project.absolute(getattr(record, path_field)), project.root / laid)
    if (metrics := metrics_file(kind)) is not None:
        _write(project.root / metrics, getattr(record, "metrics"))  # noqa: B009


def _copy(source: Path, target: Path) -> None:
    """Never a link: DVC may put a link to its cache in the target's place, and protect it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir():
        shutil.rmtree(target)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        with written_whole(target) as part:
            shutil.copyfile(source, part)


def _write(file: Path, value: Any) -> None:
    with written_whole(file) as part:
        part.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")
