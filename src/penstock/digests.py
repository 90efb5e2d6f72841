"""Names for bytes: SHA-256 of a file or a folder, and files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def folder_digest(folder: Path) -> str:
    """SHA-256 (hex) over the sorted relative paths of all files and the digests of their bytes."""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        total.update(f"{path.relative_to(folder).as_posix()}\0{file_digest(path)}\n".encode())
    return total.hexdigest()


def digest_at(path: Path) -> str:
    return folder_digest(path) if path.is_dir() else file_digest(path)


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside `path`; it takes its place only if the block succeeds.

    A crash, a full disk or a killed process leaves either the old file or the new one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(descriptor)
    part = Path(name)
    try:
        yield part
        with part.open("rb") as stream:
            os.fsync(stream.fileno())
        part.chmod(0o644)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


class DigestMemory:
    """Remembers the digest of a file as long as its size, inode and times stay as they were."""

    def __init__(self, file: Path) -> None:
        self._file = file
        try:
            self._known: dict[str, list[str]] = json.loads(file.read_text())
        except (OSError, ValueError):
            self._known = {}  # only a memory: what is lost is computed again
        self._changed = False

    def of(self, path: Path) -> str:
        """The digest of a file or folder. Raises `FileNotFoundError`."""
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        stats = [file.stat() for file in files]
        stamp = str([(s.st_size, s.st_ino, s.st_mtime_ns, s.st_ctime_ns) for s in stats])
        known = self._known.get(str(path))
        if known is None or known[0] != stamp:
            known = self._known[str(path)] = [stamp, digest_at(path)]
            self._changed = True
        return known[1]

    def save(self) -> None:
        if self._changed:
            with written_whole(self._file) as part:
                part.write_text(json.dumps(self._known))
            self._changed = False
