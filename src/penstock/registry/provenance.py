"""What a model was built from: an in-toto statement with SLSA provenance v1, signed as a DSSE.

It names the model by the digest in its signature, so the three hold together: signature, statement,
and the bill of materials whose digest the statement gives.
Specification: https://slsa.dev/spec/v1.0/provenance, https://github.com/in-toto/attestation (v1).
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from penstock import __version__, git
from penstock.audit.dsse import IN_TOTO, from_document, sign, to_document
from penstock.errors import IntegrityError
from penstock.records import Column, plain
from penstock.registry.model_keys import PublicKey, SigningKey
from penstock.registry.signing import STATEMENT, Manifest, root_digest, signed_by

PROVENANCE = "provenance.json"
PREDICATE = "https://slsa.dev/provenance/v1"
TRAINED = "urn:penstock:build:pipeline:v1"  # a run of the plan made the model
ADOPTED = "urn:penstock:build:adopted:v1"  # the model was there; a person signed it later
BUILDER = "urn:penstock:builder"
NOT_CODE = tuple(
    f":(exclude,glob)**/{name}"
    for name in ("*.dvc", ".dvc/**", ".dvcignore", "dvc.lock", ".gitignore", "*.pub")
)


@dataclass(frozen=True)
class Build:
    """How a model came to be, as far as it is known."""

    model: str  # the registered name
    digest: str  # Penstock's, of the model's folder
    flavor: str
    features: tuple[Column, ...] = ()
    digests: Mapping[str, str] = field(default_factory=dict)  # of what it came from, SHA-256
    dataset: str = ""  # the name of the data
    dataset_md5: str = ""  # DVC's name for the same bytes
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)  # on the held-out period
    seed: int | None = None
    environment: str = ""  # the environment it was trained in, a package a line
    as_of: datetime | None = None
    commit: str = ""  # of git
    modified: bool = False  # the checkout had changes that were not committed
    run_id: str = ""  # Penstock's
    mlflow_run_id: str = ""
    reason: str = ""  # why it was signed by a person, after it was registered


def statement(build: Build, manifest: Manifest, bom: str, at: datetime) -> dict[str, Any]:
    """The provenance of a model; `bom` is the SHA-256 of its bill of materials."""
    materials = [
        _descriptor(name, {"sha256": digest}) for name, digest in sorted(build.digests.items())
    ]
    if build.dataset_md5:
        materials.append(_descriptor(f"{build.dataset} (DVC)", {"md5": build.dataset_md5}))
    if build.environment:
        text = build.environment.encode()
        materials.append(_descriptor("environment", {"sha256": hashlib.sha256(text).hexdigest()}))
    if build.commit:
        material = _descriptor("repository", {"gitCommit": build.commit})
        materials.append(material | {"annotations": {"modified": build.modified}})
    parameters = {
        "params": plain(dict(build.params)),
        "seed": build.seed,
        "dataset": build.dataset,
        "asOf": build.as_of.isoformat() if build.as_of else None,
        "reason": build.reason or None,
    }
    return {
        "_type": STATEMENT,
        "subject": [
            _descriptor(
                build.model,
                {"sha256": root_digest(manifest), "penstockFolder": build.digest},
            )
        ],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": ADOPTED if build.reason else TRAINED,
                "externalParameters": {k: v for k, v in parameters.items() if v is not None},
                "internalParameters": {
                    "flavor": build.flavor,
                    "features": [f"{column.name}: {column.type}" for column in build.features],
                },
                "resolvedDependencies": materials,
            },
            "runDetails": {
                "builder": {
                    "id": BUILDER,
                    "version": {"penstock": __version__, "python": platform.python_version()},
                },
                "metadata": {
                    "invocationId": build.run_id or build.mlflow_run_id,
                    "finishedOn": at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                },
                "byproducts": [
                    _descriptor("bom.cdx.json", {"sha256": bom}),
                    {"name": "mlflow-run", "annotations": {"id": build.mlflow_run_id}},
                ],
            },
        },
    }


def signed(document: Mapping[str, Any], key: SigningKey) -> bytes:
    """The statement in its envelope, as it is kept."""
    payload = json.dumps(document, sort_keys=True).encode()
    envelope = sign(IN_TOTO, payload, key.sign, key.public.fingerprint)
    return json.dumps(to_document(envelope), indent=1).encode()


def verified(envelope: bytes, keys: Sequence[PublicKey]) -> tuple[dict[str, Any], PublicKey]:
    """The statement, and whose it is. Raises `IntegrityError` unless one of the keys signed it."""
    try:
        found = from_document(json.loads(envelope))
    except ValueError as error:
        raise IntegrityError(f"the provenance cannot be read: {error}") from error
    signer = signed_by(found, keys, "the provenance")
    document = json.loads(found.payload)
    if found.payload_type != IN_TOTO or document.get("predicateType") != PREDICATE:
        raise IntegrityError(f"what is signed is no provenance: {document.get('predicateType')}")
    return document, signer


def git_commit(root: Path) -> tuple[str, bool]:
    """The commit that a folder stands at, and whether other code lies there; "" outside of git.

    The notes of DVC are no code: they change with the data.
    """
    head = git.said(root, "rev-parse", "HEAD")
    changed = git.said(root, "status", "--porcelain", ".", *NOT_CODE) if head else None
    return ("", False) if head is None or changed is None else (head, bool(changed))


def git_author(root: Path, path: str = ".") -> str:
    """The address of who made the last commit, or the last one of a file; "" outside of git."""
    return git.said(root, "log", "-1", "--format=%ae", "--", path) or ""


def _descriptor(name: str, digest: Mapping[str, str]) -> dict[str, Any]:
    return {"name": name, "digest": dict(digest)}
