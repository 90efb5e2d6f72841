"""The log as one DuckDB relation: Parquet and open segments together, and what was shipped.

Columns are those of `rows.Line`; `entities`, `features` and `event_times` are the text of JSON
(`features->>'name'`). What is being written is read up to its last whole line.

Parts may be written anew by an erasure, or expire, while a query runs: `Reading` asks again then.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import duckdb
import msgspec
import pyarrow as pa

from penstock.errors import ConflictError
from penstock.serving.prediction_log.columns import OBJECTS, SCHEMA
from penstock.serving.prediction_log.compaction import read_segment
from penstock.serving.prediction_log.segments import LogFolder
from penstock.serving.prediction_log.shipped_reading import Part, ShippedLog


@dataclass(frozen=True)
class Selection:
    """Which rows are wanted; what is empty does not restrict them."""

    since: datetime | None = None
    until: datetime | None = None  # exclusive
    endpoint: str = ""
    release: str = ""
    prediction_id: str = ""
    parts: frozenset[str] | None = None  # names of segments; None: any


ALL = Selection()
TRIES = 100  # each takes as long as the query, and an erasure takes longer
T = TypeVar("T")


class Reading:
    """Selected rows of some logs, which can be asked again and again.

    They are as they were when they were asked first, but for parts that are written anew by an
    erasure, or expire: those are read as they are then.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        selection: Selection = ALL,
        connection: duckdb.DuckDBPyConnection | None = None,
        shipped: ShippedLog | None = None,
    ) -> None:
        self._folders, self._selection, self._shipped = folders, selection, shipped
        self._connection = connection or _connected()
        self._now: tuple[_Snapshot, duckdb.DuckDBPyRelation] | None = None

    def ask(self, question: Callable[[duckdb.DuckDBPyRelation], T]) -> T:
        """What a question gives, of parts that stayed as they were meanwhile.

        Nothing is missed, and nothing seen half: where a part was written anew or deleted while the
        question was answered, it is asked again. Raises `ConflictError` where that does not end,
        and `ResourceError` where what was shipped cannot be read.
        """
        for _ in range(TRIES):
            snapshot, rows = self._now = self._now or self._read()
            try:
                found = question(rows)
            except (duckdb.Error, OSError):  # the latter from rows that are read as Arrow
                if snapshot.stands():
                    raise
            else:
                if snapshot.stands():
                    return found
            self._now = None
        raise ConflictError(
            f"the prediction log was rewritten {TRIES} times while it was read",
            hint="an erasure is at work; ask again when it has ended",
        )

    @property
    def shipped_days(self) -> frozenset[date]:
        """The days of which there is something that this machine does not have."""
        snapshot, _ = self._now = self._now or self._read()
        return frozenset(part.day for part in snapshot.shipped)

    def _read(self) -> tuple[_Snapshot, duckdb.DuckDBPyRelation]:
        snapshot = _Snapshot.of(self._folders, self._selection, self._shipped)
        return snapshot, _relation(snapshot, self._selection, self._connection)


def answer(
    folders: Sequence[Path],
    selection: Selection,
    question: Callable[[duckdb.DuckDBPyRelation], T],
    connection: duckdb.DuckDBPyConnection | None = None,
) -> T:
    """What one question gives: see `Reading.ask`."""
    return Reading(folders, selection, connection).ask(question)


def predictions(
    folders: Sequence[Path],
    selection: Selection = ALL,
    connection: duckdb.DuckDBPyConnection | None = None,
) -> duckdb.DuckDBPyRelation:
    """The selected rows of some endpoints' logs, in no order.

    Segments are read at once, Parquet when the relation is: `Reading` does it safely. A folder that
    does not exist has no rows. Times show in UTC, unless another `connection` is given and set
    otherwise.
    """
    return _relation(_Snapshot.of(folders, selection), selection, connection or _connected())


def records(relation: duckdb.DuckDBPyRelation) -> list[dict[str, Any]]:
    """The rows as Python's own values: times in UTC, JSON decoded."""
    found: list[dict[str, Any]] = relation.to_arrow_table().to_pylist()
    for row in found:
        for name, value in row.items():
            if isinstance(value, datetime):
                row[name] = value.astimezone(UTC)
            elif name in OBJECTS and value is not None:
                row[name] = msgspec.json.decode(value)
    return found


@dataclass(frozen=True)
class _Snapshot:
    """The rows of the segments, and the Parquet files of all other ones: here, and shipped."""

    tables: tuple[pa.Table, ...]
    files: tuple[Path, ...]
    marks: tuple[tuple[int, ...], ...]  # of the files: which bytes are theirs
    log: ShippedLog | None = None
    shipped: tuple[Part, ...] = ()

    @classmethod
    def of(
        cls, folders: Sequence[Path], selection: Selection, log: ShippedLog | None = None
    ) -> _Snapshot:
        while True:
            parts = [_parts(LogFolder(folder), selection) for folder in folders]
            tables = tuple(table for one in parts for table in one.tables)
            files = tuple(file for one in parts for file in one.files)
            shipped = tuple(_elsewhere(log.parts(*_days(selection)), parts)) if log else ()
            # What expired after it was listed is among what was shipped, or it is gone.
            if (marks := _marks(files)) is not None:
                return cls(tables, files, marks, log, shipped)

    def stands(self) -> bool:
        """Whether every part is the one that it was."""
        if _marks(self.files) != self.marks:
            return False
        if not self.shipped or self.log is None:
            return True
        days = [part.day for part in self.shipped]
        return set(self.shipped) <= set(self.log.parts(min(days), max(days)))


def _connected() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def _relation(
    snapshot: _Snapshot, selection: Selection, connection: duckdb.DuckDBPyConnection
) -> duckdb.DuckDBPyRelation:
    relation = connection.from_arrow(pa.concat_tables([SCHEMA.empty_table(), *snapshot.tables]))
    if snapshot.files:
        names = [str(file) for file in snapshot.files]
        stored = connection.from_parquet(names, hive_partitioning=False, union_by_name=True)
        # What was compacted by an older Penstock has fewer columns.
        there = set(stored.columns)
        columns = (name if name in there else f"NULL AS {name}" for name in SCHEMA.names)
        relation = relation.union(stored.project(", ".join(columns)))
    if snapshot.log and snapshot.shipped:
        relation = relation.union(connection.from_arrow(snapshot.log.rows(snapshot.shipped)))
    for condition in _conditions(selection):
        relation = relation.filter(condition)
    return relation


def _marks(files: Iterable[Path]) -> tuple[tuple[int, ...], ...] | None:
    """None where one is gone."""
    try:
        seen = [os.stat(file) for file in files]
    except FileNotFoundError:
        return None
    return tuple((one.st_ino, one.st_mtime_ns, one.st_size) for one in seen)


class _Parts(NamedTuple):
    """Of one folder."""

    segments: tuple[str, ...]  # their names
    tables: tuple[pa.Table, ...]  # and rows
    files: tuple[Path, ...]  # Parquet of other ones


def _parts(log: LogFolder, selection: Selection) -> _Parts:
    # As the lines have it: those without are not decoded, which takes most of the time.
    looked_for = msgspec.json.encode(selection.prediction_id or selection.release)[1:-1]
    while True:
        segments = [one for one in log.list_segments() if _wanted(one, selection)]
        try:
            read = tuple(read_segment(segment, looked_for).table for segment in segments)
        except FileNotFoundError:
            continue  # one was compacted after it was listed: it is Parquet now
        names = tuple(segment.stem for segment in segments)
        return _Parts(names, read, tuple(_stored(log, names, selection)))


def _elsewhere(shipped: Iterable[Part], here: Iterable[_Parts]) -> Iterable[Part]:
    """What is neither a segment nor a Parquet file here."""
    segments = {name for one in here for name in one.segments}
    files = {(file.parent.parent.name, file.stem) for one in here for file in one.files}
    for part in shipped:
        if part.segment not in segments and (f"date={part.day}", part.segment) not in files:
            yield part


def _stored(log: LogFolder, read: Collection[str], selection: Selection) -> Iterable[Path]:
    for file in log.list_parquet(*_days(selection)):
        endpoint = file.parent.name.removeprefix("endpoint=")
        if (
            file.stem not in read
            and _wanted(file, selection)
            and selection.endpoint in ("", endpoint)
        ):
            yield file


def _days(selection: Selection) -> tuple[date, date]:
    """In UTC, both included."""
    since = selection.since.astimezone(UTC).date() if selection.since else date.min
    until = selection.until.astimezone(UTC).date() if selection.until else date.max
    return since, until


def _wanted(part: Path, selection: Selection) -> bool:
    return selection.parts is None or part.stem in selection.parts


def _conditions(selection: Selection) -> Iterable[duckdb.Expression]:
    column, constant = duckdb.ColumnExpression, duckdb.ConstantExpression
    if selection.since is not None:
        yield column("arrived_at") >= constant(selection.since)
    if selection.until is not None:
        yield column("arrived_at") < constant(selection.until)
    for name in ("endpoint", "release", "prediction_id"):
        if value := getattr(selection, name):
            yield column(name) == constant(value)
