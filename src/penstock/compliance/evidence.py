"""What statements rest on: entries of the ledger, and files that one of them names by digest. Pure.

Either way, a proof leads from an entry's leaf to a root that was signed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from penstock.audit.entries import Entry


@dataclass(frozen=True)
class Proof:
    """That an entry is in a tree: RFC 9162, section 2.1.3. Hashes are hex."""

    sequence: int
    entry_id: str
    leaf: str
    path: tuple[str, ...]  # from the leaf up
    size: int  # of the tree
    root: str
    signed: bool  # the root is that of a signed checkpoint


@dataclass(frozen=True)
class Evidence:
    name: str  # entry/7, or the file's path in a bundle
    says: str  # what it is, for people
    digest: str  # SHA-256 (hex) of the bytes: the file's, or the entry's
    proof: Proof | None = None  # of the entry itself, or of the one that names the file


@dataclass(frozen=True)
class Material:
    """All that the statements about a version rest on, before it is proven."""

    entries: Mapping[str, Entry] = field(default_factory=dict)  # by name
    files: Mapping[str, bytes] = field(default_factory=dict)  # by path in a bundle
    says: Mapping[str, str] = field(default_factory=dict)  # what each file is

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 (hex) of every file, by path."""
        return {name: sha256(content) for name, content in sorted(self.files.items())}


def entry_name(entry: Entry) -> str:
    return f"entry/{entry.sequence}"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
