"""Reads the services' logs: the last lines, and those that come."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

POLL = 0.2  # seconds


def last_lines(log: Path, count: int) -> list[str]:
    """Also from the file that was begun before this one, where this one has too few."""
    found: deque[str] = deque(maxlen=count)
    for file in (log.with_name(f"{log.name}.1"), log):
        if file.is_file():
            with file.open(encoding="utf-8", errors="replace") as stream:
                found.extend(line.rstrip("\n") for line in stream)
    return list(found)


def follow(logs: Mapping[str, Path], ended: threading.Event) -> Iterator[tuple[str, str]]:
    """Each whole line that is written from now on, with the name of its log."""
    tails = {name: _Tail(path) for name, path in logs.items()}
    while not ended.is_set():
        for name, tail in tails.items():
            yield from ((name, line) for line in tail.new())
        ended.wait(POLL)


class _Tail:
    """A log from its present end on, through its rotation."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream: IO[bytes] | None = None
        self._part = b""
        self._open(at_end=True)

    def new(self) -> Iterator[str]:
        yield from self._read()
        if self._stream is None or self._is_another():
            self._open(at_end=False)
            yield from self._read()

    def _read(self) -> Iterator[str]:
        if self._stream is None:
            return
        *whole, self._part = (self._part + self._stream.read()).split(b"\n")
        yield from (line.decode(errors="replace") for line in whole)

    def _open(self, *, at_end: bool) -> None:
        if self._path.is_file():
            if self._stream is not None:
                self._stream.close()
            self._stream = self._path.open("rb")
            self._stream.seek(0, 2 if at_end else 0)

    def _is_another(self) -> bool:
        assert self._stream is not None
        try:
            return not self._path.samefile(f"/proc/self/fd/{self._stream.fileno()}")
        except OSError:  # between two files
            return False
