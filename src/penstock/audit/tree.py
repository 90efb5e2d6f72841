"""The stored tree: hashes of any part of it, from few rows.

The roots over 256 entries, over 256 of those, and so on, are rows of their own; all between them
and the leaves is computed when it is asked for, from 255 rows at most a level.
"""

from __future__ import annotations

from sqlalchemy import Connection, insert, select

from penstock.audit import merkle
from penstock.audit.merkle import Frontier, Node
from penstock.errors import IntegrityError
from penstock.state.tables import ledger, ledger_nodes

STEP = 8  # levels from one stored hash to the next above it
BLOCK = 1 << STEP


class StoredTree:
    """Reads the tree through a connection. Rows that it read are not read again."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._rows: dict[tuple[int, int], list[bytes]] = {}

    def size(self) -> int:
        last = select(ledger.c.sequence).order_by(ledger.c.sequence.desc()).limit(1)
        return int(self._connection.execute(last).scalar() or 0)

    def root(self, size: int) -> bytes:
        return self.hash_of(0, size)

    def frontier(self, size: int) -> Frontier:
        parts = merkle.complete_subtrees(0, size)
        return Frontier(size, tuple(self._subtree(level, place) for level, place in parts))

    def hash_of(self, begin: int, end: int) -> bytes:
        """The root over leaves [begin, end), as proofs need them: see `merkle.HashOf`."""
        parts = merkle.complete_subtrees(begin, end)
        return Frontier(0, tuple(self._subtree(level, place) for level, place in parts)).root()

    def _subtree(self, level: int, place: int) -> bytes:
        """The root of a complete subtree, from the stored level at or below its own."""
        stored = level - level % STEP
        count = 1 << level - stored
        hashes = self._stored(stored, place * count, count)
        while len(hashes) > 1:
            hashes = merkle.joined(hashes)
        return hashes[0]

    def _stored(self, level: int, first: int, count: int) -> list[bytes]:
        """Hashes of one stored level; they never reach over a border of 256."""
        block, offset = divmod(first, BLOCK)
        if count == BLOCK:  # only a tree without its higher nodes asks so
            raise IntegrityError(f"the ledger's tree has no hash at level {level + STEP}")
        rows = self._rows.get((level, block))
        if rows is None:
            rows = self._rows[level, block] = self._read(level, block * BLOCK)
        if len(rows) < offset + count:
            raise IntegrityError(
                f"the ledger's tree lacks hashes at level {level}, from {first} on",
                hint="`penstock audit verify` says what was changed",
            )
        return rows[offset : offset + count]

    def _read(self, level: int, first: int) -> list[bytes]:
        """Up to 256 hashes of a level, by the driver alone: a proof is made of many rows."""
        if level == 0:
            query = f"SELECT leaf FROM ledger WHERE sequence BETWEEN {first + 1:d}"
            query += f" AND {first + BLOCK:d} ORDER BY sequence"
        else:
            query = f"SELECT hash FROM ledger_nodes WHERE level = {level:d} AND place"
            query += f" BETWEEN {first:d} AND {first + BLOCK - 1:d} ORDER BY place"
        cursor = self._connection.connection.cursor()
        try:
            cursor.execute(query)
            return [bytes(one) for (one,) in cursor.fetchall()]
        finally:
            cursor.close()


def store(connection: Connection, completed: list[Node]) -> None:
    """Keeps those of the completed subtrees whose level is stored."""
    for node in completed:
        if node.level % STEP == 0:
            connection.execute(
                insert(ledger_nodes).values(level=node.level, place=node.place, hash=node.hash)
            )
