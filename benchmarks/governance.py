"""`make bench-governance`: what it costs that nobody can rewrite the story.

Appends to the ledger against plain inserts of as much into the same database; verifying a million
entries against reading and hashing the same bytes; a proof for one of them. Each ratio is of one
run, pair by pair. PENSTOCK_BENCH_ENTRIES and PENSTOCK_TEST_POSTGRES are heeded. The rows about
lineage, signatures and a trace stand in files of their own.
"""

from __future__ import annotations

import hashlib
import os
import random
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from governance_lineage import lineage_rows
from governance_models import signature_rows
from governance_trace import trace_rows
from side_by_side import Row, compare, row, write
from sqlalchemy import (
    JSON,
    Column,
    DateTime,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    insert,
    text,
)
from sqlalchemy.engine import make_url

from penstock.audit.checkpoints import prove, sign_checkpoint
from penstock.audit.entries import Actor, Draft, written
from penstock.audit.ledger import Ledger
from penstock.audit.merkle import Frontier, leaf_hash
from penstock.audit.notes import SigningKey
from penstock.audit.reading import PART
from penstock.audit.tree import STEP
from penstock.audit.verification import verify
from penstock.state.database import open_state
from penstock.state.tables import ledger, ledger_nodes

ENTRIES = int(os.environ.get("PENSTOCK_BENCH_ENTRIES", "1000000"))
APPENDS = 200
KEY = SigningKey("bench", bytes(range(32)))
NOW = datetime(2026, 3, 1, tzinfo=UTC)
DETAILS = {"release": "churn-3-1", "model": "churn@3", "weight": 0.25, "metrics": {"auc": 0.8125}}
DIGEST = hashlib.sha256(b"model").hexdigest()

# What an entry was kept in before there was a tree over them.
plain = Table(
    "plain_entries",
    MetaData(),
    Column("sequence", Integer, primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("actor", String(128), nullable=False),
    Column("action", String(64), nullable=False, index=True),
    Column("subject", String(256), nullable=False, index=True),
    Column("digest", String(64), nullable=False),
    Column("reason", Text, nullable=False),
    Column("details", JSON, nullable=False),
)


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="penstock-governance-"))
    try:
        rows = appends("SQLite", open_state("", folder / "small"))
        if server := os.environ.get("PENSTOCK_TEST_POSTGRES"):
            rows += on_postgresql(server, folder)
        rows += a_million(folder / "large")
        rows += lineage_rows("SQLite", open_state("", folder / "lineage"))
        rows += signature_rows()
        rows += trace_rows()
    finally:
        shutil.rmtree(folder)
    write("governance", rows)


def appends(name: str, engine: Engine) -> list[Row]:
    """Each in a transaction of its own, as the product does."""
    plain.metadata.create_all(engine)
    book = Ledger(engine)

    def ours() -> float:
        begun = time.perf_counter()
        for _ in range(APPENDS):
            book.append(
                "rollout.ramped", "churn@3", digest=DIGEST, reason="on time", details=DETAILS
            )
        return time.perf_counter() - begun

    def peer() -> float:
        begun = time.perf_counter()
        for _ in range(APPENDS):
            entry = {
                "at": datetime.now(UTC),
                "actor": "ann",
                "action": "rollout.ramped",
                "subject": "churn@3",
                "digest": DIGEST,
                "reason": "on time",
                "details": DETAILS,
            }
            with engine.begin() as connection:
                connection.execute(insert(plain).returning(plain.c.sequence), entry).scalar_one()
        return time.perf_counter() - begun

    work = f"{name}: {APPENDS} appends; plain inserts (≥ 0.5×)"
    return [compare(work, ours, peer, aim=2.0, pairs=5)]


def on_postgresql(server: str, folder: Path) -> list[Row]:
    name = f"penstock_bench_{secrets.token_hex(4)}"
    admin = create_engine(server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    url = make_url(server).set(database=name).render_as_string(hide_password=False)
    engine = open_state(url, folder / "postgresql")
    try:
        return [*appends("PostgreSQL", engine), *lineage_rows("PostgreSQL", engine)]
    finally:
        engine.dispose()
        with admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        admin.dispose()


def a_million(folder: Path) -> list[Row]:
    engine = open_state("", folder)
    size = filled(engine)
    keys = (KEY.verifying,)
    sign_checkpoint(engine, KEY, keys)

    def ours() -> float:
        begun = time.perf_counter()
        report = verify(engine, keys)
        assert (report.holds, report.size, report.checkpoints) == (True, ENTRIES, [ENTRIES])
        return time.perf_counter() - begun

    def peer() -> float:
        begun = time.perf_counter()
        assert hashed(engine) == size
        return time.perf_counter() - begun

    work = f"verify {ENTRIES:,} entries; read and hash their {size / 1e6:.0f} MB"
    return [compare(work, ours, peer, aim=3.0, pairs=3), proofs(engine)]


def hashed(engine: Engine) -> int:
    """SHA-256 of each entry, read as fast as the driver gives them; returns the bytes."""
    total = 0
    with engine.connect() as connection:
        cursor = connection.connection.cursor()
        for first in range(1, ENTRIES + 1, PART):
            cursor.execute(
                "SELECT CAST(entry AS BLOB) FROM ledger WHERE sequence BETWEEN ? AND ?",
                (first, first + PART - 1),
            )
            for (data,) in cursor.fetchall():
                hashlib.sha256(data).digest()
                total += len(data)
    return total


def proofs(engine: Engine) -> Row:
    """Of random entries, each read from the database anew; the median, and 5 ms beside it."""
    numbers = random.Random(7).sample(range(1, ENTRIES + 1), 101)
    seconds = []
    for number in numbers:
        begun = time.perf_counter()
        proof = prove(engine, number, (KEY.verifying,))
        seconds.append(time.perf_counter() - begun)
        assert proof.size == ENTRIES
    median = sorted(seconds)[len(seconds) // 2]
    return row(f"a proof for one of {ENTRIES:,}; 5 ms", median, 0.005, median / 0.005, 1.0)


def filled(engine: Engine) -> int:
    """Entries as the ledger writes them, many in a transaction; returns their bytes."""
    size, frontier = 0, Frontier()
    batch, nodes = [], []
    for sequence, data in enumerate(entries(), start=1):
        leaf = leaf_hash(data)
        frontier, completed = frontier.add(leaf)
        size += len(data)
        batch.append({"sequence": sequence, "entry": data.decode(), "leaf": leaf})
        nodes += [
            {"level": node.level, "place": node.place, "hash": node.hash}
            for node in completed
            if node.level % STEP == 0
        ]
        if len(batch) == 20_000 or sequence == ENTRIES:
            with engine.begin() as connection:
                connection.execute(insert(ledger).inline(), batch)
                if nodes:
                    connection.execute(insert(ledger_nodes), nodes)
            batch.clear()
            nodes.clear()
    return size


def entries() -> Iterator[bytes]:
    """Canonical bytes; only the first is written by the ledger's own code, which is slower."""
    draft = Draft(
        by=Actor("ann@host", name="ann", authenticated="os"),
        action="rollout.ramped",
        subject="churn@3",
        digest=DIGEST,
        reason="on time",
        details=DETAILS,
    )
    sample = written(draft, sequence=1, id="ID", at=NOW)
    before, rest = sample.split(b'"id":"ID"')
    middle, after = rest.split(b'"sequence":1,')
    for sequence in range(1, ENTRIES + 1):
        name = b'"id":"%032x"' % (sequence * 0x9E3779B97F4A7C15)
        yield b'%b%b%b"sequence":%d,%b' % (before, name, middle, sequence, after)


if __name__ == "__main__":
    main()
