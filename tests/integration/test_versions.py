"""Dataset versions by the real DVC: local folder, S3, with and without git."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.data.versions import track
from penstock.errors import ResourceError

pytestmark = pytest.mark.slow


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    file = tmp_path / "project" / "data" / "rows.parquet"
    file.parent.mkdir(parents=True)
    (tmp_path / "project" / ".penstock").mkdir()
    file.write_bytes(b"the rows")
    return file


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    boto3.client("s3").create_bucket(Bucket="models")
    yield "s3://models/shop"
    server.stop()


def root_of(rows: Path) -> Path:
    return rows.parent.parent


def test_git_and_dvc_are_made_where_there_are_none(rows: Path) -> None:
    root = root_of(rows)
    version = track(root, rows, "remote")
    assert (root / ".git").is_dir()
    assert version.md5 in rows.with_name("rows.parquet.dvc").read_text()
    assert (root / "remote" / "files" / "md5" / version.md5[:2] / version.md5[2:]).is_file()


def test_a_repository_that_ignores_the_folder_is_not_used(rows: Path) -> None:
    above = root_of(rows).parent
    subprocess.run(["git", "init", "-q"], cwd=above, check=True)
    (above / ".gitignore").write_text("project/\n")
    track(root_of(rows), rows, "remote")
    assert (root_of(rows) / ".git").is_dir()


def test_a_repository_around_the_project_is_used(rows: Path) -> None:
    above = root_of(rows).parent
    subprocess.run(["git", "init", "-q"], cwd=above, check=True)
    track(root_of(rows), rows, "remote")
    assert not (root_of(rows) / ".git").exists()
    assert (root_of(rows) / ".dvc").is_dir()


def test_without_git_the_data_is_versioned_all_the_same(
    rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda *_: None)
    track(root_of(rows), rows, "remote")
    assert not (root_of(rows) / ".git").exists()
    assert rows.with_name("rows.parquet.dvc").is_file()


def test_the_same_bytes_are_the_same_version(rows: Path) -> None:
    first = track(root_of(rows), rows, "remote")
    assert track(root_of(rows), rows, "remote") == first
    rows.unlink()
    rows.write_bytes(b"other rows")
    assert track(root_of(rows), rows, "remote").md5 != first.md5


def test_versions_go_to_s3_by_setting(rows: Path, bucket: str) -> None:
    import boto3

    version = track(root_of(rows), rows, bucket)
    key = f"shop/files/md5/{version.md5[:2]}/{version.md5[2:]}"
    stored = boto3.client("s3").get_object(Bucket="models", Key=key)
    assert stored["Body"].read() == b"the rows"


def test_a_remote_that_refuses_is_named(rows: Path, bucket: str) -> None:
    with pytest.raises(ResourceError, match="s3://nobody/has/this"):
        track(root_of(rows), rows, "s3://nobody/has/this")


def test_dvc_sends_no_analytics(rows: Path) -> None:
    track(root_of(rows), rows, "remote")
    assert "analytics = False" in (root_of(rows) / ".dvc" / "config").read_text()
