"""Trains a version again from what its release names, in a folder of its own, and compares."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from penstock.audit.canonical import canonical
from penstock.audit.ledger import Draft, Ledger, present_actor
from penstock.digests import file_digest
from penstock.errors import IntegrityError, StepError, from_dict
from penstock.frames.checks import event_bounds
from penstock.frames.convert import columns_of
from penstock.pipeline.execution import prepare
from penstock.pipeline.plan import plan_of
from penstock.project import Project, open_project
from penstock.records import (
    DatasetVersion,
    FeatureSet,
    ModelReport,
    Record,
    TrainedModel,
    from_json,
    plain,
    to_json,
)
from penstock.releases.checkout import Progress, check_out, variables
from penstock.releases.history import Made
from penstock.releases.manifest import Manifest
from penstock.state.cache import CacheEntry, StepCache
from penstock.state.database import open_database

REPRODUCED = "release.reproduced"
LAST = "evaluate_model"


@dataclass(frozen=True)
class Compared:
    """One thing that was, and is again or not."""

    name: str
    before: str
    now: str
    decides: bool = True  # False: it may explain a difference, and is none itself

    @property
    def same(self) -> bool:
        return self.before == self.now


@dataclass(frozen=True)
class Reproduction:
    """What became of training a version again."""

    model: str
    code: str  # where it came from
    compared: tuple[Compared, ...]

    @property
    def equal(self) -> bool:
        return all(one.same for one in self.compared if one.decides)


def reproduce(
    project: Project, manifest: Manifest, folder: Path, progress: Progress
) -> Reproduction:
    """Fills an empty folder with what the release was made from, trains there, and compares.

    Raises `PenstockError` for what cannot be had any more, or where the training fails.
    """
    code = check_out(project, manifest, folder, progress)
    alone = variables(manifest, folder, project.environment)
    _settle_dataset(open_project(folder, project.environment, alone), manifest)
    progress("training it again")
    records = _run(manifest, folder, project.environment, alone)
    return Reproduction(manifest.model, code, compared(manifest, records))


def record(engine: Engine, made: Made, found: Reproduction) -> None:
    """Notes that somebody tried, and how it ended."""
    different = [one.name for one in found.compared if not one.same and one.decides]
    Ledger(engine).write(
        Draft(
            by=present_actor(),
            action=REPRODUCED,
            subject=made.label,
            digest=made.digest,
            outcome="equal" if found.equal else "different",
            details={"different": different},
        )
    )


def compared(manifest: Manifest, records: Mapping[str, Record]) -> tuple[Compared, ...]:
    """What the release says beside what was made now. Pure."""
    found: list[Compared] = []
    features, trained = records.get("FeatureSet"), records.get("TrainedModel")
    if isinstance(features, FeatureSet):
        found += [
            Compared("training set", manifest.data.training_set, features.digest),
            Compared("rows", str(manifest.data.training_rows), str(features.rows)),
            Compared("definitions", manifest.features.definitions, features.definitions, False),
        ]
    if isinstance(trained, TrainedModel):
        before, now = manifest.training.params, trained.params
        found.append(Compared("code behind train()", manifest.code.train, trained.code, False))
        found += [
            Compared(f"param {name}", _text(before.get(name)), _text(now.get(name)))
            for name in sorted({*before, *now})
        ]
        found.append(Compared("model", manifest.digest_of_model, trained.digest))
    report = records.get("ModelReport")
    if isinstance(report, ModelReport):
        old, new = manifest.training.metrics, report.metrics
        found += [
            Compared(name, _number(old.get(name)), _number(new.get(name)))
            for name in sorted({*old, *new})
        ]
    return tuple(found)


def _settle_dataset(project: Project, manifest: Manifest) -> None:
    """The data is there: its extraction counts as done, so that no source is asked again."""
    at = datetime.fromisoformat(manifest.training.as_of)
    database, plan = open_database(project), plan_of(project)
    prepared = prepare(plan, plan.step("extract_data"), project, {}, database, at)
    record = to_json(_dataset(project, manifest, at))
    StepCache(database).put(
        CacheEntry(prepared.step.name, prepared.key, prepared.inputs, record, "reproduced", at)
    )


def _dataset(project: Project, manifest: Manifest, at: datetime) -> DatasetVersion:
    import pyarrow.parquet as pq

    data, file = manifest.data, project.absolute(manifest.data.path)
    if (seen := file_digest(file)) != data.digest:
        raise IntegrityError(
            f"DVC gave {data.path} with the digest {seen[:12]}; the release names "
            f"{data.digest[:12]}",
            hint="`penstock audit verify` says whether the ledger was changed",
        )
    table, settings = pq.read_table(file), project.settings.data
    first, last = event_bounds(table, settings.event_time, at, settings.future_tolerance)
    return DatasetVersion(
        name=data.name,
        path=data.path,
        digest=data.digest,
        dvc_md5=data.dvc,
        remote=data.remote,
        rows=table.num_rows,
        columns=columns_of(table.schema),
        first_event=first,
        last_event=last,
    )


def _run(
    manifest: Manifest, folder: Path, environment: str, alone: Mapping[str, str]
) -> dict[str, Record]:
    """The records of the steps up to the evaluation, by kind."""
    command = ["run", "--json", "--until", LAST, "--as-of", manifest.training.as_of]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "penstock", *command),
            *("--project", str(folder), "--environment", environment),
        ],
        env=dict(alone),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    try:
        said: dict[str, Any] = json.loads(done.stdout)
    except ValueError as error:
        raise StepError(
            f"the run in {folder} ended without an answer: {done.stdout[-300:]}"
        ) from error
    stored = [step["record"] for step in said.get("steps", ()) if step.get("record")]
    records = {record["kind"]: from_json(record) for record in stored}
    if said.get("error") and "ModelReport" not in records:
        failed = from_dict(said["error"])
        raise StepError(f"it cannot be trained again: {failed.message}", hint=failed.hint)
    return records


def _text(value: Any) -> str:
    """As the ledger has it: 1.0 and 1 are one number there."""
    return canonical(plain(value)).decode()


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.12g}"
