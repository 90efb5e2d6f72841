"""What a run leaves behind in the ledger, signed and anchored as soon as it ends."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Engine

from penstock.audit.anchors import anchors_of
from penstock.audit.checkpoints import latest_checkpoint, sign_checkpoint
from penstock.audit.notes import VerifyingKey
from penstock.audit.signing_keys import LedgerKeys
from penstock.audit.tree import StoredTree
from penstock.audit.troubles import troubles
from penstock.errors import PenstockError
from penstock.project import Project


def anchor_growth(project: Project, engine: Engine) -> list[str]:
    """Signs what the ledger has grown by and gives it to every anchor; says what did not succeed.

    Does nothing where the key lies elsewhere, and where nothing came since the last checkpoint.
    """
    keys = LedgerKeys.of(project)
    if not keys.private.is_file():
        return []
    try:
        trusted = keys.trusted()
        if not _has_grown(engine, trusted):
            return []
        signed = sign_checkpoint(engine, keys.signing_key(), trusted)
        anchors = anchors_of(project)
    except PenstockError as error:
        return [f"the ledger is not signed: {error.message}"]
    said = []
    for anchor in anchors:
        try:
            anchor.keep(signed.checkpoint, signed.note)
        except PenstockError as error:
            said.append(
                f"the ledger is signed, and not anchored at {anchor.place}: {error.message}"
            )
    return said


def _has_grown(engine: Engine, trusted: Sequence[VerifyingKey]) -> bool:
    with troubles(engine, "read"), engine.connect() as connection:
        size = StoredTree(connection).size()
    last = latest_checkpoint(engine, trusted)
    return size > (last.checkpoint.size if last else 0)
