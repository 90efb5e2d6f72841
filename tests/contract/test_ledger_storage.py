"""The ledger's rows: proofs from them, who writes at once, crashes, and what was there before."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from databases import at_revision
from ledgers import ANN, KEY, KEYS, about, draft, wrote
from sqlalchemy import Engine, text

from penstock.audit import holds, merkle
from penstock.audit.checkpoints import latest_checkpoint, prove, prove_consistency, sign_checkpoint
from penstock.audit.holds import holds_of
from penstock.audit.ledger import Ledger
from penstock.audit.merkle import leaf_hash
from penstock.audit.payloads import erase, expire, payload_of
from penstock.audit.selection import Selection, entry_named, numbers_of, selected
from penstock.audit.tree import StoredTree
from penstock.audit.verification import verify
from penstock.errors import ConflictError, PenstockError, ResourceError, UsageError
from penstock.project import Project
from penstock.state import database as state
from penstock.state.database import open_database

FORK = multiprocessing.get_context("fork")
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def opened(project: Project) -> Engine:
    """In a forked process: connections of the parent are not for it."""
    state._open.cache_clear()
    return open_database(project)


def forked(action: Callable[..., Any], *arguments: Any) -> Any:
    process = FORK.Process(target=_left, args=(action, arguments), daemon=True)
    process.start()
    return process


def _left(action: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    status = 1
    try:
        action(*arguments)
        status = 0
    finally:
        os._exit(status)  # nothing of the test runner's is done twice


class TestProofs:
    def test_hashes_of_any_part_of_the_stored_tree(self, database: Engine) -> None:
        entries = wrote(database, 700)
        sizes = (1, 2, 255, 256, 257, 511, 512, 513, 700)
        with database.connect() as connection:
            leaves = [
                leaf_hash(data.encode())
                for (data,) in connection.execute(
                    text("SELECT entry FROM ledger ORDER BY sequence")
                )
            ]
            tree = StoredTree(connection)
            assert (len(entries), tree.size()) == (700, 700)
            for size in sizes:
                root = merkle.root_of(leaves[:size])
                assert tree.root(size) == root
                assert tree.frontier(size) == merkle.Frontier().with_all(leaves[:size])
                for index in {0, size // 3, size - 1}:
                    proof = merkle.inclusion_proof(index, size, tree.hash_of)
                    merkle.verify_inclusion(leaves[index], index, size, proof, root)
        for size in sizes:
            proof = prove_consistency(database, size, 700)
            merkle.verify_consistency(
                size, 700, proof, merkle.root_of(leaves[:size]), merkle.root_of(leaves)
            )

    def test_a_proof_is_against_the_first_tree_that_was_signed_with_it(
        self, database: Engine
    ) -> None:
        wrote(database, 5)
        first = sign_checkpoint(database, KEY, KEYS)
        wrote(database, 5)
        sign_checkpoint(database, KEY, KEYS)
        wrote(database, 1)
        assert prove(database, 5, KEYS).note == first.note
        assert (prove(database, 6, KEYS).size, prove(database, 11, KEYS).note) == (10, "")
        with pytest.raises(UsageError, match="no entry 12; the last one is 11"):
            prove(database, 12, KEYS)

    def test_signing_twice_is_one_checkpoint(self, database: Engine) -> None:
        with pytest.raises(UsageError, match="the ledger is empty"):
            sign_checkpoint(database, KEY, KEYS)
        wrote(database, 3)
        assert sign_checkpoint(database, KEY, KEYS) == sign_checkpoint(database, KEY, KEYS)
        latest = latest_checkpoint(database, KEYS)
        assert latest is not None
        assert latest.checkpoint.size == 3


class TestWriters:
    def test_many_entries_are_all_or_none(self, database: Engine) -> None:
        def fail() -> None:
            with Ledger(database).page() as page:
                page.write(draft(1))
                page.write(draft(2))
                raise KeyError("the caller's own")

        with pytest.raises(KeyError):
            fail()
        assert Ledger(database).entries() == []
        wrote(database, 2)
        assert verify(database, KEYS).size == 2

    def test_what_another_process_appended_is_gone_on_with(
        self, database: Engine, project: Project
    ) -> None:
        """This process remembers the tree as it was; others add little, and then much."""
        wrote(database, 1)
        for count in (1, 254, 1, 600):
            other = forked(lambda n=count: wrote(opened(project), n))
            other.join(60)
            assert other.exitcode == 0
            wrote(database, 1)
        assert verify(database, KEYS).holds
        assert verify(database, KEYS).size == 861

    @pytest.mark.slow
    def test_eight_processes_make_no_gap_and_no_fork(
        self, database: Engine, project: Project
    ) -> None:
        def append(writer: int) -> None:
            ledger = Ledger(opened(project))
            for number in range(12):
                ledger.append("model.registered", f"{writer}-{number}", digest="d")

        writers = [forked(append, writer) for writer in range(8)]
        for writer in writers:
            writer.join(120)
        assert [writer.exitcode for writer in writers] == [0] * 8
        found = Ledger(database).entries()
        assert [entry.sequence for entry in found] == list(range(1, 97))
        for writer in range(8):
            own = [entry.subject for entry in found if entry.subject.startswith(f"{writer}-")]
            assert own == [f"{writer}-{number}" for number in range(12)]
        assert verify(database, KEYS).holds

    @pytest.mark.slow
    def test_what_was_acknowledged_outlives_a_killed_process(
        self, database: Engine, project: Project
    ) -> None:
        def append(sender: Any) -> None:
            ledger = Ledger(opened(project))
            while True:
                sender.send(ledger.append("model.registered", "shop@1", digest="d"))

        acknowledged = 0
        for round_ in range(4):
            receiver, sender = FORK.Pipe(duplex=False)
            writer = forked(append, sender)
            for _ in range(3 + round_):
                assert receiver.poll(60)
                acknowledged = receiver.recv()
            time.sleep(0.002 * round_)  # somewhere in an append
            os.kill(writer.pid, signal.SIGKILL)
            writer.join(60)
            while receiver.poll():
                acknowledged = receiver.recv()
            report = verify(database, KEYS)
            assert report.holds
            assert acknowledged <= report.size <= acknowledged + 1
        wrote(database, 1)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)  # a server's disk is its own
def test_a_full_disk_acknowledges_nothing_and_spoils_nothing(
    project: Project, database: Engine
) -> None:
    wrote(database, 20)
    receiver, sender = FORK.Pipe(duplex=False)

    def append() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        engine = opened(project)
        most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        size = sum(file.stat().st_size for file in project.root.glob("state.db*"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 40_000, most))
        ledger, done, error = Ledger(engine), 0, None
        while error is None:
            try:
                done = ledger.append("model.registered", "shop@1", digest="d", reason="r" * 900)
            except PenstockError as raised:
                error = raised
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        after = ledger.append("model.registered", "shop@2", digest="d")
        sender.send((done, after, type(error), error.message))

    process = forked(append)
    assert receiver.poll(120)
    done, after, kind, message = receiver.recv()
    process.join(60)
    assert kind is ResourceError
    assert message.startswith("the ledger cannot be written: ")
    assert after == done + 1 > 21
    assert verify(database, KEYS).holds
    assert verify(database, KEYS).size == after


class TestPersons:
    def test_a_person_is_erased_and_everything_still_verifies(self, database: Engine) -> None:
        ledger = Ledger(database)
        wrote(database, 4, personal=[2, 3])
        sign_checkpoint(database, KEY, KEYS)
        assert payload_of(database, 2) == {"email": "2@example.org"}
        before = [entry for entry in ledger.entries() if entry.sequence <= 4]

        done = erase(ledger, "person-2", reason="asked on 1 March", by=ANN, also={"rows": 3})
        assert (done.entries, done.sequence) == ((2,), 5)
        assert payload_of(database, 2) is None
        assert payload_of(database, 3) == {"email": "3@example.org"}
        report = verify(database, KEYS)
        assert (report.holds, report.erased) == (True, [2])
        assert [entry for entry in ledger.entries() if entry.sequence <= 4] == before
        (told,) = ledger.entries("audit.erased")
        assert told.details == {"entries": [[2, 2]], "also": {"rows": 3}}
        with pytest.raises(UsageError, match="nothing is kept"):
            erase(ledger, "person-2", reason="again", by=ANN)

    def test_nothing_of_them_is_left_in_the_database(
        self, database: Engine, tmp_path: Path
    ) -> None:
        wrote(database, 3, personal=[2])
        with database.connect() as connection:
            salt = connection.execute(text("SELECT salt FROM ledger_payloads")).scalar_one()
            told = str(connection.execute(text("SELECT * FROM ledger")).all())
        assert "example.org" not in told
        assert "person-2" not in told
        if database.dialect.name == "sqlite":
            secrets = (bytes(salt), b"2@example.org", b"person-2")
            assert all(found_in(tmp_path, secret) for secret in secrets)
            erase(Ledger(database), "person-2", reason="asked", by=ANN)
            assert not any(found_in(tmp_path, secret) for secret in secrets)

    def test_a_hold_keeps_what_it_covers_until_it_is_released(self, database: Engine) -> None:
        ledger = Ledger(database)
        wrote(database, 4, personal=[2, 3])
        holds.place(ledger, "case-7", reason="court order", by=ANN, person="person-2")
        with pytest.raises(ConflictError, match="the hold case-7 stands"):
            erase(ledger, "person-2", reason="asked", by=ANN)
        assert erase(ledger, "person-3", reason="asked", by=ANN).entries == (3,)
        assert [(hold.name, hold.about_person) for hold in holds_of(ledger)] == [("case-7", True)]
        with pytest.raises(ConflictError, match="stands already"):
            holds.place(ledger, "case-7", reason="again", by=ANN)
        holds.release(ledger, "case-7", reason="case closed", by=ANN)
        assert holds_of(ledger) == []
        with pytest.raises(UsageError, match="no hold is called"):
            holds.release(ledger, "case-7", reason="again", by=ANN)
        assert erase(ledger, "person-2", reason="asked", by=ANN).entries == (2, 5)  # the hold's too
        assert verify(database, KEYS).holds

    def test_payloads_expire_by_their_class_of_event(self, database: Engine) -> None:
        ledger = Ledger(database)
        for number, action in enumerate(("prediction.explained", "prediction.kept", "model.x")):
            ledger.write(draft(number, action=action), about(number))
        retention = {"prediction.": timedelta(days=90), "prediction.kept": timedelta(days=900)}
        written = ledger.entries()[0].at
        assert expire(ledger, retention, written + timedelta(days=90), by=ANN).sequence is None

        later = written + timedelta(days=91)
        holds.place(ledger, "audit", reason="audit", by=ANN, actions="prediction.")
        kept = expire(ledger, retention, later, by=ANN)
        assert (kept.entries, kept.sequence, kept.held) == ((), None, 1)
        holds.release(ledger, "audit", reason="over", by=ANN)
        assert expire(ledger, retention, later, by=ANN).entries == (1,)
        much_later = written + timedelta(days=901)
        assert expire(ledger, retention, much_later, by=ANN).entries == (2,)
        report = verify(database, KEYS)
        assert (report.holds, report.erased) == (True, [1, 2])
        assert payload_of(database, 3) is not None


def found_in(folder: Path, secret: bytes) -> bool:
    return any(secret in file.read_bytes() for file in folder.glob("state.db*"))


def test_questions_are_answered_newest_first(database: Engine) -> None:
    ledger = Ledger(database)
    for number in range(3):
        ledger.write(draft(number, digest=f"{number}a" * 32, run_id=f"r{number % 2}"))
    ledger.append("release.deployed", "staging", digest="", stream="x", position=1)

    def numbers(**wanted: Any) -> list[int]:
        selection = Selection(**wanted)
        found = [entry.sequence for entry in selected(database, selection)]
        assert numbers_of(database, selection) == found[::-1]
        return found

    assert numbers() == [4, 3, 2, 1]
    assert numbers(action="model.") == [3, 2, 1]
    assert numbers(subject="shop@1") == [2]
    assert numbers(actor="ann", run_id="r0") == [3, 1]
    assert numbers(stream="x") == [4]
    assert numbers(digest="1a1a") == [2]
    second = ledger.entries()[1]
    assert numbers(since=second.at) == [4, 3, 2]
    assert [e.sequence for e in selected(database, Selection(), limit=2)] == [4, 3]
    assert entry_named(database, "2") == entry_named(database, second.id) == second
    for unknown in ("5", "no-such-id", "%"):
        with pytest.raises(UsageError, match="has no entry"):
            entry_named(database, unknown)


# The migration


@pytest.fixture
def before(empty_url: str) -> Iterator[Engine]:
    """A database of the revision before the tree."""
    with at_revision(empty_url, "0003") as engine:
        yield engine


def test_entries_of_before_are_in_the_tree(before: Engine, empty_url: str, tmp_path: Path) -> None:
    write = text(
        "INSERT INTO ledger (sequence, at, actor, action, subject, digest, run_id, reason, details,"
        " stream, position) VALUES (:n, '2026-03-01 11:00:00.5+00:00', 'ann', 'model.approved',"
        " 's@1', 'd', :run, :reason, :details, :stream, :position)"
    )
    details = {"metrics": {"auc": 0.5, "big": 2**60}, "nan": "nan"}
    with before.begin() as connection:
        for number in [*range(1, 300), 301, 302]:  # 300 was refused, and left a gap
            placed = number > 300
            row = {
                "n": number,
                "run": "r1" if number == 1 else None,
                "reason": "seen ✓",
                "details": json.dumps(details),
                "stream": "rollout/a" if placed else "",
                "position": number - 300 if placed else None,
            }
            connection.execute(write, row)
        connection.execute(
            text(
                "INSERT INTO routes (endpoint, revision, document, written_at, actor, fence)"
                " VALUES ('shop', 1, '{}', '2026-03-01 11:00:00+00:00', 'ann', 301)"
            )
        )
    engine = state.open_state(empty_url, tmp_path)
    found = Ledger(engine).entries()
    assert [entry.sequence for entry in found] == list(range(1, 302))
    assert (found[0].run_id, found[0].actor, found[0].reason) == ("r1", "ann", "seen ✓")
    assert found[0].at == datetime(2026, 3, 1, 11, 0, 0, 500_000, tzinfo=UTC)
    assert found[0].details == {"metrics": {"auc": 0.5, "big": str(2**60)}, "nan": "nan"}
    assert [(one.sequence, one.position) for one in Ledger(engine).entries(stream="rollout/a")] == [
        (300, 1),
        (301, 2),
    ]
    with engine.connect() as connection:
        assert connection.execute(text("SELECT fence FROM routes")).scalar() == 300
    assert verify(engine, KEYS).holds
    Ledger(engine).append("rollout.x", "s", digest="", stream="rollout/a", position=3)
    assert verify(engine, KEYS).holds
    engine.dispose()
