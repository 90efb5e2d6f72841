"""The vectors that were served, so that they can be computed again: one JSON line each.

A file a process and day in `.penstock/served/SERVICE/`; a line that a dying process left half
written is passed over.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple


class Served(NamedTuple):
    """One vector as it was served."""

    at: int  # nanoseconds since 1970, UTC
    keys: dict[str, Any]  # entity keys and what else came with the request
    features: dict[str, Any]


class ServedLog:
    """Writes a share of the served vectors, chosen at random."""

    def __init__(self, root: Path, service: str, share: float) -> None:
        self._folder = root / ".penstock" / "served" / service
        self._share = share
        self._day = ""
        self._file: Any = None

    def write(
        self, at: int, keys: Mapping[str, Sequence[Any]], features: Mapping[str, Sequence[Any]]
    ) -> None:
        """Some of the rows of one answer; all columns are of the same length."""
        if self._share <= 0:
            return
        count = len(next(iter(keys.values())))
        lines = [
            json.dumps([at, _row(keys, number), _row(features, number)], default=str)
            for number in range(count)
            if self._share >= 1 or random.random() < self._share
        ]
        if lines:
            self._today(at).write("".join(f"{line}\n" for line in lines))

    def _today(self, at: int) -> Any:
        day = f"{datetime.fromtimestamp(at / 1e9, UTC):%Y-%m-%d}"
        if day != self._day:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._day = day
            path = self._folder / f"{day}-{os.getpid()}.jsonl"
            self._file = path.open("a", encoding="utf-8", buffering=1)  # line by line
        return self._file


def served_since(root: Path, service: str, since: datetime) -> Iterator[Served]:
    """The vectors that were served from `since` on, process by process."""
    first = int(since.timestamp() * 1e9)
    for path in sorted((root / ".penstock" / "served" / service).glob("*.jsonl")):
        if path.name < f"{since:%Y-%m-%d}":
            continue
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                served = Served(*json.loads(line))
            except (ValueError, TypeError):
                continue
            if served.at >= first:
                yield served


def _row(columns: Mapping[str, Sequence[Any]], number: int) -> dict[str, Any]:
    return {name: column[number] for name, column in columns.items()}
