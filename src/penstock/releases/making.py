"""A release is made with the version that it is of: kept by its digest, and told to the ledger."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from penstock.audit.entries import moment_text
from penstock.audit.ledger import Actor, Draft, Entry, Page, actor_of
from penstock.digests import digest_of_files, file_digest
from penstock.project import Project
from penstock.records import (
    DataReport,
    DatasetVersion,
    FeatureSet,
    ModelReport,
    ModelVersion,
    TrainedModel,
)
from penstock.registry.attestations import publish, trained_environment
from penstock.registry.provenance import git_commit
from penstock.releases.history import MADE
from penstock.releases.manifest import (
    Code,
    Data,
    Expectations,
    Features,
    Manifest,
    Training,
    settings_of,
)
from penstock.releases.source_bundle import ARTIFACTS, ENDING, SOURCE, bundle
from penstock.releases.source_bundle import KIND as SOURCE_KIND
from penstock.state.artifacts import keep, place_of

KIND, MANIFEST = "release", "manifest.json"


@dataclass(frozen=True)
class Run:
    """What the steps of a run found out about a model."""

    id: str
    as_of: datetime
    dataset: DatasetVersion
    checked: DataReport
    features: FeatureSet
    trained: TrainedModel
    report: ModelReport


def released(project: Project, version: ModelVersion, run: Run) -> Manifest:
    """The release of a version that a run has just registered; kept here, and beside the model."""
    manifest = described(project, version.label, version.digest, run)
    source = place_of(project, SOURCE_KIND, manifest.code.bundle, ENDING).read_bytes()
    _kept(project, manifest, {SOURCE: source})
    return manifest


def described(project: Project, label: str, digest: str, run: Run) -> Manifest:
    """All that a model rests on, whether it is registered or not; its source is kept here."""
    archive, left_out = bundle(project)
    commit, dirty = git_commit(project.root)
    environment = trained_environment(project, run.trained.mlflow_run_id)
    return Manifest(
        model=label,
        digest_of_model=digest,
        flavor=run.trained.flavor,
        code=Code(
            commit=commit,
            dirty=dirty or not commit,
            train=run.trained.code,
            bundle=archive.digest,
            left_out=left_out,
        ),
        data=_data(run),
        features=facts_of(run.features),
        expectations=_expectations(project, run.checked),
        training=Training(
            run=run.id,
            mlflow_run=run.trained.mlflow_run_id,
            as_of=moment_text(run.as_of),
            seed=run.trained.seed,
            params=run.trained.params,
            metrics=run.report.metrics,
            environment=hashlib.sha256(environment.encode()).hexdigest() if environment else "",
        ),
        settings=settings_of(project.settings),
    )


def adopted(
    project: Project,
    label: str,
    digest: str,
    *,
    flavor: str,
    features: Features,
    training: Training,
    digests: Mapping[str, str],
) -> Manifest:
    """The release of a version that no run of this project made: what is not known stays empty."""
    manifest = Manifest(
        model=label,
        digest_of_model=digest,
        flavor=flavor,
        code=Code(train=digests.get("code", "")),
        data=Data(
            digest=digests.get("dataset", ""),
            dvc=digests.get("dataset_dvc_md5", ""),
            training_set=digests.get("training_set", ""),
        ),
        features=features,
        training=training,
        settings=settings_of(project.settings),
        adopted=True,
    )
    _kept(project, manifest, {})
    return manifest


def record(
    page: Page, manifest: Manifest, *, reason: str, actor: str | Actor | None = None
) -> Entry:
    """Tells the ledger of a release."""
    return page.write(
        Draft(
            by=actor_of(actor),
            action=MADE,
            subject=manifest.model,
            digest=manifest.digest,
            after=manifest.digest_of_model,
            digests=manifest.digests,
            reason=reason,
            run_id=manifest.training.run or None,
            details={"manifest": manifest.document},
        )
    )


def facts_of(features: FeatureSet) -> Features:
    """What of a training set's features a release keeps."""
    asked = {c.name: c.type for c in features.features if c.name in features.request_columns}
    return Features(
        service=features.service,
        definitions=features.definitions,
        entity_keys=features.entity_keys,
        requested={name: asked.get(name, "") for name in features.request_columns},
        columns=tuple(column.name for column in features.features),
    )


def _data(run: Run) -> Data:
    return Data(
        name=run.dataset.name,
        path=run.dataset.path,
        digest=run.dataset.digest,
        dvc=run.dataset.dvc_md5,
        remote=run.dataset.remote,
        rows=run.dataset.rows,
        training_set=run.features.digest,
        training_rows=run.features.rows,
    )


def _expectations(project: Project, checked: DataReport) -> Expectations:
    files = sorted((project.root / "expectations").glob("*.json"))
    return Expectations(
        suites=checked.suites,
        digest=digest_of_files({file.name: file_digest(file) for file in files}),
    )


def _kept(project: Project, manifest: Manifest, beside: Mapping[str, Any]) -> None:
    def write(path: Path) -> None:
        path.write_bytes(manifest.content)

    keep(project, KIND, write, suffix=".json")
    if manifest.training.mlflow_run:
        contents = {MANIFEST: manifest.content, **beside}
        publish(project, manifest.training.mlflow_run, contents, ARTIFACTS)
