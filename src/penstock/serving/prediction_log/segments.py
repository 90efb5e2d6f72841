"""Segments: append-only files of lines, each written by one process and by no other after it.

A process holds a lock on the segment it writes. A segment that nobody holds is finished, whether
its process closed it or died: the lock ends with the process.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from penstock.serving.prediction_log.rows import is_whole

SUFFIX = ".jsonl"
READ = 1 << 20  # bytes at a time

_sync_data = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync


@dataclass(frozen=True)
class LogFolder:
    """Where an endpoint keeps its predictions."""

    path: Path

    @property
    def segments(self) -> Path:
        return self.path / "segments"

    @property
    def parquet(self) -> Path:
        return self.path / "parquet"

    @property
    def damaged(self) -> Path:
        """Lines that were not whole, kept under the name of their segment."""
        return self.path / "damaged"

    def list_segments(self) -> list[Path]:
        return sorted(self.segments.glob(f"*{SUFFIX}"))

    def list_parquet(self, since: date = date.min, until: date = date.max) -> list[Path]:
        """Those of some dates, also where the segment is still there and counts instead."""
        first, last = f"date={since}", f"date={until}"
        dates = [one for one in self.parquet.glob("date=*") if first <= one.name <= last]
        return sorted(file for one in dates for file in one.glob("endpoint=*/*.parquet"))


class Segment:
    """The segment that this process writes. Every method may raise `OSError`."""

    def __init__(self, folder: Path, now: datetime) -> None:
        self.path, self._file = _create(folder, now)
        self.size = 0  # bytes, of whole commits
        self._written = 0
        self._unsynced = False

    @property
    def sound(self) -> bool:
        """False after a failed commit: what the disk took of the file is unknown from then on."""
        return not self._unsynced

    def write(self, data: bytes | bytearray) -> None:
        rest = memoryview(data)
        while rest:
            count = os.write(self._file, rest)
            self._written += count
            rest = rest[count:]

    def commit(self) -> None:
        """What was written is on the disk, and under its name, when this returns."""
        self._unsynced = True
        if not os.fstat(self._file).st_nlink:
            raise FileNotFoundError(errno.ENOENT, "the open segment was deleted", str(self.path))
        _sync_data(self._file)
        self._unsynced = False
        self.size = self._written

    def roll_back(self) -> None:
        """Back to the last commit."""
        if self._written != self.size:
            os.ftruncate(self._file, self.size)
            self._written = self.size

    def close(self) -> None:
        """Ends the segment; an empty one leaves no file."""
        try:
            if self.size == 0:
                self.path.unlink(missing_ok=True)
        finally:
            os.close(self._file)


def _create(folder: Path, now: datetime) -> tuple[Path, int]:
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        path = folder / segment_name(now, socket.gethostname(), os.getpid(), secrets.token_hex(6))
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file).st_nlink:
                sync_folder(folder)
                return path, file
        except OSError:
            path.unlink(missing_ok=True)
            os.close(file)
            raise
        os.close(file)  # a compaction took it for an empty one before it was locked


def segment_name(now: datetime, host: str, pid: int, unique: str) -> str:
    """Names sort by start time; what follows keeps hosts and processes apart."""
    plain = re.sub(r"[^A-Za-z0-9_]", "_", host)[:64] or "host"
    return f"{now:%Y%m%dT%H%M%S%f}Z-{plain}-{pid}-{unique}{SUFFIX}"


def begun_at(name: str) -> datetime | None:
    """When a segment of this name was begun; None for a name of another kind."""
    moment = name.partition("-")[0]
    try:
        return datetime.strptime(moment, "%Y%m%dT%H%M%S%fZ").replace(tzinfo=UTC)
    except ValueError:
        return None


@contextlib.contextmanager
def held_if_finished(path: Path) -> Iterator[int | None]:
    """A file descriptor of a finished segment, locked; None while it is written or taken."""
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        yield None
        return
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            # Another compaction may have been through with it between opening and locking.
            yield file if os.fstat(file).st_nlink else None
    finally:
        os.close(file)


def lines_of(path: Path) -> Iterator[tuple[bytes, bool]]:
    """The lines of a segment, without line feeds, and whether each is whole.

    What comes after the last line feed is a line too: whoever wrote it died, or has not finished.
    Raises `FileNotFoundError` when the segment has been compacted meanwhile.
    """
    with path.open("rb") as file:
        rest = b""
        while block := file.read(READ):
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                yield line, is_whole(line)
    if rest:
        yield rest, False


def sync_folder(folder: Path) -> None:
    """New and removed names in a folder outlast a power cut from here on."""
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
