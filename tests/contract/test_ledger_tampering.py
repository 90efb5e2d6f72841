"""Whoever rules the database can change the ledger; not without that being found, and where."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from ledgers import KEY, KEYS, disarm, draft, wrote
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from penstock.audit import blocks, merkle
from penstock.audit.blocks import Finding
from penstock.audit.checkpoints import TamperedError, sign_checkpoint
from penstock.audit.entries import written
from penstock.audit.ledger import MemoryLedger
from penstock.audit.notes import Checkpoint, SigningKey, signed_note
from penstock.audit.one_pass import OnePass
from penstock.audit.reading import Row
from penstock.audit.tree import StoredTree
from penstock.audit.verification import Told, verify, verify_on

NOW = datetime(2026, 3, 1, tzinfo=UTC)
MADE = ("at", "actor", "action", "subject", "digest", "run_id", "stream", "position")


@dataclass
class Attack:
    """Changes in a transaction that is never committed."""

    connection: Connection
    kept: str = ""  # a note that somebody has elsewhere

    def run(self, statement: str, **values: Any) -> None:
        self.connection.execute(text(statement), values)

    def findings(self, *told: Told) -> list[Finding]:
        """What verifying finds, beside that the database does not forbid changes any more."""
        report = verify_on(self.connection, KEYS, told)
        return [one for one in report.findings if one.kind != "guard"]

    def row(self, number: int) -> tuple[str, bytes]:
        found = self.connection.execute(
            text("SELECT entry, leaf FROM ledger WHERE sequence = :n"), {"n": number}
        ).one()
        return found.entry, bytes(found.leaf)

    def put(self, number: int, entry: str, leaf: bytes) -> None:
        self.run("DELETE FROM ledger WHERE sequence = :n", n=number)
        self.run(
            "INSERT INTO ledger (sequence, entry, leaf) VALUES (:n, :e, :l)",
            n=number,
            e=entry,
            l=leaf,
        )

    def put_with_hash(self, number: int, entry: str) -> None:
        self.put(number, entry, merkle.leaf_hash(entry.encode()))


@pytest.fixture
def attack(database: Engine) -> Iterator[Callable[[], Attack]]:
    """Begins an attack; all that was written before is committed."""
    with database.connect() as connection:

        def begin() -> Attack:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")  # else its DDL commits itself
            disarm(connection)
            return Attack(connection)

        yield begin
        connection.rollback()


def only(findings: list[Finding], kind: str, first: int, last: int | None = None) -> bool:
    """Whether exactly these entries are told, as this."""
    return [(one.kind, one.first, one.last) for one in findings] == [(kind, first, last or first)]


def test_a_ledger_that_nobody_touched_holds(database: Engine) -> None:
    assert verify(database, KEYS).holds
    for count in (1, 254, 1, 1, 300):
        wrote(database, count)
        assert verify(database, KEYS).holds
        sign_checkpoint(database, KEY, KEYS)
    wrote(database, 2)
    report = verify(database, KEYS)
    assert (report.holds, report.size, report.unsigned) == (True, 559, 2)
    assert report.checkpoints == [1, 255, 256, 257, 557]
    later = verify(database, KEYS, incremental=True)
    assert (later.holds, later.since, later.root) == (True, 557, report.root)


def test_the_database_itself_refuses_changes(database: Engine) -> None:
    wrote(database, 256)
    sign_checkpoint(database, KEY, KEYS)
    for table, (key, columns) in APPEND_ONLY.items():
        all_of_it = {
            "sqlite": f"INSERT OR REPLACE INTO {table} ({columns}) SELECT {columns} FROM {table}",
            "postgresql": f"TRUNCATE {table} CASCADE",
        }
        for statement in (
            f"DELETE FROM {table}",
            f"UPDATE {table} SET {key} = 7",
            all_of_it[database.dialect.name],
        ):
            with pytest.raises(DBAPIError, match="append-only"), database.begin() as connection:
                connection.execute(text(statement))
    assert verify(database, KEYS).holds


APPEND_ONLY = {
    "ledger": ("sequence", "sequence, entry, leaf"),
    "ledger_nodes": ("place", "level, place, hash"),
    "ledger_checkpoints": ("size", "size, note"),
}


def test_what_is_made_from_the_entry_cannot_be_written(
    attack: Callable[[], Attack], database: Engine
) -> None:
    wrote(database, 2)
    one = attack()
    for column in MADE:
        savepoint = one.connection.begin_nested()
        with pytest.raises(DBAPIError, match=r"(?i)generated|can only be updated to DEFAULT"):
            one.run(f"UPDATE ledger SET {column} = NULL")
        savepoint.rollback()


def test_guards_that_are_gone_are_found(attack: Callable[[], Attack], database: Engine) -> None:
    wrote(database, 1)
    found = verify_on(attack().connection, KEYS).findings
    assert {one.kind for one in found} == {"guard"}
    assert len(found) == 10
    assert "trigger ledger_no_update is gone" in str([one.message for one in found])


def bits_of(value: bytes, step: int = 1) -> Iterator[bytes]:
    """The value with each of its bits changed."""
    for bit in range(0, len(value) * 8, step):
        yield (int.from_bytes(value) ^ 1 << bit).to_bytes(len(value))


def test_every_single_bit_of_every_field_of_every_row_is_located() -> None:
    book = MemoryLedger()
    datas = [
        written(draft(number), sequence=number, id=book.write(draft(number)).id, at=NOW)
        for number in (1, 2, 3)
    ]
    rows = [Row(n, data, merkle.leaf_hash(data)) for n, data in enumerate(datas, start=1)]
    assert blocks.examined(1, 3, rows, None)[0] == []
    for at, (number, entry, leaf) in enumerate(rows):
        changed = [Row(number, other, leaf) for other in bits_of(entry)]
        changed += [Row(number, entry, other) for other in bits_of(leaf)]
        for row in changed:
            touched = [*rows[:at], row, *rows[at + 1 :]]
            assert blocks.unchanged(touched) is None
            found, _ = blocks.examined(1, 3, touched, None)
            assert only(found, "changed", number), row
        for bit in range(31):
            moved = Row(number ^ 1 << bit, entry, leaf)
            (found_moved,) = blocks.row_findings(moved)
            assert (found_moved.kind, found_moved.first) == ("moved", moved.sequence)


@pytest.mark.slow
def test_changed_bits_in_the_database(attack: Callable[[], Attack], database: Engine) -> None:
    wrote(database, 3)
    one = attack()
    sqlite = one.connection.dialect.name == "sqlite"
    # PostgreSQL keeps no text that is not UTF-8.
    put = {"entry": "CAST(:v AS TEXT)" if sqlite else "convert_from(:v, 'UTF8')", "leaf": ":v"}
    located = 0
    for number in (1, 2, 3):
        entry, leaf = one.row(number)
        for column, value in (("entry", entry.encode()), ("leaf", leaf)):
            for changed in bits_of(value, step=53):
                savepoint = one.connection.begin_nested()
                change = f"UPDATE ledger SET {column} = {put[column]} WHERE sequence = :n"
                try:
                    one.run(change, v=changed, n=number)
                except DBAPIError:
                    assert column == "entry"  # it is no text, or no JSON, and not taken
                else:
                    assert _of_pass(one) == [("changed", number, number)]
                    located += 1
                savepoint.rollback()
    assert located > 50


def _of_pass(attack: Attack) -> list[tuple[str, int, int]]:
    """As `Attack.findings`, without what does not depend on rows."""
    one_pass = OnePass(attack.connection, StoredTree(attack.connection).size(), set())
    one_pass.run()
    return [(one.kind, one.first, one.last) for one in one_pass.findings]


@pytest.mark.slow
def test_every_bit_of_a_number(attack: Callable[[], Attack], database: Engine) -> None:
    wrote(database, 3)
    one = attack()
    for number in (1, 2, 3):
        for bit in range(31):
            other = number ^ 1 << bit
            if other in (1, 2, 3):
                continue  # the database keeps one row a number
            savepoint = one.connection.begin_nested()
            one.run("UPDATE ledger SET sequence = :o WHERE sequence = :n", o=other, n=number)
            found = _of_pass(one)
            assert ("moved", other, other) in found, (number, bit)
            assert number in [first for kind, first, _ in found if kind == "dropped"]
            savepoint.rollback()


@pytest.mark.slow
def test_every_bit_of_a_stored_hash_of_the_tree(
    attack: Callable[[], Attack], database: Engine
) -> None:
    wrote(database, 300)
    one = attack()
    (node,) = one.connection.execute(text("SELECT hash FROM ledger_nodes")).scalars()
    for changed in bits_of(bytes(node), step=31):
        savepoint = one.connection.begin_nested()
        one.run("UPDATE ledger_nodes SET hash = :v", v=changed)
        assert _of_pass(one) == [("tree", 1, 256)]
        savepoint.rollback()
    for column in ("level", "place"):
        savepoint = one.connection.begin_nested()
        one.run(f"UPDATE ledger_nodes SET {column} = {column} + 1")
        assert _of_pass(one) == [("tree", 1, 256), ("tree", 0, 0)]
        savepoint.rollback()


def test_a_dropped_row(attack: Callable[[], Attack], database: Engine) -> None:
    wrote(database, 300)
    sign_checkpoint(database, KEY, KEYS)
    one = attack()
    for number in (1, 2, 100, 256, 257, 299, 300):
        savepoint = one.connection.begin_nested()
        one.run("DELETE FROM ledger WHERE sequence = :n", n=number)
        assert only(one.findings(), "dropped" if number < 300 else "truncated", number)
        savepoint.rollback()


def test_a_swapped_pair(attack: Callable[[], Attack], database: Engine) -> None:
    wrote(database, 300)
    sign_checkpoint(database, KEY, KEYS)
    one = attack()
    for pair in ((1, 2), (3, 200), (10, 290), (280, 281)):
        savepoint = one.connection.begin_nested()
        rows = [one.row(number) for number in pair]
        for number, row in zip(pair, reversed(rows), strict=True):
            one.put(number, *row)
        moved = [found.first for found in one.findings() if found.kind == "moved"]
        assert moved == list(pair)
        savepoint.rollback()


def test_a_row_renumbered_over_a_dropped_one(
    attack: Callable[[], Attack], database: Engine
) -> None:
    wrote(database, 10)
    one = attack()
    one.run("DELETE FROM ledger WHERE sequence = 4")
    for number in range(5, 11):
        one.run("UPDATE ledger SET sequence = :o WHERE sequence = :n", o=number - 1, n=number)
    assert [found.first for found in one.findings()] == list(range(4, 10))


def test_a_truncated_tail(attack: Callable[[], Attack], database: Engine) -> None:
    wrote(database, 300)
    sign_checkpoint(database, KEY, KEYS)
    wrote(database, 10)
    one = attack()
    one.run("DELETE FROM ledger WHERE sequence > 250")
    found = one.findings()
    assert ("truncated", 251, 300) in [(f.kind, f.first, f.last) for f in found]
    assert {f.kind for f in found} == {"truncated", "tree"}  # a stored hash is of no entries


def test_an_entry_rewritten_with_its_hash(attack: Callable[[], Attack], database: Engine) -> None:
    wrote(database, 400)
    one = attack()
    entry, _ = one.row(17)
    one.put_with_hash(17, entry.replace("seen", "gone"))
    assert only(one.findings(), "tree", 1, 256)


@pytest.fixture
def rewritten(attack: Callable[[], Attack], database: Engine) -> Attack:
    """Entry 300 of 700 says something else, and so does the tree; 200 and 600 were signed."""
    wrote(database, 200)
    sign_checkpoint(database, KEY, KEYS)
    wrote(database, 400)
    signed = sign_checkpoint(database, KEY, KEYS)
    wrote(database, 100)
    one = attack()
    one.kept = signed.note
    entry, _ = one.row(300)
    one.put_with_hash(300, entry.replace("seen", "gone"))
    leaves = [one.row(number)[1] for number in range(257, 513)]
    one.run(
        "UPDATE ledger_nodes SET hash = :h WHERE level = 8 AND place = 1",
        h=merkle.root_of(leaves),
    )
    return one


def test_a_rewritten_tree_does_not_meet_what_was_signed(rewritten: Attack) -> None:
    assert only(rewritten.findings(), "rewritten", 201, 600)


def test_a_rewritten_tree_cannot_be_signed_again_without_the_key(
    rewritten: Attack,
) -> None:
    thief = SigningKey(KEY.name, bytes(32))
    one_pass = OnePass(rewritten.connection, 700, {600})
    one_pass.run()
    forged = Checkpoint(KEY.name, 600, one_pass.roots[600])
    rewritten.run(
        "UPDATE ledger_checkpoints SET note = :n WHERE size = 600", n=signed_note(forged, thief)
    )
    (found,) = rewritten.findings()
    assert (found.kind, found.first) == ("checkpoint", 600)
    assert "no key that is trusted" in found.message

    # Without its checkpoints the database is consistent: only what is kept outside tells.
    rewritten.run("DELETE FROM ledger_checkpoints WHERE size = 600")
    assert rewritten.findings() == []
    assert only(rewritten.findings(Told("a mail", rewritten.kept)), "rewritten", 201, 600)


def test_a_checkpoint_that_stands_for_another_size(
    attack: Callable[[], Attack], database: Engine
) -> None:
    wrote(database, 5)
    sign_checkpoint(database, KEY, KEYS)
    wrote(database, 5)
    one = attack()
    one.run("UPDATE ledger_checkpoints SET size = 9")
    assert only(one.findings(), "checkpoint", 9)


def test_a_tampered_ledger_is_not_signed(database: Engine) -> None:
    wrote(database, 5)
    sign_checkpoint(database, KEY, KEYS)
    wrote(database, 5)
    with database.begin() as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        disarm(connection)
        connection.execute(text("DELETE FROM ledger WHERE sequence = 7"))
    with pytest.raises(TamperedError, match="nothing is signed"):
        sign_checkpoint(database, KEY, KEYS)


def test_without_the_public_key_nothing_that_was_signed_is_believed(database: Engine) -> None:
    wrote(database, 5)
    sign_checkpoint(database, KEY, KEYS)
    report = verify(database, ())
    assert [(one.kind, one.message) for one in report.findings] == [
        ("checkpoint", "checkpoint 5: it cannot be verified: there is no public key")
    ]


def test_payloads_that_are_not_what_was_committed_to(
    attack: Callable[[], Attack], database: Engine
) -> None:
    wrote(database, 3, personal=[2])
    one = attack()
    for statement, numbers in (
        ("UPDATE ledger_payloads SET payload = '{}'", [2]),
        ("UPDATE ledger_payloads SET salt = (SELECT leaf FROM ledger WHERE sequence = 1)", [2]),
        ("DELETE FROM ledger_payloads", [2]),  # and no entry says so
        ("UPDATE ledger_payloads SET sequence = 3", [2, 3]),
    ):
        savepoint = one.connection.begin_nested()
        one.run(statement)
        assert [(found.kind, found.first) for found in one.findings()] == [
            ("payload", number) for number in numbers
        ]
        savepoint.rollback()


def test_entries_that_are_none_are_found_wherever_they_stand(
    attack: Callable[[], Attack], database: Engine
) -> None:
    wrote(database, 10)
    one = attack()
    entry, _ = one.row(3)
    for other in ("{}", "[]", entry + " ", entry.replace('"sequence":3', '"sequence":3.0')):
        savepoint = one.connection.begin_nested()
        one.put_with_hash(3, other)
        assert only(one.findings(), "changed", 3)
        savepoint.rollback()
