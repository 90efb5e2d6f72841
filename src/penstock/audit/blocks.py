"""256 entries and their hashes: unchanged, or what about them is not as it was written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from penstock.audit import merkle
from penstock.audit.canonical import SAFE_INTEGER, canonical
from penstock.audit.entries import read
from penstock.audit.reading import Row
from penstock.audit.tree import BLOCK
from penstock.errors import PenstockError

COMMITMENT = b'"commitment":"'
_sha256 = hashlib.sha256


@dataclass(frozen=True)
class Finding:
    """Something that is not as it was written."""

    kind: str  # changed, dropped, moved, tree, truncated, rewritten, checkpoint, payload, guard
    first: int  # the entries that it is about, from 1; 0 where it is about none
    last: int
    message: str


def unchanged(rows: Sequence[Row]) -> list[bytes] | None:
    """The leaf hashes of rows that all have the one that is stored with them, else None."""
    leaves = [_sha256(b"\x00" + row[1]).digest() for row in rows]
    return leaves if leaves == [row[2] for row in rows] else None


def folded(leaves: list[bytes]) -> bytes:
    """The root over a block."""
    while len(leaves) > 1:
        leaves = merkle.joined(leaves)
    return leaves[0]


def commitments(rows: Sequence[Row]) -> list[tuple[int, str]]:
    """Which entries are bound to a payload, and to which."""
    if COMMITMENT not in b"".join([row[1] for row in rows]):
        return []
    return [(row[0], found) for row in rows if (found := _commitment(row[1]))]


def _commitment(entry: bytes) -> str:
    try:
        return read(entry).commitment
    except PenstockError:
        return ""


def examined(
    first: int, last: int, rows: Sequence[Row], node: bytes | None
) -> tuple[list[Finding], list[bytes] | None]:
    """What is wrong with the entries `first` to `last`, and their leaves; None where one is gone.

    `node` is the hash over a whole block as it is stored.
    """
    there = {row[0] for row in rows}
    gone = ranges(number for number in range(first, last + 1) if number not in there)
    findings = [dropped(*one) for one in gone]
    for row in rows:
        findings += row_findings(row)
    if gone:
        return findings, None
    computed = [merkle.leaf_hash(row[1]) for row in rows]
    stored = [bytes(row[2]) for row in rows]
    if len(rows) < BLOCK:
        return findings, computed
    if node == folded(stored):  # the tree is whole: it was an entry that changed
        return findings, stored
    if node != folded(computed) and not findings:
        findings.append(_not_theirs(first, last, node))
    return findings, computed


def dropped(first: int, last: int) -> Finding:
    told = f"entry {first} is gone" if first == last else f"entries {first} to {last} are gone"
    return Finding("dropped", first, last, told)


def ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Ascending numbers as (first, last) of those that follow each other.

    >>> ranges([1, 2, 3, 7])
    [(1, 3), (7, 7)]
    """
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def _not_theirs(first: int, last: int, node: bytes | None) -> Finding:
    told = "is missing" if node is None else "is not theirs: one of them, or it, was rewritten"
    return Finding("tree", first, last, f"the stored hash over entries {first} to {last} {told}")


def row_findings(row: Row) -> list[Finding]:
    """What is wrong with a row by itself."""
    number, data, leaf = row
    if merkle.leaf_hash(data) != leaf:
        message = f"entry {number} was changed: it and its hash do not belong together"
        return [Finding("changed", number, number, message)]
    try:
        entry = read(data)
        if canonical(json.loads(data, parse_int=_exact)) != data:
            raise ValueError("it is not in canonical form")
    except (PenstockError, ValueError) as error:
        return [Finding("changed", number, number, f"entry {number} is none: {error}")]
    if entry.sequence != number:
        message = f"entry {number} is the one that was written as entry {entry.sequence}"
        return [Finding("moved", number, number, message)]
    return []


def _exact(digits: str) -> int | float:
    """A large float may be written without a point or exponent."""
    return int(digits) if abs(int(digits)) <= SAFE_INTEGER else float(digits)
