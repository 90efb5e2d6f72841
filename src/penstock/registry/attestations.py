"""What says of a model's files that they may be trusted: signature, provenance, bill of materials.

They lie beside the model, never in it: among the artefacts of its MLflow run, so that a registry on
another machine carries them, and beside the folder that a version was fetched to.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from penstock.digests import digest_of_files
from penstock.errors import IntegrityError, ModelError
from penstock.project import Project
from penstock.registry.bom import BOM, bill_of_materials, validated
from penstock.registry.client import open_client, translated
from penstock.registry.model_keys import KeyFiles
from penstock.registry.provenance import PROVENANCE, Build, signed, statement
from penstock.registry.signing import (
    SIGNATURE,
    manifest_of,
    sign_manifest,
)
from penstock.registry.trust import check

ARTIFACTS = "attestations"  # the folder among a run's artefacts
FILES = (SIGNATURE, PROVENANCE, BOM)
ENVIRONMENT = "environment.txt"  # among them too, where Penstock trained the model
SIGNER_TAG = "penstock.signed_by"  # of a version; only a word, what counts is the signature


def beside(folder: Path) -> Path:
    """Where the attestations of a fetched model lie."""
    return folder.with_name(f"{folder.name}.signed")


def attest(project: Project, folder: Path, build: Build) -> dict[str, str]:
    """Signs a model's files and says what they were built from; kept with the MLflow run.

    Gives the tags of its version. Raises `IntegrityError` when the files are not those of
    `build.digest`, `SettingsError` where the key is missing. May be repeated.
    """
    key, at = KeyFiles.of(project).signing_key(), datetime.now(UTC)
    manifest = manifest_of(folder)
    seen = digest_of_files(manifest)
    if seen != build.digest:
        raise IntegrityError(
            f"the model in {folder} has the digest {seen[:12]}, not {build.digest[:12]}: it is "
            "not signed",
            hint="its files were changed; train it again",
        )
    bom = validated(bill_of_materials(build, manifest, at))
    made = statement(build, manifest, hashlib.sha256(bom).hexdigest(), at)
    contents = {
        SIGNATURE: sign_manifest(manifest, build.model, key),
        PROVENANCE: signed(made, key),
        BOM: bom,
    }
    publish(project, build.mlflow_run_id, contents, ARTIFACTS)
    return {SIGNER_TAG: key.public.fingerprint}


def trained_environment(project: Project, run_id: str) -> str:
    """What was installed where a model was trained, a package a line; "" where no run says so."""
    if not run_id:
        return ""
    with tempfile.TemporaryDirectory() as desk:
        file = artifact(project, run_id, ENVIRONMENT, Path(desk))
        return file.read_text() if file else ""


def artifact(project: Project, run_id: str, path: str, desk: Path) -> Path | None:
    """One file among a run's artefacts, brought to `desk`; None where the run has none such."""
    with translated():
        client = open_client(project)
        folder = path.rpartition("/")[0] or None
        if path not in {file.path for file in client.list_artifacts(run_id, folder)}:
            return None
        return Path(client.download_artifacts(run_id, path, dst_path=str(desk)))


def require_signed(project: Project, folder: Path, digest: str, label: str) -> None:
    """Raises `IntegrityError` unless the files beside `folder` sign this digest."""
    check(beside(folder) / SIGNATURE, digest, label, KeyFiles.of(project).public)


def bring(project: Project, run_id: str, folder: Path) -> None:
    """Fetches the attestations that a version's run holds to where they lie beside `folder`."""
    target = beside(folder)
    shutil.rmtree(target, ignore_errors=True)
    if not run_id:
        return
    with translated(), tempfile.TemporaryDirectory(dir=folder.parent) as desk:
        client = open_client(project)
        if client.list_artifacts(run_id, ARTIFACTS):
            arrived = client.download_artifacts(run_id, ARTIFACTS, dst_path=desk)
            Path(arrived).rename(target)


def publish(project: Project, run_id: str, contents: Mapping[str, Any], place: str) -> None:
    """Puts files, by name, into a folder among a run's artefacts.

    Raises `ModelError` for a version without a run.
    """
    if not run_id:
        raise ModelError(
            "the version has no MLflow run, which would keep its signature",
            hint="log the model in a run: mlflow.start_run(), then log_model(…)",
        )
    with tempfile.TemporaryDirectory() as desk:
        for name, content in contents.items():
            (Path(desk) / name).write_bytes(content)
        with translated():
            open_client(project).log_artifacts(run_id, desk, place)
