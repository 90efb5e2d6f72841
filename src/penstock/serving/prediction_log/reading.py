"""The log as one DuckDB relation: Parquet and open segments together.

Columns are those of `rows.Line`; `entities`, `features` and `event_times` are the text of JSON
(`features->>'name'`). What is being written is read up to its last whole line.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow as pa

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


ALL = Selection()


def predictions(
    folders: Sequence[Path],
    selection: Selection = ALL,
    connection: duckdb.DuckDBPyConnection | None = None,
) -> duckdb.DuckDBPyRelation:
    """The selected rows of some endpoints' logs, in no order.

    Segments are read at once, Parquet when the relation is. A folder that does not exist has no
    rows. Times show in UTC, unless another `connection` is given and set otherwise.
    """
    if connection is None:
        connection = duckdb.connect()
        connection.execute("SET TimeZone = 'UTC'")
    tables, files = [SCHEMA.empty_table()], []
    for folder in folders:
        read, compacted = _snapshot(LogFolder(folder), selection)
        tables += read
        files += compacted
    relation = connection.from_arrow(pa.concat_tables(tables))
    if files:
        names = [str(file) for file in files]
        stored = connection.from_parquet(names, hive_partitioning=False, union_by_name=True)
        # What was compacted by an older Penstock has fewer columns.
        there = set(stored.columns)
        columns = (name if name in there else f"NULL AS {name}" for name in SCHEMA.names)
        relation = relation.union(stored.project(", ".join(columns)))
    for condition in _conditions(selection):
        relation = relation.filter(condition)
    return relation


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


def _snapshot(log: LogFolder, selection: Selection) -> tuple[list[pa.Table], list[Path]]:
    """The rows of the segments, and the Parquet files of all other ones."""
    # As the lines have it: those without are not decoded, which takes most of the time.
    looked_for = msgspec.json.encode(selection.prediction_id or selection.release)[1:-1]
    while True:
        segments = log.list_segments()
        try:
            read = [read_segment(segment, looked_for).table for segment in segments]
        except FileNotFoundError:
            continue  # one was compacted after it was listed: it is Parquet now
        return read, list(_stored(log, {segment.stem for segment in segments}, selection))


def _stored(log: LogFolder, read: set[str], selection: Selection) -> Iterable[Path]:
    for file in log.list_parquet():
        date = file.parent.parent.name.removeprefix("date=")
        endpoint = file.parent.name.removeprefix("endpoint=")
        if (
            file.stem not in read
            and not (selection.since and date < f"{selection.since.astimezone(UTC):%Y-%m-%d}")
            and not (selection.until and date > f"{selection.until.astimezone(UTC):%Y-%m-%d}")
            and selection.endpoint in ("", endpoint)
        ):
            yield file


def _conditions(selection: Selection) -> Iterable[duckdb.Expression]:
    column, constant = duckdb.ColumnExpression, duckdb.ConstantExpression
    if selection.since is not None:
        yield column("arrived_at") >= constant(selection.since)
    if selection.until is not None:
        yield column("arrived_at") < constant(selection.until)
    for name in ("endpoint", "release", "prediction_id"):
        if value := getattr(selection, name):
            yield column(name) == constant(value)
