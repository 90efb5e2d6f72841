"""Names for bytes: SHA-256 of a file or a folder, and files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def folder_digest(folder: Path) -> str:
    """SHA-256 (hex) over the sorted relative paths of all files and the digests of their bytes."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return digest_of_files(
        {path.relative_to(folder).as_posix(): file_digest(path) for path in files}
    )


def digest_of_files(digests: Mapping[str, str]) -> str:
    """The same for files whose SHA-256 (hex) is known, by relative path with slashes."""
    total = hashlib.sha256()
    for name in sorted(digests, key=PurePosixPath):
        total.update(f"{name}\0{digests[name]}\n".encode())
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


def written_once(path: Path, content: bytes, mode: int = 0o644) -> bool:
    """A file that appears whole, or not at all, and never in place of another.

    False where one is there already. Raises `OSError`.
    """
    if path.exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    part = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        part.chmod(mode)
        os.link(part, path)
    except FileExistsError:
        return False
    finally:
        part.unlink(missing_ok=True)
    return True


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
