"""Puts on record what documents rest on, and proves it.

Every file that a document cites is named by its SHA-256 in one entry of the ledger; the tree over
all entries is signed then. So each statement leads, by digest and inclusion proof, to a signature.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sqlalchemy import Connection, Engine, select

from penstock.audit import merkle
from penstock.audit.checkpoints import Signed, latest_checkpoint, sign_checkpoint
from penstock.audit.entries import Entry
from penstock.audit.ledger import Draft, Ledger, present_actor
from penstock.audit.notes import VerifyingKey
from penstock.audit.signing_keys import LedgerKeys
from penstock.audit.tree import StoredTree
from penstock.audit.troubles import troubles
from penstock.compliance.evidence import Evidence, Proof, entry_name, sha256
from penstock.compliance.facts import ISSUED, Facts
from penstock.compliance.gathering import gather, known
from penstock.compliance.owned import FILE
from penstock.project import Project
from penstock.registry.versions import Found
from penstock.state.tables import ledger


@dataclass(frozen=True)
class Issue:
    """The facts about a version, proven."""

    facts: Facts
    signed: Signed | None  # the checkpoint over all of it; None: nobody has signed it yet
    keys: tuple[VerifyingKey, ...]


def issue(project: Project, engine: Engine, *found: Found) -> tuple[Issue, ...]:
    """Gathers the facts, puts them on record where they are new, signs, and proves each.

    Where the private key is elsewhere, and has not signed so far yet, all is proven to be in a tree
    that nobody has signed, and is said to be so.
    """
    keys = LedgerKeys.of(project)
    recorded = [_recorded(engine, gather(project, engine, one)) for one in found]
    last = max(facts.issued.sequence for facts in recorded if facts.issued)
    signed = _signed(engine, keys, last)
    trusted = keys.trusted()
    return tuple(
        Issue(replace(facts, evidence=_evidence(engine, facts, signed)), signed, trusted)
        for facts in recorded
    )


def _recorded(engine: Engine, facts: Facts) -> Facts:
    entry = _on_record(engine, facts) or _put_on_record(engine, facts)
    fields = known(facts.material.files.get(FILE, b""), Ledger(engine).entries(ISSUED))
    return replace(facts, owned=fields, issued=entry)


def _on_record(engine: Engine, facts: Facts) -> Entry | None:
    """The last entry that was issued for the version, if nothing has changed since."""
    issued = [one for one in Ledger(engine).entries(ISSUED) if one.subject == facts.label]
    same = issued and issued[-1].digests == facts.material.digests
    return issued[-1] if same else None


def _put_on_record(engine: Engine, facts: Facts) -> Entry:
    fields = {name: one.answer.digest for name, one in sorted(facts.owned.items())}
    return Ledger(engine).write(
        Draft(
            by=present_actor(),
            action=ISSUED,
            subject=facts.label,
            digest=facts.digest,
            digests=facts.material.digests,
            reason="the evidence that its documents rest on",
            details={"fields": fields},
        )
    )


def _signed(engine: Engine, keys: LedgerKeys, sequence: int) -> Signed | None:
    """A checkpoint that has an entry, and with it all that came before."""
    if keys.private.is_file():
        return sign_checkpoint(engine, keys.signing_key(), keys.trusted())
    last = latest_checkpoint(engine, keys.trusted())
    return last if last and last.checkpoint.size >= sequence else None


def _evidence(engine: Engine, facts: Facts, signed: Signed | None) -> tuple[Evidence, ...]:
    """Entries first, then files, each with the proof of an entry; all in one tree."""
    issued = facts.issued
    assert issued is not None
    entries = {**facts.material.entries, entry_name(issued): issued}
    with troubles(engine, "read"), engine.connect() as connection:
        tree = _Tree.of(connection, signed)
        of_entries = {
            name: Evidence(name, _said(one), *tree.proven(one)) for name, one in entries.items()
        }
    proof = of_entries[entry_name(issued)].proof
    of_files = [
        Evidence(name, facts.material.says[name], digest, proof)
        for name, digest in facts.material.digests.items()
    ]
    return (*of_entries.values(), *of_files)


@dataclass(frozen=True)
class _Tree:
    """The tree that all is proven to be in."""

    connection: Connection
    stored: StoredTree
    size: int
    root: bytes
    signed: bool

    @classmethod
    def of(cls, connection: Connection, signed: Signed | None) -> _Tree:
        stored = StoredTree(connection)
        if signed:
            point = signed.checkpoint
            return cls(connection, stored, point.size, point.root, signed=True)
        size = stored.size()
        return cls(connection, stored, size, stored.root(size), signed=False)

    def proven(self, entry: Entry) -> tuple[str, Proof]:
        """The digest of an entry's bytes, and its proof."""
        query = select(ledger.c.entry).where(ledger.c.sequence == entry.sequence)
        content = str(self.connection.execute(query).scalar_one()).encode()
        index = entry.sequence - 1
        path = merkle.inclusion_proof(index, self.size, self.stored.hash_of)
        merkle.verify_inclusion(merkle.leaf_hash(content), index, self.size, path, self.root)
        return sha256(content), Proof(
            sequence=entry.sequence,
            entry_id=entry.id,
            leaf=merkle.leaf_hash(content).hex(),
            path=tuple(one.hex() for one in path),
            size=self.size,
            root=self.root.hex(),
            signed=self.signed,
        )


def _said(entry: Entry) -> str:
    return f"{entry.action} of {entry.subject}, by {entry.actor}, {entry.at:%Y-%m-%d %H:%M} UTC"


def fields_on_record(engine: Engine, label: str) -> Mapping[str, str]:
    """The digest of each owned field as it was first put on record for a version."""
    issued = [one for one in Ledger(engine).entries(ISSUED) if one.subject == label]
    return dict(issued[0].details.get("fields", {})) if issued else {}
