"""Looks at everything that vouches for a version, and says of each thing whether it holds.

Nothing of the model is loaded: `penstock models verify` may be asked about any version.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from penstock.audit.ledger import Ledger
from penstock.digests import digest_of_files
from penstock.errors import IntegrityError, PenstockError
from penstock.project import Project
from penstock.registry.attestations import beside, bring
from penstock.registry.bom import BOM, validated
from penstock.registry.model_folder import read_model_folder
from penstock.registry.model_keys import KeyFiles, PublicKey
from penstock.registry.provenance import PROVENANCE, verified
from penstock.registry.signing import (
    SIGNATURE,
    manifest_of,
    root_digest,
    signed_manifest,
)
from penstock.registry.versions import DIGEST_TAG, Found, download
from penstock.registry.waivers import admitted

RECORDED = ("model.registered", "model.signed")
Result = Callable[[], str]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    holds: bool
    said: str  # what was seen; or what is wrong
    hint: str = ""


def verify(project: Project, engine: Engine, found: Found) -> tuple[Finding, ...]:
    """The findings on a version as it lies in the registry now, not on what was fetched before."""
    models = project.folder / "models"
    models.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=models, prefix="verify-") as desk:
        folder = download(project, found, Path(desk) / "files")
        bring(project, found.run_id, folder)
        case = _Case(project, engine, found, folder)
        findings = [_finding(name, look) for name, look in case.questions()]
        shutil.rmtree(folder)
    return tuple(findings)


def _finding(name: str, look: Result) -> Finding:
    try:
        return Finding(name, True, look())
    except PenstockError as error:
        return Finding(name, False, error.message, error.hint)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        return Finding(name, False, f"it cannot be read: {error!r}")


@dataclass(frozen=True)
class _Case:
    project: Project
    engine: Engine
    found: Found
    folder: Path

    def questions(self) -> Iterator[tuple[str, Result]]:
        yield "registry digest", self.digest
        yield "signature", self.signature
        yield "OpenSSF model-signing", self.by_the_library
        yield "format", self.format
        yield "provenance", self.provenance
        yield "bill of materials", self.bom
        yield "ledger", self.ledger

    def digest(self) -> str:
        manifest = manifest_of(self.folder)
        seen = digest_of_files(manifest)
        if seen != self.found.digest:
            raise IntegrityError(
                f"the files have the digest {seen[:12]}; it was registered with "
                f"{self.found.digest[:12] or 'none'}",
                hint="do not use this version",
            )
        return f"{len(manifest)} files, {seen[:12]}"

    def signature(self) -> str:
        signed, key = signed_manifest(self.file(SIGNATURE), self.keys)
        seen = manifest_of(self.folder)
        wrong = sorted(name for name in {*signed, *seen} if signed.get(name) != seen.get(name))
        if wrong:
            raise IntegrityError(f"not as they were signed: {', '.join(wrong[:5])}")
        return f"of {len(signed)} files, by the key {key.fingerprint[:12]}"

    def by_the_library(self) -> str:
        """Its own verifier, with a key at a time, as that is all it takes."""
        from importlib.metadata import version

        import model_signing

        self.file(SIGNATURE)
        hashing: Any = model_signing.hashing  # neither is typed
        verifying: Any = model_signing.verifying
        every_file = hashing.Config().set_ignored_paths(paths=[], ignore_git_paths=False)
        reasons = []
        for key in self.keys:
            with tempfile.NamedTemporaryFile(suffix=".pub") as pem:
                pem.write(key.pem)
                pem.flush()
                config = verifying.Config().use_elliptic_key_verifier(public_key=pem.name)
                try:
                    config.set_hashing_config(every_file).verify(
                        self.folder, beside(self.folder) / SIGNATURE
                    )
                except Exception as error:  # noqa: BLE001 -- whatever it raises is a no
                    reasons.append(" ".join(str(error).split()) or type(error).__name__)
                else:
                    return f"{version('model-signing')} agrees"
        raise IntegrityError(f"it does not agree: {'; '.join(reasons)}")

    def format(self) -> str:
        kinds = admitted(self.project, self.engine, self.found.digest)
        described = read_model_folder(self.folder, self.found.digest, kinds)
        waived = ", waived in the ledger" if described.flavor in kinds else ""
        return f"{described.flavor}{waived}, {len(described.features)} features"

    def provenance(self) -> str:
        document, key = verified(self.file(PROVENANCE), self.keys)
        (subject,) = document["subject"]
        of = root_digest(manifest_of(self.folder))
        if subject["digest"]["sha256"] != of or subject["name"] != self.found.name:
            raise IntegrityError(f"it is about other files: {subject['digest']['sha256'][:12]}")
        materials = document["predicate"]["buildDefinition"]["resolvedDependencies"]
        for one in materials:
            registered = self.found.tags.get(f"{DIGEST_TAG.rpartition('.')[0]}.{one['name']}")
            if registered and one["digest"].get("sha256") != registered:
                raise IntegrityError(
                    f"it was made from {one['name']} {one['digest'].get('sha256', '')[:12]}; the "
                    f"registry says {registered[:12]}"
                )
        run = document["predicate"]["runDetails"]["metadata"]["invocationId"]
        return f"{len(materials)} materials, run {run}, by the key {key.fingerprint[:12]}"

    def bom(self) -> str:
        content = self.file(BOM)
        document = json.loads(content)
        validated(document)
        statement, _ = verified(self.file(PROVENANCE), self.keys)
        products = statement["predicate"]["runDetails"]["byproducts"]
        digests = [one["digest"]["sha256"] for one in products if one["name"] == BOM]
        if digests != [hashlib.sha256(content).hexdigest()]:
            raise IntegrityError("it is not the one that the provenance names")
        return f"CycloneDX {document['specVersion']}, {len(document['components'])} components"

    def ledger(self) -> str:
        entries = [
            entry
            for action in RECORDED
            for entry in Ledger(self.engine).entries(action)
            if entry.subject == self.found.label and entry.digest == self.found.digest
        ]
        if not entries:
            raise IntegrityError(
                "no entry records that this version was registered or signed with these files",
                hint=f"penstock models sign {self.found.label} --reason '…' writes one",
            )
        last = max(entries, key=lambda entry: entry.sequence)
        return f"entry {last.sequence}: {last.action} by {last.actor}"

    @property
    def keys(self) -> tuple[PublicKey, ...]:
        return KeyFiles.of(self.project).trusted()

    def file(self, name: str) -> Any:
        file = beside(self.folder) / name
        if not file.is_file():
            raise IntegrityError(
                f"there is no {name}",
                hint=f"penstock models sign {self.found.label} --reason '…' makes one",
            )
        return file.read_bytes()
