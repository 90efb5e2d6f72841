"""`penstock audit …` as a user types it, and what verifies without Penstock's project."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ledgers import disarm, wrote
from sqlalchemy import Engine, text

from penstock.audit.anchors import FolderAnchor, ObjectStoreAnchor, anchor_at, file_name
from penstock.audit.git_anchor import REF
from penstock.audit.notes import Checkpoint
from penstock.cli.main import run
from penstock.errors import IntegrityError, ResourceError, SettingsError
from penstock.project import open_project
from penstock.serving.prediction_log.reading import predictions
from penstock.serving.prediction_log.rows import Encoder
from penstock.serving.prediction_log.rows import Row as PredictionRow
from penstock.state.database import open_database

Penstock = Callable[..., tuple[int, Any, str]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A new project with four entries, in a git repository."""
    root = tmp_path / "shop"
    assert run(["init", str(root), "--template", "blank"]) == 0
    subprocess.run(["git", "init", "--quiet", str(root)], check=True)
    wrote(engine_of(root), 4, personal=[2, 3])
    return root


def engine_of(root: Path) -> Engine:
    return open_database(open_project(root, "dev"))


@pytest.fixture
def penstock(root: Path, capsys: pytest.CaptureFixture[str]) -> Penstock:
    """(exit status, what --json printed, what was said to people)"""

    def type_(*words: str, as_json: bool = True) -> tuple[int, Any, str]:
        capsys.readouterr()
        more = ["--json"] if as_json else []
        status = run([*words, "--project", str(root), *more])
        printed = capsys.readouterr()
        return status, json.loads(printed.out) if as_json else None, printed.out + printed.err

    return type_


def dropped(root: Path, number: int) -> None:
    with engine_of(root).begin() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        disarm(connection)
        connection.execute(text(f"DELETE FROM ledger_payloads WHERE sequence = {number}"))
        connection.execute(text(f"DELETE FROM ledger WHERE sequence = {number}"))


def test_who_did_what_is_listed_and_shown(penstock: Penstock) -> None:
    _, found, _ = penstock("audit", "log", "--action", "model.", "--limit", "3")
    assert [entry["sequence"] for entry in found] == [4, 3, 2]
    assert found[0]["actor"] == {"id": "ann", "name": "Ann", "authenticated": "token"}
    _, _, told = penstock("audit", "log", "--since", "1h", as_json=False)
    assert "shop@4" in told
    assert "ann" in told
    status, entry, _ = penstock("audit", "show", "2")
    assert (status, entry["payload"], entry["erased"]) == (0, {"email": "2@example.org"}, False)
    assert penstock("audit", "show", entry["id"])[1]["leaf"] == entry["leaf"]
    assert penstock("audit", "show", "5")[0] == 2


def test_a_ledger_is_signed_anchored_and_verified(penstock: Penstock, root: Path) -> None:
    status, report, _ = penstock("audit", "verify")
    assert (status, report["holds"], report["unsigned"]) == (0, True, 4)
    _, signed, _ = penstock("audit", "checkpoint")
    assert (signed["origin"], signed["size"]) == ("penstock.local/shop", 4)
    wrote(engine_of(root), 2)
    before = work_tree(root)
    for new in (True, False):
        _, anchored, _ = penstock("audit", "anchor")
        assert (anchored["size"], anchored["anchors"]) == (6, {"git": new})
    assert work_tree(root) == before
    assert git(root, "show", f"{REF}:checkpoint") == anchored["note"].strip()
    _, report, _ = penstock("audit", "verify", "--since-checkpoint")
    assert (report["holds"], report["since"], report["checkpoints"][-1]) == (True, 6, 6)
    assert "checkpoints over 4, 6 entries" in penstock("audit", "verify", as_json=False)[2]


def work_tree(root: Path) -> str:
    return git(root, "status", "--porcelain") + git(root, "for-each-ref", "refs/heads")


def git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_a_dropped_entry_is_named_and_ends_with_status_1(penstock: Penstock, root: Path) -> None:
    penstock("audit", "anchor")
    dropped(root, 3)
    status, report, _ = penstock("audit", "verify")
    assert (status, report["holds"]) == (1, False)
    assert {"kind": "dropped", "first": 3, "last": 3, "message": "entry 3 is gone"} in report[
        "findings"
    ]
    assert "✗ entry 3 is gone" in penstock("audit", "verify", as_json=False)[2]
    assert penstock("audit", "checkpoint")[1]["message"].startswith("nothing is signed: ")


def test_a_database_that_forgot_its_checkpoints_is_told_by_an_anchor(
    penstock: Penstock, root: Path, tmp_path: Path
) -> None:
    _, signed, _ = penstock("audit", "anchor", "--to", str(tmp_path / "mails"))
    (kept,) = (tmp_path / "mails").iterdir()
    dropped(root, 4)
    with engine_of(root).begin() as connection:
        connection.execute(text("DELETE FROM ledger_checkpoints"))
    status, report, _ = penstock("audit", "verify", "--note", str(kept))
    assert status == 1
    assert [one for one in report["findings"] if one["kind"] == "truncated"] == [
        {
            "kind": "truncated",
            "first": 4,
            "last": 4,
            "message": f"{kept}: it was signed over 4 entries; 3 are left",
        }
    ]
    assert kept.read_text() == signed["note"]


def test_a_bundle_verifies_with_nothing_but_the_key(
    penstock: Penstock,
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    penstock("audit", "checkpoint")
    whole, part, key = tmp_path / "whole", tmp_path / "part", root / "ledger.pub"
    assert penstock("audit", "export", str(whole))[1]["entries"] == 4
    assert penstock("audit", "export", str(part), "--subject", "shop@2")[1]["entries"] == 1
    assert penstock("audit", "export", str(part))[0] == 2  # there is something

    monkeypatch.chdir(tmp_path)  # which no project is in or above

    def verified(bundle: Path, trusted: Path = key) -> tuple[int, str]:
        capsys.readouterr()
        status = run(["audit", "verify", "--bundle", str(bundle), "--key", str(trusted)])
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    for bundle in (whole, part):
        status, told = verified(bundle)
        assert (status, "4 entries: all are as they were written" in told) == (0, True)
        file = bundle / "entries.jsonl"
        file.write_text(file.read_text().replace("shop@2", "shop@3"))
        status, told = verified(bundle)
        assert (status, "✗ entry 2 is not" in told) == (1, True)
    assert run(["audit", "verify", "--bundle", str(whole)]) == 2  # with which key?
    other = tmp_path / "other.pub"
    other.write_text("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW\n")
    status, told = verified(whole, other)
    assert (status, "no key that is trusted has signed this note" in told) == (1, True)


def test_proofs_are_printed(penstock: Penstock) -> None:
    _, proof, _ = penstock("audit", "proof", "2")
    assert (proof["sequence"], proof["size"], len(proof["hashes"])) == (2, 4, 2)
    assert proof["checkpoint"] == ""
    _, proof, _ = penstock("audit", "proof", "--from", "3")
    assert (proof["size1"], proof["size2"], len(proof["hashes"])) == (3, 4, 3)
    assert penstock("audit", "proof")[0] == 2
    assert penstock("audit", "proof", "--from", "0")[0] == 1


def test_persons_are_erased_and_held(penstock: Penstock, root: Path) -> None:
    assert penstock("audit", "erase", "person-2")[0] == 2  # a reason is needed
    assert penstock("audit", "hold", "case", "--person", "person-2", "--reason", "court")[0] == 0
    assert [one["name"] for one in penstock("audit", "hold")[1]] == ["case"]
    status, refused, _ = penstock("audit", "erase", "person-2", "--reason", "asked")
    assert (status, refused["error"]) == (1, "ConflictError")
    penstock("audit", "hold", "case", "--release", "--reason", "over")
    assert penstock("audit", "erase", "person-2", "--reason", "asked")[1]["entries"] == [2, 5]
    entry = penstock("audit", "show", "2")[1]
    assert (entry["payload"], entry["erased"]) == (None, True)
    assert "was erased" in penstock("audit", "show", "2", as_json=False)[2]
    status, report, _ = penstock("audit", "verify")
    assert (status, report["erased"]) == (0, [2, 5])
    assert penstock("audit", "erase", "--expired")[1]["entries"] == []
    settings = root / "penstock.toml"
    settings.write_text(settings.read_text() + '\n[audit]\nretention = {"model." = "0s"}\n')
    assert penstock("audit", "erase", "--expired")[1]["entries"] == [3]


def test_keys_are_shown_and_made(penstock: Penstock, root: Path) -> None:
    penstock("audit", "checkpoint")
    (first,) = penstock("audit", "key")[1]["public"]
    assert penstock("audit", "key", "--new")[1]["public"][0] == first
    wrote(engine_of(root), 1)
    penstock("audit", "checkpoint")
    # The fifth entry tells of the new key; the older one's checkpoint still verifies.
    assert penstock("audit", "verify")[1]["checkpoints"] == [4, 6]
    (root / ".penstock/keys/ledger.key").unlink()
    wrote(engine_of(root), 1)
    status, refused, _ = penstock("audit", "checkpoint")
    assert (status, refused["error"]) == (2, "SettingsError")
    assert "audit key --new" in refused["hint"]


class TestAnchors:
    NOTES = ("a\n1\nAA==\n\n— a AAAA\n", "a\n1\nBB==\n\n— a AAAA\n")
    CHECKPOINT = Checkpoint("a/b c", 7, b"")

    def test_a_folder_never_replaces_what_it_keeps(self, tmp_path: Path) -> None:
        anchor = FolderAnchor("x", tmp_path / "kept")
        with pytest.raises(ResourceError, match="is not there"):
            anchor.notes()
        assert anchor.keep(self.CHECKPOINT, self.NOTES[0])
        assert not anchor.keep(self.CHECKPOINT, self.NOTES[0])
        with pytest.raises(IntegrityError, match="keeps another checkpoint of this size"):
            anchor.keep(self.CHECKPOINT, self.NOTES[1])
        assert [told.note for told in anchor.notes()] == [self.NOTES[0]]
        assert [file.name for file in (tmp_path / "kept").iterdir()] == ["a-b-c.000000000007.note"]

    def test_a_remote_repository_tells_what_the_local_one_was_made_to_forget(
        self, root: Path, penstock: Penstock, tmp_path: Path
    ) -> None:
        remote = tmp_path / "remote.git"
        subprocess.run(["git", "init", "--quiet", "--bare", str(remote)], check=True)
        git(root, "remote", "add", "origin", str(remote))
        settings = root / "penstock.toml"
        settings.write_text(settings.read_text() + '\n[audit]\nanchors = ["git:origin"]\n')
        assert penstock("audit", "anchor")[1]["anchors"] == {"git:origin": True}
        assert git(remote, "rev-parse", REF) == git(root, "rev-parse", REF)
        git(root, "update-ref", "-d", REF)
        dropped(root, 4)
        with engine_of(root).begin() as connection:
            connection.execute(text("DELETE FROM ledger_checkpoints"))
        _, report, _ = penstock("audit", "verify")
        assert "truncated" in {one["kind"] for one in report["findings"]}
        remote.rename(tmp_path / "gone.git")
        _, report, _ = penstock("audit", "verify")
        assert [one["anchor"] for one in report["anchors_away"]] == ["git:origin"]

    @pytest.mark.slow
    def test_an_object_store_never_replaces_what_it_keeps(self, object_store: str) -> None:
        anchor = ObjectStoreAnchor(f"s3://{object_store}/of/shop")
        assert anchor.notes() == []
        assert anchor.keep(self.CHECKPOINT, self.NOTES[0])
        assert not anchor.keep(self.CHECKPOINT, self.NOTES[0])
        with pytest.raises(IntegrityError, match="keeps another checkpoint"):
            anchor.keep(self.CHECKPOINT, self.NOTES[1])
        (told,) = anchor.notes()
        assert told.note == self.NOTES[0]
        assert told.where == f"anchor s3://{object_store}/of/shop/{file_name(self.CHECKPOINT)}"
        with pytest.raises(ResourceError, match="cannot be written"):
            ObjectStoreAnchor("s3://no-such-bucket/x").keep(self.CHECKPOINT, self.NOTES[0])

    @pytest.mark.parametrize("place", ["ftp://x/y", "http://x"])
    def test_what_is_no_place_is_refused(self, root: Path, place: str) -> None:
        with pytest.raises(SettingsError, match="is no anchor of the ledger"):
            anchor_at(open_project(root, "dev"), place)

    def test_without_a_repository_git_is_away(self, tmp_path: Path) -> None:
        (tmp_path / "penstock.toml").write_text('[project]\nname = "s"\n')
        with pytest.raises(ResourceError, match="not a git repository"):
            anchor_at(open_project(tmp_path, "dev"), "git").notes()


@pytest.fixture
def object_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The bucket of something that answers as S3 does."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    boto3.client("s3", endpoint_url=url).create_bucket(Bucket="anchors")
    yield "anchors"
    server.stop()


KILLED = """
import os, signal, sys
from penstock import erasure
from penstock.cli.main import run
erasure.erase = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
run(sys.argv[1:])
"""


def test_a_person_is_erased_everywhere_though_the_command_was_killed(
    penstock: Penstock, root: Path
) -> None:
    log = root / ".penstock" / "endpoints" / "staging" / "predictions"
    (log / "segments").mkdir(parents=True)
    made, text = Encoder("staging"), bytearray()
    for number in (1, 2, 3):
        who = {"customer_id": [number % 2]}
        made.append(PredictionRow(number, f"p{number}", rows=1, entities=who), text)
    (log / "segments" / "s1.jsonl").write_bytes(text)
    (root / "data").mkdir(exist_ok=True)
    (root / "data" / "asked.csv").write_text("customer_id,visits\n1,3\n2,4\n1,5\n")
    words = ["audit", "erase", "customer_id=1", "--reason", "asked"]

    penstock("audit", "hold", "case", "--reason", "court", "--actions", "prediction.")
    assert penstock(*words, as_json=False)[0] == 1
    assert list(log.glob("parquet/*")) == []  # nothing was touched
    penstock("audit", "hold", "case", "--release", "--reason", "over")
    command = [sys.executable, "-c", KILLED, *words, "--project", str(root)]
    assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL

    status, done, _ = penstock(*words)
    assert (status, done["destroyed"], done["open_rows"]) == (0, {}, 0)
    assert [(one["path"], one["rows"]) for one in done["holdings"]] == [("data/asked.csv", 2)]
    _, entry, _ = penstock("audit", "show", str(done["entry"]))
    left = {"broken_off_before": {"predictions": 2}, "left": {"files": 1}}
    assert entry["details"]["also"] == left
    rows = predictions([log]).order("prediction_id").project("prediction_id, entities, erased")
    assert rows.fetchall() == [
        ("p1", None, True), ("p2", '{"customer_id":0}', None), ("p3", None, True),
    ]  # fmt: skip
    assert not list((root / ".penstock" / "erasing").iterdir())
    assert penstock("audit", "erase", "customer_id=7", "--reason", "x", as_json=False)[0] == 2
    assert penstock("audit", "verify")[0] == 0
