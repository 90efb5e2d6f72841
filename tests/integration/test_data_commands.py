"""`penstock data …` by the real DVC, with remotes that are a folder or S3."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.audit.ledger import Ledger
from penstock.cli.main import run
from penstock.data.repository import open_repository, remote_of, remote_setting
from penstock.project import Project, open_project
from penstock.state.database import open_database

pytestmark = pytest.mark.slow

Ask = Callable[..., Any]
FIRST = "id,x\n1,a\n2,b\n3,c\n"
SECOND = "id,x,y\n1,a,0\n2,B,0\n4,d,0\n"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in git with a folder of raw data."""
    root = tmp_path / "shop"
    (root / "raw").mkdir(parents=True)
    (root / "penstock.toml").write_text('[project]\nname = "shop"\n[data]\nkey = ["id"]\n')
    (root / ".gitignore").write_text("/.penstock/\n")
    (root / "raw" / "sales.csv").write_text(FIRST)
    (root / "raw" / "notes.txt").write_text("as delivered")
    monkeypatch.chdir(root)
    git("init", "-q")
    return root


@pytest.fixture
def ask(shop: Path, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Types `penstock data … --json`; gives the answer, with the exit status for an error."""

    def asked(*arguments: str) -> Any:
        status = run(["data", *arguments, "--json"])
        answer = json.loads(capsys.readouterr().out)
        return {**answer, "status": status} if status else answer

    return asked


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(server: str, shop: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty bucket that [data] remote names."""
    import boto3

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    bucket = boto3.resource("s3").create_bucket(Bucket="models")
    with (shop / "penstock.toml").open("a") as settings:
        settings.write('remote = "s3://models/shop"\n')
    yield bucket
    bucket.objects.delete()


def git(*arguments: str) -> str:
    named = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    done = subprocess.run(["git", *named, *arguments], check=True, capture_output=True, text=True)
    return done.stdout


def commit(message: str) -> str:
    git("add", "-A")
    git("commit", "-qm", message)
    return git("rev-parse", "HEAD").strip()


def object_of(root: Path, content: str) -> Path:
    """The cache's object with this content."""
    objects = (root / ".dvc" / "cache" / "files" / "md5").glob("*/*")
    (found,) = [place for place in objects if place.read_text() == content]
    return found


def flip_a_bit(place: Path) -> None:
    """As a disk does it: neither times nor permissions tell."""
    stat, content = place.stat(), bytearray(place.read_bytes())
    content[-1] ^= 1
    place.chmod(0o644)
    place.write_bytes(content)
    place.chmod(stat.st_mode)
    os.utime(place, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_a_folder_goes_to_a_remote_and_comes_back(shop: Path, ask: Ask) -> None:
    refused = ask("push")
    assert refused["status"] == 2
    assert "is in no DVC repository" in refused["message"]

    (added,) = ask("add", "raw")
    assert (added["path"], added["files"], added["changed"]) == ("raw", 2, True)
    assert "analytics = False" in (shop / ".dvc" / "config").read_text()
    shared = shop.parent / "shared"
    with (shop / "penstock.toml").open("a") as settings:
        settings.write(f'remote = "{shared}"\n')
    assert ask("push")["pushed"] == 3  # two files and the folder's list
    first = commit("first")
    again = ask("push")
    assert (again["pushed"], again["there"]) == (0, 3)

    clone = shop.parent / "clone"
    git("clone", "-q", str(shop), str(clone))
    os.chdir(clone)
    pulled = ask("pull")
    assert (pulled["fetched"], pulled["healed"]) == (3, [])
    assert (clone / "raw" / "sales.csv").read_text() == FIRST

    os.chdir(shop)
    (shop / "raw" / "sales.csv").write_text(SECOND)
    (shop / "raw" / "notes.txt").unlink()
    difference = ask("diff")
    assert (difference["before"], difference["after"]) == ("HEAD", "workspace")
    notes, sales = difference["files"]
    assert (notes["path"], notes["change"]) == ("raw/notes.txt", "removed")
    assert sales["table"] | {"columns_changed": {}} == {
        "rows_before": 3, "rows_after": 3, "rows_added": 1, "rows_removed": 1, "rows_changed": 1,
        "columns_added": ["y"], "columns_removed": [], "columns_retyped": {},
        "columns_changed": {},
    }  # fmt: skip

    dirty = ask("checkout")
    assert dirty["status"] == 1
    assert dirty["message"] == "not in any version, and would be lost: raw/sales.csv"
    assert (shop / "raw" / "sales.csv").read_text() == SECOND

    ask("add", "raw")
    second = commit("second")
    now, before = ask("list")
    assert [now["commits"], before["commits"]] == [[second], [first]]
    assert [now["present"], before["present"]] == [True, False]
    assert [now["rows"], now["files"], before["rows"], before["files"]] == [3, 1, 3, 2]

    # Back by the dataset's own revision; the note goes with the data, so that git sees it.
    moved = ask("checkout", before["revision"][:8])["moved"]
    assert [one["after"] for one in moved] == [before["revision"]]
    assert (shop / "raw" / "sales.csv").read_text() == FIRST
    assert "raw.dvc" in git("status", "--short")
    assert ask("diff", first)["files"] == []
    assert ask("checkout", "HEAD")["moved"][0]["after"] == now["revision"]
    assert (shop / "raw" / "sales.csv").read_text() == SECOND
    assert git("status", "--short") == ""

    for unknown in ("nope", "0123456789abcdef"):
        assert f"no revision {unknown!r}" in ask("diff", unknown)["message"]
    assert "DVC does not track elsewhere" in ask("push", "elsewhere")["message"]
    assert "no DVC remote is called 'away'" in ask("push", "--remote", "away")["message"]


def test_a_damaged_object_is_named_and_goes_nowhere(shop: Path, ask: Ask) -> None:
    ask("add", "raw")
    sound = object_of(shop, FIRST)
    name = f"raw/sales.csv (object {sound.parent.name}/{sound.name})"

    flip_a_bit(sound)
    refused = ask("push")
    assert refused["error"] == "IntegrityError"
    assert name in refused["message"]
    assert not list((shop / ".penstock" / "dvc-remote").rglob("*"))
    flip_a_bit(sound)  # sound again
    ask("push")

    # Damaged in the cache alone: checkout refuses, pull heals.
    flip_a_bit(sound)
    (shop / "raw" / "sales.csv").unlink()
    refused = ask("checkout")
    assert (refused["error"], name in refused["message"]) == ("IntegrityError", True)
    assert not (shop / "raw" / "sales.csv").exists()
    assert ask("pull")["healed"] == [name]
    assert (shop / "raw" / "sales.csv").read_text() == FIRST

    # Damaged at the remote: it never reaches the workspace, nor stays in the cache.
    (far,) = (shop / ".penstock" / "dvc-remote").rglob(sound.name)
    flip_a_bit(far)
    sound.unlink()
    (shop / "raw" / "sales.csv").unlink()
    refused = ask("pull")
    assert (refused["error"], name in refused["message"]) == ("IntegrityError", True)
    assert not (shop / "raw" / "sales.csv").exists()
    assert not sound.exists()

    # Gone from both: it is said what is missing, rather than that something failed.
    far.unlink()
    missing = ask("pull")
    assert (missing["error"], name in missing["message"]) == ("DataError", True)


def test_a_folder_s_list_is_read_before_it_is_believed(shop: Path, ask: Ask) -> None:
    (added,) = ask("add", "raw")
    ask("push")
    digest = added["revision"]
    place = shop / ".dvc" / "cache" / "files" / "md5" / digest[:2] / digest[2:]
    flip_a_bit(place)
    (shop / "raw" / "sales.csv").unlink()
    assert f"raw (object {digest[:2]}/{digest[2:]})" in ask("checkout")["message"]
    assert ask("pull")["healed"] == [f"raw (object {digest[:2]}/{digest[2:]})"]
    assert (shop / "raw" / "sales.csv").read_text() == FIRST


def test_what_nothing_rests_on_is_counted_then_deleted(shop: Path, ask: Ask) -> None:
    sales = shop / "raw" / "sales.csv"
    for content in (FIRST, "id\n9\n", SECOND):
        sales.write_text(content)
        ask("add", "raw")
        if content == FIRST:
            commit("first")
        ask("push")
    counted = ask("gc", "--cloud")
    assert (counted["objects"], counted["remote_objects"], counted["deleted"]) == (2, 2, False)
    assert ask("gc", "--cloud", "--yes")["deleted"]
    before, after = Ledger(open_database(open_project(shop))).entries()[-2:]
    assert (before.action, after.action) == ("data.collecting", "data.collected")
    assert (after.outcome, after.details["announced"]) == ("done", before.sequence)
    assert (after.details["objects"], after.details["remote_objects"]) == (2, 2)
    assert ask("gc", "--cloud") == {**counted, "objects": 0, "bytes": 0, "remote_objects": 0}
    ask("checkout", "HEAD")
    assert sales.read_text() == FIRST
    # Of another project's remote nothing is deleted.
    for place in (shop / ".penstock" / "dvc-remote" / "files" / "md5").glob("*/*"):
        place.unlink()
    stray = shop / ".penstock" / "dvc-remote" / "files" / "md5" / "00" / ("0" * 30)
    stray.parent.mkdir(exist_ok=True)
    stray.write_text("of somebody else")
    assert "is of this project" in ask("gc", "--cloud", "--yes")["message"]
    assert stray.exists()


def test_a_repository_and_a_remote_that_are_there_are_used(shop: Path, ask: Ask) -> None:
    dvc = [sys.executable, "-m", "dvc"]
    quiet = {**os.environ, "DVC_NO_ANALYTICS": "true"}
    # DVC's repository lies above the project, as in a repository of several projects.
    above = shop.parent
    (shop / ".git").rename(above / ".git")
    for arguments in (["init", "-q"], ["remote", "add", "-d", "ours", str(above / "ours")]):
        subprocess.run([*dvc, *arguments], cwd=above, env=quiet, check=True)
    before = (above / ".dvc" / "config").read_bytes()
    ask("add", "raw")
    commit("first")
    assert ask("push")["remote"] == str(above / "ours")
    assert (above / "ours" / "files").is_dir()
    assert (above / ".dvc" / "config").read_bytes() == before
    assert not (shop / ".dvc").exists()
    (listed,) = ask("list")
    assert (listed["path"], len(listed["commits"])) == ("raw", 1)
    (shop / "raw" / "sales.csv").unlink()
    assert ask("diff", "HEAD")["files"][0]["change"] == "removed"
    ask("checkout", "HEAD")
    assert (shop / "raw" / "sales.csv").read_text() == FIRST
    # A project that names another remote gets it beside; the default of the others stays.
    with (shop / "penstock.toml").open("a") as settings:
        settings.write('remote = "mine"\n')
    project = open_project(shop)
    with open_repository(shop) as repo:
        assert remote_of(repo, shop, *remote_setting(project)).url == str(shop / "mine")
    assert "remote = ours" in (above / ".dvc" / "config").read_text()


def test_s3_takes_and_gives_and_a_killed_push_goes_on(shop: Path, ask: Ask, bucket: Any) -> None:
    for number in range(24):
        (shop / "raw" / f"{number}.txt").write_text(f"file {number}")
    ask("add", "raw")
    push = subprocess.Popen(
        [sys.executable, "-m", "penstock", "data", "push", "--jobs", "1"], stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while count(bucket) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    push.send_signal(signal.SIGKILL)
    push.wait()
    there = count(bucket)
    assert 3 <= there < 27
    again = ask("push")
    assert (again["pushed"], again["there"], count(bucket)) == (27 - there, there, 27)
    (shop / ".dvc" / "cache").rename(shop.parent / "lost")
    for file in (shop / "raw").iterdir():
        file.unlink()
    assert ask("pull", "--force")["fetched"] == 27
    assert (shop / "raw" / "23.txt").read_text() == "file 23"


def test_a_remote_without_credentials_is_named(
    shop: Path, ask: Ask, bucket: Any, tmp_path: Path
) -> None:
    ask("add", "raw")
    keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    bare = {name: value for name, value in os.environ.items() if name not in keys} | {
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
    }
    # In a process of its own: s3fs keeps the credentials that it has once found.
    command = [sys.executable, "-m", "penstock", "data", "push", "--json"]
    done = subprocess.run(command, env=bare, capture_output=True, text=True)
    refused = json.loads(done.stdout)
    assert (done.returncode, refused["error"]) == (1, "ResourceError")
    assert refused["message"].startswith("no credentials for s3://models/shop")
    assert "AWS_ACCESS_KEY_ID" in refused["hint"]


def count(bucket: Any) -> int:
    return sum(1 for _ in bucket.objects.all())


def test_runs_are_told_beside_the_versions_that_they_used(shop: Path, ask: Ask) -> None:
    from datetime import UTC, datetime

    import pyarrow as pa

    from penstock.data.extract import version_dataset
    from penstock.records import to_json
    from penstock.state.database import open_database
    from penstock.state.runs import Runs

    project: Project = open_project(shop)
    runs, now = Runs(open_database(project)), datetime(2026, 11, 1, tzinfo=UTC)
    for name, ids in (("run-1", [1, 2]), ("run-2", [1, 2]), ("run-3", [1, 2, 3])):
        dataset = version_dataset(pa.table({"id": ids}), project, now)
        runs.start(
            name, pipeline="shop", environment="dev", orchestrator="local", as_of=now, now=now
        )
        runs.record_step(
            name, "extract_data", status="succeeded", started_at=now, record=to_json(dataset)
        )
    now_used, before = sorted(ask("list"), key=lambda one: one["rows"], reverse=True)
    assert (now_used["path"], now_used["rows"], now_used["runs"]) == (
        "data/events.parquet",
        3,
        ["run-3"],
    )
    assert (before["rows"], sorted(before["runs"])) == (2, ["run-1", "run-2"])
    assert before["at"] == now.isoformat()
    # Of two datasets' revisions the rows between them are told.
    (file,) = ask("diff", before["revision"], now_used["revision"])["files"]
    assert file["table"]["rows_added"] == 1
    # What a late run used stays, though no commit names it.
    assert ask("gc")["objects"] == 0
    assert ask("gc", "--runs", "0")["objects"] == 1
