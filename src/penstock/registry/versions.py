"""Versions in the MLflow registry: made, found, fetched and promoted, by alias and tag."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.digests import folder_digest
from penstock.errors import IntegrityError, ModelError
from penstock.project import Project
from penstock.records import ModelVersion
from penstock.registry.attestations import bring, require_signed
from penstock.registry.client import open_client, translated
from penstock.registry.trust import unsigned

CHAMPION, STAGING = "champion", "staging"
DIGEST = "penstock.digest."  # the beginning of tags: of what a version was made from
DIGEST_TAG = f"{DIGEST}model"
TESTED_TAG = "penstock.integration"  # of a version that staging has tested
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

    @property
    def digests(self) -> dict[str, str]:
        """Of what it was made from, as its tags say now."""
        named = self.tags.items()
        return {k.removeprefix(DIGEST): v for k, v in named if k.startswith(DIGEST)}


def register(
    project: Project,
    mlflow_run_id: str,
    digests: dict[str, str],
    metrics: dict[str, float],
    service: str = "",
    attested: Mapping[str, str] | None = None,
    begun: Found | None = None,
) -> ModelVersion:
    """Makes a version of the model that an MLflow run holds, bound to the digests it came from.

    `service` is the feature service that it reads; `attested` are tags, of who signed it among
    others; `begun` is the version that an earlier attempt made and did not finish: it becomes this
    one.
    """
    name = project.settings.model_name
    tags = {**(attested or {}), **({SERVICE_TAG: service} if service else {})}
    tags |= {f"{DIGEST}{what}": digest for what, digest in digests.items()}
    tags |= {f"penstock.metric.{metric}": f"{value:.6g}" for metric, value in metrics.items()}
    with translated():
        client = open_client(project)
        if not _exists(client, name):
            client.create_registered_model(name, tags={"penstock.project": name})
        source = f"{client.get_run(mlflow_run_id).info.artifact_uri}/model"
        if begun is None:
            made = client.create_model_version(name, source, run_id=mlflow_run_id, tags=tags)
            number = int(made.version)
        else:
            number = begun.version
            tag(project, name, number, tags)
    return ModelVersion(
        name=name,
        version=number,
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


def fetch(project: Project, version: int, expected: str) -> Path:
    """Brings a version's files here and checks them: the registered digest, and the signature.

    Raises `IntegrityError` for other files, and for a version that nobody has signed, unless
    `[registry] require_signatures` is off.
    """
    if not expected:  # another tool registered it
        raise unsigned(f"{project.settings.model_name}@{version}")
    folder = project.folder / "models" / expected[:32]
    if not (folder.is_dir() and folder_digest(folder) == expected):
        _bring_files(project, find(project, version), folder, expected)
    if project.settings.registry.require_signatures:
        _require_signed(project, version, folder, expected)
    return folder


def download(project: Project, found: Found, desk: Path) -> Path:
    """Brings a version's files to a folder in `desk`, unchecked: only to be looked at as data."""
    shutil.rmtree(desk, ignore_errors=True)
    desk.mkdir(parents=True)
    with translated():
        client = open_client(project)
        source = client.get_model_version_download_uri(found.name, str(found.version))
        run = client.get_run(found.run_id) if found.run_id else None
        if run and source.rstrip("/") == f"{run.info.artifact_uri}/model":
            return Path(client.download_artifacts(found.run_id, "model", dst_path=str(desk)))
        from mlflow import artifacts  # a version that others registered may lie anywhere

        return Path(
            artifacts.download_artifacts(
                artifact_uri=source, dst_path=str(desk), tracking_uri=client.tracking_uri
            )
        )


def _bring_files(project: Project, found: Found, folder: Path, expected: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    desk = folder.with_suffix(".part")
    arrived = download(project, found, desk)
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


def _require_signed(project: Project, version: int, folder: Path, expected: str) -> None:
    label = f"{project.settings.model_name}@{version}"
    try:
        require_signed(project, folder, expected, label)
    except IntegrityError:  # the signature is not here yet, or another was made since
        bring(project, find(project, version).run_id, folder)
        require_signed(project, folder, expected, label)


def _exists(client: Any, name: str) -> bool:
    return bool(client.search_registered_models(f"name = '{name}'", max_results=1))


def _found(version: Any, aliases: dict[str, Any]) -> Found:
    own = tuple(a for a, number in aliases.items() if int(number) == int(version.version))
    return Found(
        name=version.name,
        version=int(version.version),
        digest=version.tags.get(DIGEST_TAG, ""),
        run_id=version.run_id or "",
        aliases=own,
        tags=dict(version.tags),
        created_ms=int(version.creation_timestamp),
    )
