"""A part of the ledger, or all of it, in a folder: verified anywhere, with the public key alone.

```
entries.jsonl     the canonical bytes that were hashed, one entry a line
leaves.txt        all of it: the leaf hash of each (hex), so that a change can be located
proofs.jsonl      a part: of each entry, the hashes that lead from it to the root (base64)
checkpoint.note   the signed root
key.pub           the public key, for convenience: verify with one that you have from elsewhere
```
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from sqlalchemy import Connection, Engine, select

from penstock.audit import merkle
from penstock.audit.blocks import Finding
from penstock.audit.checkpoints import Signed
from penstock.audit.entries import read
from penstock.audit.merkle import Frontier, leaf_hash
from penstock.audit.notes import VerifyingKey, read_checkpoint
from penstock.audit.reading import blocks
from penstock.audit.tree import StoredTree
from penstock.audit.verification import Report
from penstock.digests import written_whole
from penstock.errors import IntegrityError, PenstockError, UsageError
from penstock.state.tables import ledger

ENTRIES, LEAVES, PROOFS = "entries.jsonl", "leaves.txt", "proofs.jsonl"
NOTE, KEY = "checkpoint.note", "key.pub"
MOST = 100  # findings that are told one by one


@dataclass(frozen=True)
class Exported:
    folder: Path
    entries: int
    size: int  # of the checkpoint's tree
    whole: bool


def export(
    engine: Engine,
    folder: Path,
    signed: Signed,
    keys: Sequence[VerifyingKey],
    *,
    only: Sequence[int] | None = None,
) -> Exported:
    """Writes the entries under a checkpoint, or some of them by number.

    Raises `UsageError` for a folder that holds something, or an entry that the checkpoint has not.
    """
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty", hint="name a new folder")
    size = signed.checkpoint.size
    numbers = range(1, size + 1) if only is None else sorted(set(only))
    if numbers and not 1 <= numbers[0] <= numbers[-1] <= size:
        raise UsageError(
            f"entry {numbers[-1]} came after the checkpoint over {size}",
            hint="`penstock audit checkpoint` signs what is there now",
        )
    folder.mkdir(parents=True, exist_ok=True)
    with engine.connect() as connection:
        if only is None:
            _write_whole(connection, folder, size)
        else:
            _write_part(connection, folder, size, numbers)
    for name, text in ((NOTE, signed.note), (KEY, "".join(f"{key}\n" for key in keys))):
        with written_whole(folder / name) as part:
            part.write_text(text, encoding="utf-8")
    return Exported(folder, len(numbers), size, only is None)


def _write_whole(connection: Connection, folder: Path, size: int) -> None:
    with (
        written_whole(folder / ENTRIES) as one,
        written_whole(folder / LEAVES) as other,
        one.open("wb") as entries,
        other.open("wb") as leaves,
    ):
        for _, rows in blocks(connection, 1, size):
            for _, data, leaf in rows:
                entries.write(bytes(data) + b"\n")
                leaves.write(leaf.hex().encode() + b"\n")


def _write_part(connection: Connection, folder: Path, size: int, numbers: Sequence[int]) -> None:
    tree = StoredTree(connection)
    with (
        written_whole(folder / ENTRIES) as one,
        written_whole(folder / PROOFS) as other,
        one.open("w", encoding="utf-8") as entries,
        other.open("w", encoding="utf-8") as proofs,
    ):
        for number in numbers:
            query = select(ledger.c.entry).where(ledger.c.sequence == number)
            entries.write(f"{connection.execute(query).scalar_one()}\n")
            hashes = merkle.inclusion_proof(number - 1, size, tree.hash_of)
            proofs.write(f"{json.dumps([base64.b64encode(one).decode() for one in hashes])}\n")


def verify_bundle(folder: Path, keys: Sequence[VerifyingKey]) -> Report:
    """Verifies a bundle with nothing but the keys.

    Raises `UsageError` where it is none, `NoteError` where no such key has signed it.
    """
    try:
        checkpoint = read_checkpoint((folder / NOTE).read_text(encoding="utf-8"), keys)
        report = Report(checkpoint.size, checkpoint.root.hex())
        with (folder / ENTRIES).open("rb") as entries:
            if (folder / PROOFS).exists():
                with (folder / PROOFS).open("rb") as proofs:
                    _verify_part(entries, proofs, report)
            else:
                with (folder / LEAVES).open("rb") as leaves:
                    _verify_whole(entries, leaves, report)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{folder} is no bundle of a ledger: {error}", hint="`penstock audit export` makes one"
        ) from error
    if report.holds:
        report.checkpoints.append(checkpoint.size)
    return report


def _verify_whole(entries: Iterable[bytes], leaves: Iterable[bytes], report: Report) -> None:
    """The tree over the entries, and over the leaves: where one of them is the signed one."""
    over_entries, over_leaves, odd = Frontier(), Frontier(), list[int]()
    for number, (line, hexed) in enumerate(zip_longest(entries, leaves, fillvalue=b""), start=1):
        data, leaf = line.removesuffix(b"\n"), _hash(hexed)
        found = leaf_hash(data)
        over_entries, _ = over_entries.add(found)
        over_leaves, _ = over_leaves.add(leaf)
        if found != leaf or _sequence(data) != number:
            odd.append(number)
    if over_entries.size == report.size and over_entries.root().hex() == report.root:
        return
    located = over_leaves.size == report.size and over_leaves.root().hex() == report.root
    if located:
        report.findings += [
            Finding("changed", number, number, f"entry {number} is not the one that was signed")
            for number in odd[:MOST]
        ]
    else:
        message = f"these are not the {report.size} entries that were signed"
        report.findings.append(Finding("rewritten", 1, report.size, message))


def _verify_part(entries: Iterable[bytes], proofs: Iterable[bytes], report: Report) -> None:
    for line, proof in zip_longest(entries, proofs, fillvalue=b""):
        data = line.removesuffix(b"\n")
        number = _sequence(data) or 0
        try:
            hashes = [base64.b64decode(one, validate=True) for one in json.loads(proof)]
            root = bytes.fromhex(report.root)
            merkle.verify_inclusion(leaf_hash(data), number - 1, report.size, hashes, root)
        except (IntegrityError, ValueError, TypeError) as error:
            message = f"entry {number or '?'} is not proven to be in the signed tree: {error}"
            report.findings.append(Finding("changed", number, number, message))


def _hash(hexed: bytes) -> bytes:
    try:
        return bytes.fromhex(hexed.decode().strip())
    except ValueError:
        return b""


def _sequence(data: bytes) -> int | None:
    try:
        return read(data).sequence
    except PenstockError:
        return None
