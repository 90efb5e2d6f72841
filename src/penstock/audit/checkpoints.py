"""Signed statements about the ledger's tree, and proofs that lead to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, insert, select
from sqlalchemy.exc import IntegrityError as AlreadyThere

from penstock.audit import merkle
from penstock.audit.blocks import Finding
from penstock.audit.notes import (
    Checkpoint,
    SigningKey,
    VerifyingKey,
    read_checkpoint,
    signed_note,
)
from penstock.audit.tree import StoredTree
from penstock.audit.troubles import troubles
from penstock.audit.verification import verify
from penstock.errors import IntegrityError, UsageError
from penstock.state.tables import ledger, ledger_checkpoints


@dataclass(frozen=True)
class Signed:
    """A checkpoint and the note that says so."""

    checkpoint: Checkpoint
    note: str


@dataclass(frozen=True)
class EntryProof:
    """That an entry is in the tree of a checkpoint."""

    sequence: int
    entry: bytes
    hashes: tuple[bytes, ...]  # from the leaf up
    size: int
    root: bytes
    note: str = ""  # the signed checkpoint; empty where none covers the entry yet

    def verify(self) -> None:
        """Raises `merkle.ProofError`. The note's signature is another matter."""
        leaf = merkle.leaf_hash(self.entry)
        merkle.verify_inclusion(leaf, self.sequence - 1, self.size, self.hashes, self.root)


class TamperedError(IntegrityError):
    """What the ledger says is not what was written: nothing is signed."""

    def __init__(self, message: str, *, hint: str = "", findings: Sequence[Finding] = ()) -> None:
        super().__init__(message, hint=hint)
        self.findings = tuple(findings)


def sign_checkpoint(engine: Engine, key: SigningKey, trusted: Sequence[VerifyingKey]) -> Signed:
    """Signs the tree as it is now, after verifying all that came since the last checkpoint.

    Where nothing came, it is the last one again. Raises `TamperedError`: a log never signs a tree
    that does not go on with one that it signed before.
    """
    report = verify(engine, trusted, incremental=True)
    if not report.holds:
        raise TamperedError(
            f"nothing is signed: {report.findings[0].message}",
            hint="`penstock audit verify` shows all that is wrong",
            findings=report.findings,
        )
    if not report.size:
        raise UsageError("the ledger is empty: there is nothing to sign")
    checkpoint = Checkpoint(key.name, report.size, bytes.fromhex(report.root))
    note = signed_note(checkpoint, key)
    with troubles(engine, "signed"):
        try:
            with engine.begin() as connection:
                known = checkpoint_at(connection, report.size, trusted)
                if known is not None:
                    return known
                row = {"size": report.size, "note": note}
                connection.execute(insert(ledger_checkpoints), row)
        except AlreadyThere:  # another one signed at the same time
            return sign_checkpoint(engine, key, trusted)
    return Signed(checkpoint, note)


def checkpoint_at(
    connection: Connection,
    size: int,
    trusted: Sequence[VerifyingKey],
    *,
    or_later: bool = False,
) -> Signed | None:
    """The checkpoint over so many entries, or the first over more. Raises `NoteError`."""
    column = ledger_checkpoints.c.size
    query = select(ledger_checkpoints.c.note).order_by(column).limit(1)
    query = query.where(column >= size if or_later else column == size)
    note = connection.execute(query).scalar()
    return Signed(read_checkpoint(note, trusted), note) if note else None


def latest_checkpoint(engine: Engine, trusted: Sequence[VerifyingKey]) -> Signed | None:
    """Raises `NoteError` for one that nobody trusted has signed."""
    column = ledger_checkpoints.c.size
    query = select(ledger_checkpoints.c.note).order_by(column.desc()).limit(1)
    with engine.connect() as connection:
        note = connection.execute(query).scalar()
    return Signed(read_checkpoint(note, trusted), note) if note else None


def prove(engine: Engine, sequence: int, trusted: Sequence[VerifyingKey] = ()) -> EntryProof:
    """That an entry is in the ledger: in the first signed tree that has it, else in the present.

    Raises `UsageError` where there is no such entry, `IntegrityError` where the tree is broken.
    """
    with troubles(engine, "read"), engine.connect() as connection:
        signed = checkpoint_at(connection, sequence, trusted, or_later=True) if trusted else None
        entry = connection.execute(
            select(ledger.c.entry).where(ledger.c.sequence == sequence)
        ).scalar()
        tree = StoredTree(connection)
        size = signed.checkpoint.size if signed else tree.size()
        if entry is None:
            raise UsageError(
                f"the ledger has no entry {sequence}; the last one is {tree.size()}",
                hint="`penstock audit log` shows them",
            )
        hashes = merkle.inclusion_proof(sequence - 1, size, tree.hash_of)
        root = signed.checkpoint.root if signed else tree.root(size)
    note = signed.note if signed else ""
    proof = EntryProof(sequence, entry.encode(), tuple(hashes), size, root, note)
    proof.verify()
    return proof


def prove_consistency(engine: Engine, size1: int, size2: int) -> list[bytes]:
    """That the tree of `size2` entries goes on with that of `size1`. Raises `ProofError`."""
    with engine.connect() as connection:
        tree = StoredTree(connection)
        if size2 > tree.size():
            raise UsageError(f"the ledger has {tree.size()} entries, not {size2}")
        return merkle.consistency_proof(size1, size2, tree.hash_of)
