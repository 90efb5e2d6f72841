"""The ledger becomes a Merkle tree: what is hashed is one column, and the others are made from it.

Entries of before get their leaves here, in their order. SQLite commits each of these statements by
itself: one that was interrupted goes on where it ended.
"""

import hashlib
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import rfc8785
import sqlalchemy as sa
from alembic import op

from penstock.state.tables import UtcDateTime

revision = "0004"
down_revision = "0003"

NEW = "ledger_as_tree"
APPEND_ONLY = ("ledger", "ledger_nodes", "ledger_checkpoints")
SAFE_INTEGER = 2**53 - 1
# Where the present columns are found in an entry.
MADE: dict[str, tuple[str, Any]] = {
    "at": ("at", sa.String(32)),
    "actor": ("actor.id", sa.Text),
    "action": ("action", sa.Text),
    "subject": ("subject", sa.Text),
    "digest": ("digest", sa.Text),
    "run_id": ("run_id", sa.Text),
    "stream": ("stream", sa.Text),
    "position": ("position", sa.Integer),
}


def upgrade() -> None:
    _hash_entries()
    for name in ("action", "subject", "digest"):
        op.create_index(f"ix_ledger_{name}", "ledger", [name], if_not_exists=True)
    op.create_index(
        "ledger_stream_position", "ledger", ["stream", "position"], unique=True, if_not_exists=True
    )
    _nodes()
    op.create_table(
        "ledger_checkpoints",
        sa.Column("size", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("note", sa.Text, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "ledger_payloads",
        sa.Column("sequence", sa.Integer, sa.ForeignKey("ledger.sequence"), primary_key=True),
        sa.Column("person", sa.Text, nullable=False),
        sa.Column("salt", sa.LargeBinary, nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        if_not_exists=True,
    )
    op.create_index("ix_ledger_payloads_person", "ledger_payloads", ["person"], if_not_exists=True)
    _forbid_changes()


def _hash_entries() -> None:
    tables = sa.inspect(op.get_bind()).get_table_names()
    if "ledger" in tables and "entry" not in _columns("ledger"):
        op.drop_table(NEW, if_exists=True)
        op.create_table(
            NEW,
            sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("entry", sa.Text, nullable=False),
            sa.Column("leaf", sa.LargeBinary, nullable=False),
            *(sa.Column(name, kind, _computed(path)) for name, (path, kind) in MADE.items()),
        )
        numbers = _copy_entries()
        _renumber_fences(numbers)
        op.drop_table("ledger")
    if "ledger" not in sa.inspect(op.get_bind()).get_table_names():
        op.rename_table(NEW, "ledger")


def _computed(path: str) -> sa.Computed:
    if op.get_bind().dialect.name == "postgresql":
        *parents, key = path.split(".")
        found = "".join(f" -> '{parent}'" for parent in parents) + f" ->> '{key}'"
        cast = "::integer" if path == "position" else ""
        return sa.Computed(f"((entry::jsonb){found}){cast}", persisted=True)
    return sa.Computed(f"json_extract(entry, '$.{path}')", persisted=False)


def _copy_entries() -> dict[int, int]:
    """Returns the new number of each entry: PostgreSQL leaves gaps where an entry was refused."""
    connection = op.get_bind()
    old = sa.table(
        "ledger",
        *(sa.column(name) for name in ("sequence", "actor", "action", "subject", "digest")),
        *(sa.column(name) for name in ("run_id", "reason", "stream", "position")),
        sa.column("at", UtcDateTime),
        sa.column("details", sa.JSON),
    )
    new = sa.table(NEW, sa.column("sequence"), sa.column("entry"), sa.column("leaf"))
    numbers: dict[int, int] = {}
    for row in connection.execute(sa.select(old).order_by(old.c.sequence)).mappings().all():
        number = numbers[row["sequence"]] = len(numbers) + 1
        entry = rfc8785.dumps(dict(_entry(number, dict(row))))
        leaf = hashlib.sha256(b"\x00" + entry).digest()
        connection.execute(sa.insert(new).values(sequence=number, entry=entry.decode(), leaf=leaf))
    return numbers


def _entry(sequence: int, row: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """What is empty is left out."""
    at: datetime = row["at"].astimezone(UTC)
    yield "sequence", sequence
    yield "id", str(uuid.uuid4())
    yield "at", f"{at:%Y-%m-%dT%H:%M:%S.%f}Z"
    yield "actor", {"id": row["actor"]}
    for name in ("action", "subject", "digest", "run_id", "reason", "stream", "position"):
        if row[name]:
            yield name, row[name]
    if row["details"]:
        yield "details", _exact(row["details"])


def _exact(value: Any) -> Any:
    """Whole numbers that JSON does not hold exactly become text."""
    if isinstance(value, dict):
        return {key: _exact(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_exact(inner) for inner in value]
    unsafe = isinstance(value, int) and abs(value) > SAFE_INTEGER
    return str(value) if unsafe else value


def _renumber_fences(numbers: dict[int, int]) -> None:
    """Routing tables name the entry that they were made from."""
    routes = sa.table("routes", sa.column("endpoint"), sa.column("fence"))
    connection = op.get_bind()
    for endpoint, fence in connection.execute(sa.select(routes.c.endpoint, routes.c.fence)).all():
        changed = max((new for old, new in numbers.items() if old <= fence), default=0)
        if changed != fence:
            connection.execute(
                sa.update(routes).where(routes.c.endpoint == endpoint).values(fence=changed)
            )


def _nodes() -> None:
    """The roots over 256 entries, and over 256 of those, and so on."""
    if "ledger_nodes" in sa.inspect(op.get_bind()).get_table_names():
        op.drop_table("ledger_nodes")  # of a migration that was interrupted
    nodes = op.create_table(
        "ledger_nodes",
        sa.Column("level", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("place", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
    )
    ledger = sa.table("ledger", sa.column("sequence"), sa.column("leaf"))
    connection = op.get_bind()
    hashes = [
        bytes(leaf)
        for (leaf,) in connection.execute(sa.select(ledger.c.leaf).order_by(ledger.c.sequence))
    ]
    level = 0
    while len(hashes) >= 256:
        level += 8
        whole = len(hashes) // 256
        hashes = [_root(hashes[256 * place : 256 * (place + 1)]) for place in range(whole)]
        connection.execute(
            sa.insert(nodes),
            [{"level": level, "place": place, "hash": one} for place, one in enumerate(hashes)],
        )


def _root(hashes: list[bytes]) -> bytes:
    while len(hashes) > 1:
        pairs = iter(hashes)
        hashes = [hashlib.sha256(b"\x01" + one + next(pairs)).digest() for one in pairs]
    return hashes[0]


def _forbid_changes() -> None:
    guards = [(table, event) for table in APPEND_ONLY for event in ("UPDATE", "DELETE")]
    guards.append(("ledger_payloads", "UPDATE"))
    if op.get_bind().dialect.name == "postgresql":
        _forbid_on_postgresql(guards)
        return
    for table, event in guards:
        op.execute(
            f"CREATE TRIGGER IF NOT EXISTS {table}_no_{event.lower()} BEFORE {event} ON {table}"
            f" BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        )
    # INSERT OR REPLACE deletes what is there without asking a trigger of deletions.
    for table, key in (
        ("ledger", "sequence = NEW.sequence"),
        ("ledger_nodes", "level = NEW.level AND place = NEW.place"),
        ("ledger_checkpoints", "size = NEW.size"),
    ):
        op.execute(
            f"CREATE TRIGGER IF NOT EXISTS {table}_no_replace BEFORE INSERT ON {table}"
            f" WHEN EXISTS (SELECT 1 FROM {table} WHERE {key})"
            f" BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        )


def _forbid_on_postgresql(guards: list[tuple[str, str]]) -> None:
    op.execute(
        "CREATE OR REPLACE FUNCTION penstock_append_only() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$"
    )
    for table, event in guards:
        op.execute(
            f"CREATE OR REPLACE TRIGGER {table}_no_{event.lower()} BEFORE {event} ON {table}"
            " FOR EACH ROW EXECUTE FUNCTION penstock_append_only()"
        )
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE OR REPLACE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION penstock_append_only()"
        )


def _columns(table: str) -> set[str]:
    return {found["name"] for found in sa.inspect(op.get_bind()).get_columns(table)}
