"""Verifies an evidence bundle of Penstock offline: python verify.py BUNDLE.zip --key ledger.pub

It needs Python 3.10 and the package `cryptography`, and nothing of Penstock: an auditor can read it
whole. It asks, and names each file that is not as it was:

1. Has a key that you trust signed the manifest? (DSSE, Ed25519)
2. Is every file the one that the manifest names by SHA-256, none missing, and none besides?
3. Has the key signed the root of the ledger's tree? (C2SP signed note)
4. Is every entry in that tree? (RFC 9162, section 2.1.3.2)
5. Does one of those entries name every piece of evidence by the same SHA-256?
6. Are provenance and signature of the model by the keys in models.pub? (DSSE, ECDSA P-256)
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import json
import re
import sys
import zipfile
from collections.abc import Sequence
from typing import Any

Files = dict[str, bytes]  # by name
Key = tuple[str, bytes, bytes]  # name, id, Ed25519
Lines = list[str]

MANIFEST, SIGNED = "manifest.json", "manifest.dsse.json"
KIND = "application/vnd.penstock.evidence+json"
ISSUED = "compliance.issued"
# What Python's zipfile raises for a damaged file; ValueError where its place is before the archive.
UNREADABLE = (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError)
BROKEN = (ValueError, KeyError, TypeError, IndexError, AttributeError)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Verify an evidence bundle, offline.")
    parser.add_argument("bundle", metavar="BUNDLE.zip")
    parser.add_argument("--key", required=True, metavar="FILE", help="public keys of the ledger")
    options = parser.parse_args(arguments)
    with open(options.bundle, "rb") as stream:
        archive = stream.read()
    with open(options.key, encoding="utf-8") as stream:
        keys = stream.read()
    wrong, seen = verify(archive, keys)
    for line in wrong:
        print(f"✗ {line}")
    for line in seen if not wrong else ():
        print(f"✓ {line}")
    return 1 if wrong else 0


def verify(archive: bytes, keys: str) -> tuple[Lines, Lines]:
    """(what is wrong, what was seen): both lists of lines; nothing is wrong where one is empty."""
    wrong: Lines = []
    seen: Lines = []
    try:
        trusted = [public_key(line) for line in keys.split() if line]
    except BROKEN as error:
        return [f"the public keys cannot be read: {error}"], seen
    files = opened(archive, wrong)
    for question in (manifest, ledger, evidence, model):
        try:
            question(files, trusted, wrong, seen)
        except BROKEN as error:
            wrong.append(f"{question.__name__}: it cannot be read: {error!r}")
    if not wrong and archived(files) != archive:
        wrong.append("the archive holds bytes that belong to none of its files")
    return wrong, seen


def opened(archive: bytes, wrong: Lines) -> Files:
    """The files of an archive by name; those that cannot be read are told."""
    files: Files = {}
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened_archive:
            for info in opened_archive.infolist():
                if info.filename in files:
                    wrong.append(f"{info.filename}: it is there twice")
                try:
                    files[info.filename] = opened_archive.read(info)
                except UNREADABLE as error:
                    wrong.append(f"{info.filename}: {error}")
                    files.setdefault(info.filename, b"")
    except (zipfile.BadZipFile, OSError) as error:
        wrong.append(f"this is no archive: {error}")
    return files


def archived(files: Files) -> bytes:
    """The archive of some files, always the same bytes: no compression, no times, in order."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr = 3, 0o644 << 16
            archive.writestr(info, files[name])
    return written.getvalue()


def manifest(files: Files, keys: list[Key], wrong: Lines, seen: Lines) -> None:
    """Questions 1 and 2."""
    envelope = json.loads(files[SIGNED])
    payload = base64.b64decode(envelope["payload"], validate=True)
    message = pae(envelope["payloadType"], payload)
    signatures = [base64.b64decode(one["sig"], validate=True) for one in envelope["signatures"]]
    if envelope["payloadType"] != KIND or not any(
        ed25519(key, signature, message) for _, _, key in keys for signature in signatures
    ):
        wrong.append(f"{SIGNED}: no key that you trust has signed it")
        return
    if payload != files.get(MANIFEST):
        wrong.append(f"{MANIFEST}: it is not the one that was signed")
    named = json.loads(payload)["files"]
    for name in sorted({*named, *files} - {MANIFEST, SIGNED}):
        if name not in files:
            wrong.append(f"{name}: it is missing")
        elif name not in named:
            wrong.append(f"{name}: the manifest does not name it")
        elif hashlib.sha256(files[name]).hexdigest() != named[name]:
            wrong.append(f"{name}: it was changed")
    seen.append(f"{len(named)} files are those of the signed manifest")


def ledger(files: Files, keys: list[Key], wrong: Lines, seen: Lines) -> None:
    """Questions 3 and 4."""
    note = files["ledger/checkpoint.note"].decode()
    text, _, lines = note.rpartition("\n\n")
    signed = False
    for line in lines.splitlines():
        name, _, encoded = line[2:].partition(" ")
        signature = base64.b64decode(encoded, validate=True)
        signed = signed or any(
            name == known
            and signature[:4] == identity
            and ed25519(key, signature[4:], f"{text}\n".encode())
            for known, identity, key in keys
        )
    if not signed:
        wrong.append("ledger/checkpoint.note: no key that you trust has signed it")
        return
    origin, size, root = text.split("\n")[:3]
    entries, proofs = entries_of(files), files["ledger/proofs.jsonl"].decode().splitlines()
    if len(entries) != len(proofs):
        wrong.append(f"ledger/proofs.jsonl: {len(proofs)} proofs of {len(entries)} entries")
    for content, proof in zip(entries, proofs, strict=False):
        number = json.loads(content)["sequence"]
        path = [base64.b64decode(one, validate=True) for one in json.loads(proof)]
        leaf = hashlib.sha256(b"\x00" + content).digest()
        if climbed(leaf, number - 1, int(size), path) != base64.b64decode(root, validate=True):
            wrong.append(f"ledger/entries.jsonl: entry {number} is not in the signed tree")
    seen.append(f"{len(entries)} entries are in the signed tree of {size} of {origin}")


def evidence(files: Files, keys: list[Key], wrong: Lines, seen: Lines) -> None:
    """Question 5."""
    told = json.loads(files[MANIFEST])
    entries = {entry["sequence"]: entry for entry in map(json.loads, entries_of(files))}
    issued = entries.get(told["issued"], {})
    if issued.get("action") != ISSUED or issued.get("subject") != told["model"]:
        wrong.append(f"ledger/entries.jsonl: no entry {told['issued']} puts the evidence on record")
        return
    for name, digest in sorted(issued.get("digests", {}).items()):
        if hashlib.sha256(files.get(name, b"")).hexdigest() != digest:
            wrong.append(f"{name}: it is not the one that entry {told['issued']} names")
    seen.append(f"{len(issued['digests'])} pieces of evidence are named by entry {told['issued']}")


def model(files: Files, keys: list[Key], wrong: Lines, seen: Lines) -> None:
    """Question 6; a model that nobody signed has neither."""
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    blocks = re.findall(
        rb"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----\n?",
        files.get("models.pub", b""),
        re.DOTALL,
    )
    known = [load_pem_public_key(block) for block in blocks]
    for name, inner in (("provenance.json", None), ("model.sig", "dsseEnvelope")):
        if name in files:
            document = json.loads(files[name])
            envelope = document[inner] if inner else document
            message = pae(envelope["payloadType"], base64.b64decode(envelope["payload"]))
            given = [base64.b64decode(one["sig"]) for one in envelope["signatures"]]
            if not any(ecdsa(key, one, message) for key in known for one in given):
                wrong.append(f"{name}: no key of models.pub has signed it")
            else:
                seen.append(f"{name} is signed by a key of models.pub")


def entries_of(files: Files) -> list[bytes]:
    return files["ledger/entries.jsonl"].split(b"\n")[:-1]


def climbed(found: bytes, index: int, size: int, path: list[bytes]) -> bytes | None:
    """The root that a path leads to from a leaf: RFC 9162, section 2.1.3.2. None for none."""
    last = size - 1
    if not 0 <= index <= last:
        return None
    for other in path:
        if last == 0:
            return None
        if index & 1 or index == last:
            found = hashlib.sha256(b"\x01" + other + found).digest()
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            found = hashlib.sha256(b"\x01" + found + other).digest()
        index, last = index >> 1, last >> 1
    return found if last == 0 else None


def pae(kind: str, payload: bytes) -> bytes:
    """What DSSE signs."""
    encoded = kind.encode()
    return b"DSSEv1 %d %b %d %b" % (len(encoded), encoded, len(payload), payload)


def public_key(line: str) -> Key:
    """(name, id, 32 bytes) of NAME+ID+BASE64, as Go's sumdb/note writes it."""
    name, identity, encoded = line.split("+", 2)
    content = base64.b64decode(encoded, validate=True)
    told = hashlib.sha256(name.encode() + b"\n" + content).digest()[:4]
    if content[:1] != b"\x01" or len(content) != 33 or told.hex() != identity:
        raise ValueError(f"{line!r} is no Ed25519 key")
    return name, told, content[1:]


def ed25519(key: bytes, signature: bytes, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def ecdsa(key: Any, signature: bytes, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        key.verify(signature, message, ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
