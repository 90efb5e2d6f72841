"""Rows in LMDB: a memory-mapped file, read by any number of processes and written by one at a time.

In feature_store.yaml:

    online_store:
      type: penstock.features.online_stores.lmdb.LmdbOnlineStore
      path: online        # a folder, relative to that of feature_store.yaml

Readers take no locks and see a write as soon as it is committed; where the file was deleted or
replaced, they find out within a tenth of a second. The folder must be on a local disk, as LMDB
asks. Loaded as a Feast plugin only.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from feast.repo_config import FeastConfigBaseModel, RepoConfig

from penstock.errors import PenstockError, ResourceError
from penstock.features.online_stores.backend import Combine, Row
from penstock.features.online_stores.store import PackedOnlineStore

MAP_SIZE = 2**38  # address space, not memory or disk: the file grows as it is filled
MAX_READERS = 1024
LONGEST_KEY = 511 - 16  # LMDB's own limit, less what leads each key
NOTES = bytes(16)  # leads the keys of notes

FILLING = "~filling"  # the space of zeros that overwrite free pages
PAGE_HEADER = 16  # bytes
FEWEST_FILLED, MOST_FILLED = 32, 4096  # pages of one transaction

MOST_OPENED = 64  # files of one process, for whose maps there is not address space without end
LOOKED_AFTER = 0.1  # seconds that a reader may take an opened file for the one in the folder


@dataclass(slots=True)
class _Opened:
    """An LMDB environment, and which file that is."""

    environment: Any
    file: tuple[int, int]  # device and inode
    looked: float  # when the folder was last found to hold that file; as `time.monotonic`


_opened: dict[str, _Opened] = {}  # by folder: py-lmdb opens none twice in one process
_opening = threading.Lock()


def _close_all() -> None:
    """Before a fork, as LMDB forbids its use on both sides; either opens it again when it reads.

    Closing it in the child instead would free the places of the parent's readers in LMDB's table.
    """
    _opening.acquire()
    while _opened:
        _opened.popitem()[1].environment.close()


os.register_at_fork(
    before=_close_all, after_in_parent=_opening.release, after_in_child=_opening.release
)


class LmdbOnlineStoreConfig(FeastConfigBaseModel):
    """`path`: a folder, relative to that of feature_store.yaml."""

    type: Literal["penstock.features.online_stores.lmdb.LmdbOnlineStore"] = (
        "penstock.features.online_stores.lmdb.LmdbOnlineStore"
    )
    path: str = "online"


class LmdbOnlineStore(PackedOnlineStore):
    """One packed row an entity and view in an embedded LMDB."""

    def open_rows(self, config: RepoConfig) -> LmdbRows:
        path = Path(config.online_store.path)
        return LmdbRows(path if path.is_absolute() else Path(config.repo_path or ".") / path)


class LmdbRows:
    """A `RowStore` in a folder."""

    remote = False

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder.resolve())
        self._prefixes: dict[str, bytes] = {}

    def read_many(self, asked: Sequence[tuple[str, Sequence[bytes | None]]]) -> list[list[Row]]:
        try:
            return self._read(asked)
        except Exception as error:
            import lmdb

            if not isinstance(error, lmdb.Error):
                raise
        with self._asking():  # once more: another thread may have forked just then
            return self._read(asked)

    def _read(self, asked: Sequence[tuple[str, Sequence[bytes | None]]]) -> list[list[Row]]:
        begun = self._environment(LOOKED_AFTER).begin()
        try:
            get = begun.get
            found: list[list[Row]] = []
            for space, keys in asked:
                prefix = self._prefixes.get(space) or self._prefix(space)
                found.append(
                    [
                        None
                        if key is None
                        else get(prefix + (key if len(key) <= LONGEST_KEY else short(key)))
                        for key in keys
                    ]
                )
            return found
        finally:
            begun.abort()

    def merge(self, space: str, keys: Sequence[bytes], combine: Combine) -> None:
        prefix = self._prefix(space)
        places = [prefix + short(key) for key in keys]
        # In the order of the keys, so that pages of the tree are visited once.
        order = sorted(range(len(places)), key=places.__getitem__)
        with self._writing() as writing:
            old = [writing.get(places[i]) for i in order]
            for i, row in zip(order, combine(order, old), strict=True):
                if row is not None:
                    writing.put(places[i], row)

    def delete(self, space: str, keys: Sequence[bytes]) -> int:
        prefix, there = self._prefix(space), 0
        with self._writing() as writing:
            for place in (prefix + short(key) for key in keys):
                if (row := writing.get(place)) is not None:
                    # Zeros take its place in the page first: a deleted row's bytes would stay.
                    writing.put(place, bytes(len(row)))
                    there += writing.delete(place)
        if there:
            self._overwrite_free_pages()
        return there

    def _overwrite_free_pages(self) -> None:
        """LMDB writes to new pages and frees the old, with whatever they hold.

        Zeros of a page each take them, until the file has to grow for more; then they go. What a
        transaction frees, the next but one may take.
        """
        prefix, number, count = self._prefix(FILLING), 0, FEWEST_FILLED
        while True:
            environment = self._environment()
            before = environment.info()["last_pgno"]
            with self._writing() as writing:
                page = bytes(environment.stat()["psize"] - PAGE_HEADER)
                for _ in range(count):
                    writing.put(prefix + number.to_bytes(8), page)
                    number += 1
            grown = environment.info()["last_pgno"] - before
            if number >= 3 * FEWEST_FILLED and grown >= count:
                break
            count = min(count * 2, MOST_FILLED)
        self.drop(FILLING)

    def drop(self, space: str) -> None:
        prefix = self._prefix(space)
        with self._writing() as writing:
            cursor = writing.cursor()
            there = cursor.set_range(prefix)
            while there and cursor.key().startswith(prefix):
                there = cursor.delete()
            writing.delete(NOTES + prefix)

    def require_lasting(self) -> None:
        """It keeps what it has."""

    def get_note(self, space: str) -> Row:
        with self._asking(), self._environment().begin() as begun:
            note: Row = begun.get(NOTES + self._prefix(space))
            return note

    def put_note(self, space: str, note: bytes) -> None:
        with self._writing() as writing:
            writing.put(NOTES + self._prefix(space), note)

    def teardown(self) -> None:
        """Empties the file, which stays: other processes may have it open."""
        with self._writing() as writing:
            writing.drop(self._environment(float("inf")).open_db(txn=writing), delete=False)

    def _prefix(self, space: str) -> bytes:
        """Leads the keys of a space; 128 bits of a hash, so no two spaces share one."""
        if space not in self._prefixes:
            self._prefixes[space] = hashlib.sha256(space.encode()).digest()[:16]
        return self._prefixes[space]

    def _environment(self, patience: float = 0.0) -> Any:
        """That of the file in the folder, as it was at most so many seconds ago."""
        there = _opened.get(self._folder)
        if there is not None and time.monotonic() - there.looked < patience:
            return there.environment
        with _opening:
            there = _opened.get(self._folder)
            if there is None or there.file != self._file():
                # The old one is not closed, as others may read it: it is when the last is done.
                there = _opened[self._folder] = self._open()
                if len(_opened) > MOST_OPENED:
                    del _opened[next(iter(_opened))]
            there.looked = time.monotonic()
            return there.environment

    def _file(self) -> tuple[int, int] | None:
        try:
            about = os.stat(f"{self._folder}/data.mdb")
        except OSError:
            return None
        return about.st_dev, about.st_ino

    def _open(self) -> _Opened:
        import lmdb

        try:
            Path(self._folder).mkdir(parents=True, exist_ok=True)
            # Without metasync the last commit may be lost with the power, never the file.
            environment = lmdb.open(
                self._folder,
                map_size=MAP_SIZE,
                max_readers=MAX_READERS,
                metasync=False,
                max_spare_txns=1,
            )
            environment.reader_check()  # frees what killed readers hold on to
        except (lmdb.Error, OSError) as error:
            raise self._refused(error) from error
        about = os.stat(f"{self._folder}/data.mdb")
        return _Opened(environment, (about.st_dev, about.st_ino), 0.0)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Any]:
        with self._asking(), self._environment().begin(write=True) as writing:
            yield writing

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        import lmdb

        try:
            yield
        except PenstockError:
            raise
        except (lmdb.Error, OSError) as error:
            raise self._refused(error) from error

    def _refused(self, error: Exception) -> ResourceError:
        return ResourceError(
            f"the online store in {self._folder} cannot be used: {error}",
            hint="is the disk full, or the folder not yours to write, or on a network?",
        )


def short(key: bytes) -> bytes:
    """A key that LMDB takes: itself, or the SHA-256 of one too long for it."""
    return key if len(key) <= LONGEST_KEY else b"#" + hashlib.sha256(key).digest()
