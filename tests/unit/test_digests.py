"""Names for bytes, and files that appear whole or not at all."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.digests import DigestMemory, file_digest, folder_digest, written_whole


class BlockError(Exception):
    pass


def write_half(path: Path) -> None:
    with written_whole(path) as part:
        part.write_text("half")
        raise BlockError


def test_sha_256_of_the_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    # FIPS 180-4, the digest of the empty message
    digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert file_digest(tmp_path / "empty") == digest


@given(content=st.binary())
def test_the_digest_of_a_file_is_that_of_its_bytes(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    file = tmp_path_factory.getbasetemp() / "content"
    file.write_bytes(content)
    assert file_digest(file) == hashlib.sha256(content).hexdigest()


def test_a_folder_is_named_by_its_paths_and_bytes_and_nothing_else(tmp_path: Path) -> None:
    def folder(name: str, **files: str) -> Path:
        for path, text in files.items():
            file = tmp_path / name / path.replace("_", "/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return tmp_path / name

    one = folder_digest(folder("one", a="1", b_c="2"))
    same = folder("same", b_c="2", a="1")
    os.utime(same / "a", (0, 0))
    assert folder_digest(same) == one
    assert folder_digest(folder("bytes", a="2", b_c="2")) != one
    assert folder_digest(folder("path", a="1", b_d="2")) != one
    assert folder_digest(folder("fewer", a="1")) != one


def test_a_new_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "file"
    with written_whole(file) as part:
        part.write_text("all")
        assert not file.exists()
    assert file.read_text() == "all"
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert list(file.parent.iterdir()) == [file]


def test_a_block_that_raises_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("old")
    with pytest.raises(BlockError):
        write_half(file)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_block_that_raises_leaves_nothing_where_nothing_was(tmp_path: Path) -> None:
    with pytest.raises(BlockError):
        write_half(tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_the_memory_notices_what_changed_though_size_and_time_are_the_same(tmp_path: Path) -> None:
    file, memory = tmp_path / "file", DigestMemory(tmp_path / "memory.json")
    file.write_text("one")
    before, times = memory.of(file), file.stat()
    file.write_text("two")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert memory.of(file) == file_digest(file) != before


@pytest.mark.parametrize("change", ["rewrite", "add", "remove", "rename"])
def test_the_memory_notices_what_changed_in_a_folder(tmp_path: Path, change: str) -> None:
    folder, memory = tmp_path / "folder", DigestMemory(tmp_path / "memory.json")
    folder.mkdir()
    (folder / "a").write_text("1")
    (folder / "b").write_text("2")
    before = memory.of(folder)
    match change:
        case "rewrite":
            (folder / "b").write_text("3")
        case "add":
            (folder / "c").touch()
        case "remove":
            (folder / "b").unlink()
        case "rename":
            (folder / "b").rename(folder / "c")
    assert memory.of(folder) == folder_digest(folder) != before


def test_the_memory_outlives_its_process(tmp_path: Path) -> None:
    file, kept = tmp_path / "file", tmp_path / "deep" / "memory.json"
    file.write_text("one")
    memory = DigestMemory(kept)
    digest = memory.of(file)
    memory.save()
    written = kept.stat().st_mtime_ns
    again = DigestMemory(kept)
    assert again.of(file) == digest
    again.save()  # nothing new: nothing written
    assert kept.stat().st_mtime_ns == written


def test_a_broken_memory_is_no_more_than_forgotten(tmp_path: Path) -> None:
    file, kept = tmp_path / "file", tmp_path / "memory.json"
    file.write_text("one")
    kept.write_text("{half")
    assert DigestMemory(kept).of(file) == file_digest(file)


def test_the_memory_of_a_file_that_is_gone_is_not_used(tmp_path: Path) -> None:
    file, memory = tmp_path / "file", DigestMemory(tmp_path / "memory.json")
    file.write_text("one")
    memory.of(file)
    file.unlink()
    with pytest.raises(FileNotFoundError):
        memory.of(file)
