"""Signatures of OpenSSF model-signing (v1.0) over model folders, with an EC P-256 key.

A signature lists every file of the folder with its SHA-256. Penstock's own digest of a folder is
computed from the same list, so a signature *is* a statement about a digest: whoever has verified
it, and then compares the folder's digest, has verified every byte, and hashed each of them once.

The format is written and read here, not by the library: importing it costs 2 s and 70 MB, and its
verifier leaves out what git ignores and takes signatures of its first versions. Tests hold the two
against each other; `penstock models verify` asks the library as well.
Format: https://github.com/sigstore/model-transparency (1.1), in a Sigstore bundle (v0.3).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from penstock.audit.dsse import IN_TOTO, Envelope, from_document, sign, signers, to_document
from penstock.digests import digest_of_files, file_digest
from penstock.errors import IntegrityError
from penstock.registry.model_keys import PublicKey, SigningKey

SIGNATURE = "model.sig"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://model_signing/signature/v1.0"
# Every file, and nothing that a link points at.
SERIALIZATION = {"method": "files", "hash_type": "sha256", "allow_symlinks": False}

Manifest = Mapping[str, str]  # path in the folder, with slashes -> SHA-256 (hex) of its bytes


def manifest_of(folder: Path) -> dict[str, str]:
    """Hashes every file of a folder. Raises `IntegrityError` for a symbolic link."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            raise linked(folder, path)
        if path.is_file():
            found[path.relative_to(folder).as_posix()] = file_digest(path)
    return found


def linked(folder: Path, path: Path) -> IntegrityError:
    return IntegrityError(
        f"{folder} holds a symbolic link: {path.relative_to(folder)}",
        hint="a model folder holds its files themselves",
    )


def root_digest(manifest: Manifest) -> str:
    """How model-signing names the whole: SHA-256 (hex) over the files' digests, by name."""
    total = hashlib.sha256()
    for name in sorted(manifest):
        total.update(bytes.fromhex(manifest[name]))
    return total.hexdigest()


def sign_manifest(manifest: Manifest, name: str, key: SigningKey) -> bytes:
    """The signature of a model, a Sigstore bundle, to be kept beside its folder."""
    statement = {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": root_digest(manifest)}}],
        "predicateType": PREDICATE,
        "predicate": {
            "serialization": SERIALIZATION,
            "resources": [
                {"name": path, "algorithm": "sha256", "digest": manifest[path]}
                for path in sorted(manifest)
            ],
        },
    }
    bundle = {
        "mediaType": BUNDLE,
        "verificationMaterial": {
            "publicKey": {"hint": key.public.fingerprint},
            "tlogEntries": [],
        },
        "dsseEnvelope": to_document(sign(IN_TOTO, _json(statement), key.sign)),
    }
    return _json(bundle)


def signed_manifest(bundle: bytes, keys: Sequence[PublicKey]) -> tuple[dict[str, str], PublicKey]:
    """What a signature says of which files, and whose it is.

    Raises `IntegrityError` unless one of the keys signed it, and it covers whole folders.
    """
    try:
        document = json.loads(bundle)
        kind, envelope = document["mediaType"], from_document(document["dsseEnvelope"])
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"the signature cannot be read: {error!r}") from error
    if kind != BUNDLE or envelope.payload_type != IN_TOTO:
        raise IntegrityError(f"the signature is of an unknown kind: {kind}, expected {BUNDLE}")
    signer = signed_by(envelope, keys, "the model")
    statement = json.loads(envelope.payload)
    if statement.get("_type") != STATEMENT or statement.get("predicateType") != PREDICATE:
        raise IntegrityError(
            f"what is signed is a {statement.get('predicateType')}, expected {PREDICATE}"
        )
    return _manifest(statement), signer


def signed_digest(bundle: bytes, keys: Sequence[PublicKey]) -> str:
    """The digest of the folder that was signed. Raises as `signed_manifest`."""
    manifest, _ = signed_manifest(bundle, keys)
    return digest_of_files(manifest)


def signed_by(envelope: Envelope, keys: Sequence[PublicKey], what: str) -> PublicKey:
    """The trusted key that signed. Raises `IntegrityError` when there is none."""
    found = signers(envelope, {key.fingerprint: key.verify for key in keys})
    for key in keys:
        if key.fingerprint in found:
            return key
    trusted = ", ".join(key.fingerprint[:12] for key in keys)
    raise IntegrityError(
        f"{what} is not signed by a trusted key; trusted: {trusted}",
        hint="do not use it, unless you know who signed it: then add their public key to the file "
        "of [registry] public_key",
    )


def _manifest(statement: dict[str, Any]) -> dict[str, str]:
    """Nothing may be left out of what is signed: no ignored paths, no other kinds of hashing."""
    try:
        predicate = statement["predicate"]
        serialization = dict(predicate["serialization"])
        left_out = serialization.pop("ignore_paths", [])
        (subject,) = statement["subject"]
        resources = predicate["resources"]
        manifest = {str(one["name"]): str(one["digest"]) for one in resources}
        kinds = {one["algorithm"] for one in resources}
        whole = subject["digest"]["sha256"] == root_digest(manifest)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise IntegrityError(f"the signed statement cannot be read: {error!r}") from error
    if left_out or serialization != SERIALIZATION or kinds - {"sha256"}:
        raise IntegrityError(
            f"the signature does not cover every file by its SHA-256: {serialization}, "
            f"left out: {left_out or 'nothing'}",
            hint="sign without ignored paths, links or shards",
        )
    if not whole or len(manifest) != len(resources):
        raise IntegrityError("the signed statement contradicts itself")
    return manifest


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=1).encode()
