"""Whether the ledger is what it was: one pass over all of it, which says where it is not.

Each entry is hashed and held against its leaf, the leaves against the stored tree, the tree against
every checkpoint that was signed. So a change is found at the entry where leaves and tree still
stand, at the 256 entries of a block where they were rewritten with it, and between two checkpoints
where the whole tree was.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, Engine, select

from penstock.audit.blocks import Finding, row_findings
from penstock.audit.guards import guard_findings
from penstock.audit.notes import Checkpoint, NoteError, VerifyingKey, read_checkpoint
from penstock.audit.one_pass import OnePass, Progress
from penstock.audit.payloads import payload_findings
from penstock.audit.reading import blocks
from penstock.audit.tree import StoredTree
from penstock.audit.troubles import troubles
from penstock.state.tables import ledger_checkpoints


@dataclass(frozen=True)
class Told:
    """A note, and where it is from."""

    where: str
    note: str
    size: int | None = None  # that it is kept for


@dataclass
class Report:
    """What verifying found."""

    size: int
    root: str = ""  # hex, of the tree as the entries give it; empty where one is gone
    since: int = 0  # entries up to here were not read: they rest on a signed checkpoint
    checkpoints: list[int] = field(default_factory=list)  # sizes whose signed root was met
    erased: list[int] = field(default_factory=list)  # entries whose payload was destroyed
    findings: list[Finding] = field(default_factory=list)  # nothing else is wrong

    @property
    def holds(self) -> bool:
        return not self.findings

    @property
    def unsigned(self) -> int:
        """Entries after the last checkpoint: of these, only accidents are found."""
        return self.size - max(self.checkpoints, default=0)


def verify(
    engine: Engine,
    keys: Sequence[VerifyingKey],
    *,
    told: Iterable[Told] = (),
    incremental: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Reads the ledger once; incrementally, only what came after the last signed checkpoint.

    `told` are notes from outside the database, which whoever rules the database cannot change.
    """
    with troubles(engine, "read"), engine.connect() as connection:
        return verify_on(connection, keys, told, incremental=incremental, progress=progress)


def verify_on(
    connection: Connection,
    keys: Sequence[VerifyingKey],
    told: Iterable[Told] = (),
    *,
    incremental: bool = False,
    progress: Progress | None = None,
) -> Report:
    """The same, as a transaction sees the ledger."""
    # Notes first: what is appended meanwhile cannot make them too long for the ledger.
    signed, findings = _signed([*_stored_notes(connection), *told], keys)
    size = StoredTree(connection).size()
    one_pass = OnePass(connection, size, {one.size for _, one in signed}, progress)
    if incremental and signed:
        one_pass.begin_after(max((one for _, one in signed), key=lambda one: one.size))
    one_pass.run()
    report = Report(size, one_pass.roots.get(size, b"").hex(), one_pass.since)
    report.erased, payloads = payload_findings(connection, one_pass.committed, since=one_pass.since)
    unmet = _against(signed, report, one_pass)
    unmet += _moved(connection, unmet)
    found = [*findings, *one_pass.findings, *unmet, *payloads, *guard_findings(connection)]
    # A moved entry is found in its block, and again where its tree was rewritten.
    report.findings = sorted(dict.fromkeys(found), key=lambda one: (one.first, one.last))
    return report


def _stored_notes(connection: Connection) -> list[Told]:
    query = select(ledger_checkpoints).order_by(ledger_checkpoints.c.size)
    return [Told(f"checkpoint {row.size}", row.note, row.size) for row in connection.execute(query)]


def _signed(
    notes: Sequence[Told], keys: Sequence[VerifyingKey]
) -> tuple[list[tuple[Told, Checkpoint]], list[Finding]]:
    signed, findings = list[tuple[Told, Checkpoint]](), list[Finding]()
    for told in notes:
        at = told.size or 0
        try:
            checkpoint = read_checkpoint(told.note, keys)
        except NoteError as error:
            why = error.message if keys else "it cannot be verified: there is no public key"
            findings.append(Finding("checkpoint", at, at, f"{told.where}: {why}"))
            continue
        if told.size not in (None, checkpoint.size):
            why = f"it was signed over {checkpoint.size} entries"
            findings.append(Finding("checkpoint", at, at, f"{told.where}: {why}"))
        signed.append((told, checkpoint))
    return signed, findings


def _against(
    signed: Sequence[tuple[Told, Checkpoint]], report: Report, one_pass: OnePass
) -> list[Finding]:
    """What was signed and is not there any more."""
    findings, good = list[Finding](), 0
    for told, checkpoint in sorted(signed, key=lambda one: one[1].size):
        size, root = checkpoint.size, one_pass.roots.get(checkpoint.size)
        if size > report.size:
            why = f"it was signed over {size} entries; {report.size} are left"
            findings.append(Finding("truncated", report.size + 1, size, f"{told.where}: {why}"))
        elif root == checkpoint.root:
            good = size
            if size not in report.checkpoints:
                report.checkpoints.append(size)
        elif root is not None:
            why = f"entries {good + 1} to {size} are not those that it was signed over"
            findings.append(Finding("rewritten", good + 1, size, f"{told.where}: {why}"))
    return findings


def _moved(connection: Connection, unmet: Sequence[Finding]) -> list[Finding]:
    """Entries that say themselves that they stood elsewhere, where the tree was rewritten too."""
    return [
        finding
        for one in unmet
        if one.kind == "rewritten"
        for _, rows in blocks(connection, one.first, one.last)
        for row in rows
        for finding in row_findings(row)
        if finding.kind == "moved"
    ]
