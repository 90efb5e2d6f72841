"""Versions in the MLflow registry: made, found, fetched and promoted, by alias and tag."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.digests import folder_digest
from penstock.errors import IntegrityError, ModelError
from penstock.project import Project
from penstock.records import ModelVersion
from penstock.registry.client import open_client, translated

CHAMPION, STAGING = "champion", "staging"
DIGEST_TAG = "penstock.digest.model"
SERVICE_TAG = "penstock.features.service"


@dataclass(frozen=True)
class Found:
    """A registered version as MLflow tells of it."""

    name: str
    version: int
    digest: str
    run_id: str
    aliases: tuple[str, ...]
    tags: dict[str, str]
    created_ms: int

    @property
    def label(self) -> str:
        return f"{self.name}@{self.version}"


def register(
    project: Project,
    mlflow_run_id: str,
    digests: dict[str, str],
    metrics: dict[str, float],
    service: str = "",
) -> ModelVersion:
    """Makes a version of the model that an MLflow run holds, bound to the digests it came from.

    `service` is the feature service that it reads.
    """
    name = project.settings.model_name
    tags = {SERVICE_TAG: service} if service else {}
    tags |= {f"penstock.digest.{what}": digest for what, digest in digests.items()}
    tags |= {f"penstock.metric.{metric}": f"{value:.6g}" for metric, value in metrics.items()}
    with translated():
        client = open_client(project)
        if not _exists(client, name):
            client.create_registered_model(name, tags={"penstock.project": name})
        source = f"{client.get_run(mlflow_run_id).info.artifact_uri}/model"
        made = client.create_model_version(name, source, run_id=mlflow_run_id, tags=tags)
    return ModelVersion(
        name=name,
        version=int(made.version),
        digest=digests["model"],
        source=source,
        mlflow_run_id=mlflow_run_id,
        digests=digests,
    )


def set_alias(project: Project, name: str, alias: str, version: int) -> None:
    with translated():
        open_client(project).set_registered_model_alias(name, alias, str(version))


def tag(project: Project, name: str, version: int, tags: dict[str, str]) -> None:
    with translated():
        for key, value in tags.items():
            open_client(project).set_model_version_tag(name, str(version), key, value)


def versions(project: Project) -> list[Found]:
    """All versions of the project's model, newest first."""
    name = project.settings.model_name
    with translated():
        client = open_client(project)
        if not _exists(client, name):
            return []
        aliases = client.get_registered_model(name).aliases
        found = client.search_model_versions(f"name = '{name}'")
    return sorted(
        (_found(version, aliases) for version in found), key=lambda f: f.version, reverse=True
    )


def find(project: Project, version: int) -> Found:
    """Raises `ModelError` when there is no such version."""
    known = versions(project)
    for candidate in known:
        if candidate.version == version:
            return candidate
    name = project.settings.model_name
    listed = ", ".join(str(candidate.version) for candidate in known) or "none"
    raise ModelError(
        f"{name} has no version {version}; there are: {listed}", hint="see `penstock models list`"
    )


def champion(project: Project) -> Found | None:
    """The version that carries the alias `champion`."""
    return next((v for v in versions(project) if CHAMPION in v.aliases), None)


def fetch(project: Project, version: int, expected: str) -> Path:
    """Brings a version's files here and checks them. Raises `IntegrityError` if they differ."""
    folder = project.folder / "models" / expected[:32]
    if folder.is_dir() and folder_digest(folder) == expected:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    desk = folder.with_suffix(".part")
    shutil.rmtree(desk, ignore_errors=True)
    desk.mkdir(parents=True)
    found = find(project, version)
    with translated():
        arrived = Path(
            open_client(project).download_artifacts(found.run_id, "model", dst_path=str(desk))
        )
    seen = folder_digest(arrived)
    if seen != expected:
        shutil.rmtree(desk)
        raise IntegrityError(
            f"the files of {found.label} in MLflow have the digest {seen[:12]}; it was registered "
            f"with {expected[:12]}",
            hint="the artefacts were changed after registration: do not use this version",
        )
    arrived.rename(folder)
    shutil.rmtree(desk, ignore_errors=True)
    return folder


def _exists(client: Any, name: str) -> bool:
    return bool(client.search_registered_models(f"name = '{name}'", max_results=1))


def _found(version: Any, aliases: dict[str, Any]) -> Found:
    own = tuple(a for a, number in aliases.items() if int(number) == int(version.version))
    return Found(
        name=version.name,
        version=int(version.version),
        digest=version.tags.get(DIGEST_TAG, ""),
        run_id=version.run_id,
        aliases=own,
        tags=dict(version.tags),
        created_ms=int(version.creation_timestamp),
    )
