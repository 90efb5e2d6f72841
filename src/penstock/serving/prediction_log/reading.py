"""The log as one DuckDB relation: Parquet and open segments together.

Columns are those of `rows.Line`; `entities`, `features` and `event_times` are the text of JSON
(`features->>'name'`). What is being written is read up to its last whole line.

Parts may be written anew by an erasure, or expire, while a query runs: `answer` asks again then.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import msgspec
import pyarrow as pa

from penstock.errors import ConflictError
from penstock.serving.prediction_log.columns import OBJECTS, SCHEMA
from penstock.serving.prediction_log.compaction import read_segment
from penstock.serving.prediction_log.segments import LogFolder


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


def answer(
    folders: Sequence[Path],
    selection: Selection,
    question: Callable[[duckdb.DuckDBPyRelation], T],
    connection: duckdb.DuckDBPyConnection | None = None,
) -> T:
    """What a question about `predictions` gives, of parts that stayed as they were meanwhile.

    Nothing is missed, and nothing seen half: where a part was written anew or deleted while the
    question was answered, it is asked again. Raises `ConflictError` where that does not end.
    """
    for _ in range(TRIES):
        before = _Snapshot.of(folders, selection)
        try:
            found = question(_relation(before, selection, connection))
        except duckdb.Error:
            if before.stands():
                raise
            continue
        if before.stands():
            return found
    raise ConflictError(
        f"the prediction log was rewritten {TRIES} times while it was read",
        hint="an erasure is at work; ask again when it has ended",
    )


def predictions(
    folders: Sequence[Path],
    selection: Selection = ALL,
    connection: duckdb.DuckDBPyConnection | None = None,
) -> duckdb.DuckDBPyRelation:
    """The selected rows of some endpoints' logs, in no order.

    Segments are read at once, Parquet when the relation is: `answer` does it safely. A folder that
    does not exist has no rows. Times show in UTC, unless another `connection` is given and set
    otherwise.
    """
    return _relation(_Snapshot.of(folders, selection), selection, connection)


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
    """The rows of the segments, and the Parquet files of all other ones."""

    tables: tuple[pa.Table, ...]
    files: tuple[Path, ...]
    marks: tuple[tuple[int, ...], ...]  # of the files: which bytes are theirs

    @classmethod
    def of(cls, folders: Sequence[Path], selection: Selection) -> _Snapshot:
        while True:
            parts = [_parts(LogFolder(folder), selection) for folder in folders]
            tables = tuple(table for read, _ in parts for table in read)
            files = tuple(file for _, compacted in parts for file in compacted)
            if (marks := _marks(files)) is not None:
                return cls(tables, files, marks)

    def stands(self) -> bool:
        """Whether every file is the one that it was."""
        return _marks(self.files) == self.marks


def _relation(
    snapshot: _Snapshot, selection: Selection, connection: duckdb.DuckDBPyConnection | None
) -> duckdb.DuckDBPyRelation:
    if connection is None:
        connection = duckdb.connect()
        connection.execute("SET TimeZone = 'UTC'")
    relation = connection.from_arrow(pa.concat_tables([SCHEMA.empty_table(), *snapshot.tables]))
    if snapshot.files:
        names = [str(file) for file in snapshot.files]
        stored = connection.from_parquet(names, hive_partitioning=False, union_by_name=True)
        # What was compacted by an older Penstock has fewer columns.
        there = set(stored.columns)
        columns = (name if name in there else f"NULL AS {name}" for name in SCHEMA.names)
        relation = relation.union(stored.project(", ".join(columns)))
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


def _parts(log: LogFolder, selection: Selection) -> tuple[list[pa.Table], list[Path]]:
    # As the lines have it: those without are not decoded, which takes most of the time.
    looked_for = msgspec.json.encode(selection.prediction_id or selection.release)[1:-1]
    while True:
        segments = [one for one in log.list_segments() if _wanted(one, selection)]
        try:
            read = [read_segment(segment, looked_for).table for segment in segments]
        except FileNotFoundError:
            continue  # one was compacted after it was listed: it is Parquet now
        return read, list(_stored(log, {segment.stem for segment in segments}, selection))


def _stored(log: LogFolder, read: set[str], selection: Selection) -> Iterable[Path]:
    since = selection.since.astimezone(UTC).date() if selection.since else date.min
    until = selection.until.astimezone(UTC).date() if selection.until else date.max
    for file in log.list_parquet(since, until):
        endpoint = file.parent.name.removeprefix("endpoint=")
        if (
            file.stem not in read
            and _wanted(file, selection)
            and selection.endpoint in ("", endpoint)
        ):
            yield file


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
