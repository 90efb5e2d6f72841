"""Signs what was registered without a signature: before there were any, or by other tools.

What is signed then is what somebody vouches for, with a reason in the ledger; the provenance says
that it was adopted, and repeats what the registry tells of its making.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from penstock.audit.ledger import Ledger
from penstock.digests import folder_digest
from penstock.errors import IntegrityError, ModelError, PenstockError
from penstock.project import Project
from penstock.registry.attestations import attest, trained_environment
from penstock.registry.client import open_client, translated
from penstock.registry.model_folder import PYFUNC, read_model_folder
from penstock.registry.provenance import Build
from penstock.registry.versions import DIGEST_TAG, Found, download, fetch, find, tag

SIGNED = "model.signed"
METRIC = "penstock.metric."
NOT_SHA256 = "dataset_dvc_md5"


def sign_version(project: Project, engine: Engine, version: int, *, reason: str) -> Found:
    """Signs a registered version as it lies in MLflow now; an entry in the ledger says why.

    Raises `IntegrityError` when its files are not those that it was registered with.
    """
    found = find(project, version)
    desk = project.folder / "models" / f"{found.name}-{version}.signing"
    folder = download(project, found, desk)
    seen = folder_digest(folder)
    if found.digest and seen != found.digest:
        raise IntegrityError(
            f"the files of {found.label} in MLflow have the digest {seen[:12]}; it was registered "
            f"with {found.digest[:12]}",
            hint="they were changed since: do not sign them; train and register the model again",
        )
    tags = attest(project, folder, _build(project, found, folder, seen, reason))
    Ledger(engine).append(SIGNED, found.label, digest=seen, reason=reason, details=tags)
    tag(project, found.name, version, {DIGEST_TAG: seen, **tags})
    shutil.rmtree(desk, ignore_errors=True)
    fetch(project, version, seen)
    return find(project, version)


def _build(project: Project, found: Found, folder: Path, digest: str, reason: str) -> Build:
    flavor, features = _described(folder, digest)
    run = run_of(project, found.run_id)
    digests = registered_digests(found)
    return Build(
        model=found.name,
        digest=digest,
        flavor=flavor,
        features=features,
        digests={k: v for k, v in digests.items() if k not in ("model", NOT_SHA256)},
        dataset_md5=digests.get(NOT_SHA256, ""),
        params=dict(run.data.params) if run else {},
        metrics=registered_metrics(found),
        environment=trained_environment(project, found.run_id) or _requirements(folder),
        run_id=run.data.tags.get("penstock.run", "") if run else "",
        mlflow_run_id=found.run_id,
        reason=reason,
    )


def _described(folder: Path, digest: str) -> tuple[str, Any]:
    """The flavor and features, as far as they can be read without loading anything."""
    for admitted in ((), (PYFUNC,)):
        try:
            described = read_model_folder(folder, digest, admitted)
        except ModelError as error:
            refused = error
        else:
            return described.flavor, described.features
    raise refused


def registered_digests(found: Found) -> dict[str, str]:
    """Of what a version came from, by the tags that it was registered with."""
    return {what: digest for what, digest in found.digests.items() if digest}


def registered_metrics(found: Found) -> dict[str, float]:
    """On the held-out period, by its tags. Raises `PenstockError` for what is no number."""
    metrics = {}
    for name, value in found.tags.items():
        if name.startswith(METRIC):
            try:
                metrics[name.removeprefix(METRIC)] = float(value)
            except ValueError as error:
                raise PenstockError(f"{found.label} has the tag {name}={value!r}") from error
    return metrics


def _requirements(folder: Path) -> str:
    """What MLflow wrote of the libraries that the model needs; "" where it wrote nothing."""
    file = folder / "requirements.txt"
    return file.read_text(errors="replace") if file.is_file() else ""


def run_of(project: Project, run_id: str) -> Any:
    """MLflow's run; None where a version has none."""
    if not run_id:
        return None
    with translated():
        return open_client(project).get_run(run_id)
