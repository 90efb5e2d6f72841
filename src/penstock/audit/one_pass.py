"""One reading of the ledger's entries, in which the tree over them is built again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import Connection, select

from penstock.audit import blocks
from penstock.audit.blocks import Finding
from penstock.audit.merkle import Frontier, Node
from penstock.audit.notes import Checkpoint
from penstock.audit.reading import PART, Row
from penstock.audit.reading import blocks as blocks_of
from penstock.audit.tree import BLOCK, STEP, StoredTree
from penstock.errors import IntegrityError
from penstock.state.tables import ledger_nodes

Progress = Callable[[int, int], None]  # entries done, of how many
LOWEST = -(2**62)  # no number of an entry: but somebody may have written it


class OnePass:
    """Reads the entries up to `size`; afterwards it has the roots at the sizes that are wanted."""

    def __init__(
        self,
        connection: Connection,
        size: int,
        wanted: set[int],
        progress: Progress | None = None,
    ) -> None:
        self._connection, self._size, self._progress = connection, size, progress
        self._wanted = sorted({0, size, *(one for one in wanted if one <= size)})
        self._upper = Frontier()  # of the tree over whole blocks
        self._nodes: dict[int, bytes] = {}  # stored hashes over the next blocks
        self._gap = False  # an entry is missing: from here on there are no roots
        self.since = 0  # entries up to here are taken as they were signed
        self.roots: dict[int, bytes] = {}
        self.committed: list[tuple[int, str]] = []  # entries with a payload, and what binds to it
        self.findings: list[Finding] = []

    def begin_after(self, checkpoint: Checkpoint) -> None:
        """Takes what was signed from the stored tree, if that gives the signed root."""
        tree = StoredTree(self._connection)
        whole = checkpoint.size // BLOCK
        try:
            if tree.root(checkpoint.size) == checkpoint.root:
                self._upper = Frontier(whole, tree.frontier(whole * BLOCK).hashes)
                self.since = checkpoint.size
        except IntegrityError:
            return  # all of it is read

    def run(self) -> None:
        expected = self._upper.size * BLOCK + 1
        self._reach(expected - 1, [])
        lowest = expected if self.since else LOWEST
        for start, rows in blocks_of(self._connection, lowest, self._size):
            if start > expected:
                self._gap = True
                self.findings.append(blocks.dropped(expected, start - 1))
            self._block(start, rows)
            expected = max(start + BLOCK, expected)
            if self._progress and start % PART == 1:
                self._progress(start, self._size)
        self._refuse_others()

    def _block(self, start: int, rows: list[Row]) -> None:
        if start < 1:
            self.findings += [
                Finding("moved", row[0], row[0], f"no entry is written as {row[0]}") for row in rows
            ]
            return
        node = self._node(start)
        leaves = blocks.unchanged(rows) if len(rows) == BLOCK else None
        over = blocks.folded(leaves) if leaves else None
        if over is None or over != node:
            last = min(start + BLOCK - 1, self._size)
            findings, leaves = blocks.examined(start, last, rows, node)
            self.findings += findings
            self._gap = self._gap or leaves is None
            over = blocks.folded(leaves) if leaves and len(leaves) == BLOCK else None
        self.committed += blocks.commitments(rows)
        if leaves is not None:
            self._reach(start - 1, leaves)
            if over is not None and not self._gap:
                self._upper, completed = self._upper.add(over)
                self._check_above(completed)

    def _reach(self, before: int, leaves: Sequence[bytes]) -> None:
        """The roots that are wanted, as far as these leaves go."""
        while not self._gap and self._wanted and self._wanted[0] <= before + len(leaves):
            size = self._wanted.pop(0)
            if size >= before:
                inside = Frontier().with_all(leaves[: size - before])
                self.roots[size] = Frontier(size, self._upper.hashes + inside.hashes).root()

    def _node(self, start: int) -> bytes | None:
        """The stored hash over a block."""
        place = start // BLOCK
        if place not in self._nodes:
            self._nodes = self._stored(STEP, place, PART // BLOCK)
        return self._nodes.get(place)

    def _check_above(self, completed: list[Node]) -> None:
        """Stored hashes over stored hashes."""
        for node in completed:
            if node.level % STEP == 0:
                stored = self._stored(node.level + STEP, node.place, 1)
                if stored.get(node.place) != node.hash:
                    span = BLOCK << node.level
                    first, last = node.place * span + 1, (node.place + 1) * span
                    message = f"the stored hash over entries {first} to {last} is not theirs"
                    self.findings.append(Finding("tree", first, last, message))

    def _stored(self, level: int, first: int, count: int) -> dict[int, bytes]:
        place = ledger_nodes.c.place
        query = select(place, ledger_nodes.c.hash).where(ledger_nodes.c.level == level)
        rows = self._connection.execute(query.where(place.between(first, first + count - 1)))
        return {number: bytes(one) for number, one in rows}

    def _refuse_others(self) -> None:
        """The tree has no hash over entries that are not there."""
        query = select(ledger_nodes.c.level, ledger_nodes.c.place)
        nodes = self._connection.execute(query).all()
        grown = StoredTree(self._connection).size()  # others may have appended meanwhile
        for level, place in nodes:
            if level not in range(STEP, 64, STEP) or not 0 <= place < grown >> level:
                message = f"the tree has a hash that is of no entries (level {level}, {place})"
                self.findings.append(Finding("tree", 0, 0, message))
