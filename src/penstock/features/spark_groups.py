"""What Spark's workers do with rows, group by group; tables travel as Arrow streams in bytes.

Every worker process imports this module. Nothing here imports Feast or Spark, which would take it
several times as long as its work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from penstock.features.definition import ViewDefinition
from penstock.features.facts import Facts
from penstock.features.history import joined_table
from penstock.features.materialise import Filling
from penstock.features.partitions import POSITION, part_of

BUCKET, PAYLOAD = "__bucket", "__payload"
UNLIMITED = 2**62  # bytes: a group is in memory already

Batches = Iterator[pa.RecordBatch]


def bucketing(keys: Sequence[str], schema: pa.Schema, parts: int) -> Callable[[Batches], Batches]:
    """Adds to each row the number of its group."""

    def bucketed(batches: Batches) -> Batches:
        for batch in batches:
            table = pa.Table.from_batches([batch])
            columns = [table[key].cast(schema.field(key).type) for key in keys]
            part = part_of(columns, parts) if keys else np.zeros(len(table))
            numbers = pa.array(part.astype(np.int32))
            yield from table.append_column(BUCKET, numbers).to_batches()

    return bucketed


def joining(view: ViewDefinition, schema: pa.Schema) -> Callable[[pa.Table, pa.Table], pa.Table]:
    """The features of a group at the times that are asked of it."""

    def join(left: pa.Table, right: pa.Table) -> pa.Table:
        if not len(left):
            return pa.table({PAYLOAD: pa.array([], pa.binary())})
        question, facts = unpacked(left[PAYLOAD][0].as_py()), _as_facts(right, schema)
        answer = joined_table(view, facts, question.drop_columns(POSITION), UNLIMITED)
        return pa.table({PAYLOAD: [packed(answer.append_column(POSITION, question[POSITION]))]})

    return join


def filling(
    asked: Filling, schema: pa.Schema, *, finished: bool
) -> Callable[[tuple[Any, ...], pa.Table], pa.Table]:
    """What the online store is given of a group."""
    view, start, end = asked.view, asked.start, asked.end

    def fill(_: tuple[Any, ...], rows: pa.Table) -> pa.Table:
        there = Filling(view, _as_facts(rows, schema), start, end)
        made = [packed(table) for table in there.written(UNLIMITED, finished=finished)]
        return pa.table({PAYLOAD: pa.array(made, pa.binary())})

    return fill


def changing(change: Callable[[Any], Any], schema: pa.Schema) -> Callable[[Batches], Batches]:
    """A transformation of rows that have this schema in their files."""

    def changed(batches: Batches) -> Batches:
        for batch in batches:
            table = _cast(pa.Table.from_batches([batch]), schema)
            yield from for_spark(change(table.to_reader()).read_all()).to_batches()

    return changed


def for_spark(table: pa.Table) -> pa.Table:
    """In types that Spark has: times of nanoseconds as integers."""
    columns = {}
    for name in table.column_names:
        column = table[name]
        if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
            column = column.cast(pa.int64())
        columns[name] = column
    return pa.table(columns)


def packed(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    found: bytes = sink.getvalue().to_pybytes()
    return found


def unpacked(stream: bytes) -> pa.Table:
    return pa.ipc.open_stream(stream).read_all()


def none_of(schema: pa.Schema) -> Facts:
    """A group without a row."""
    return Facts("a group", ds.dataset(schema.empty_table()), {name: name for name in schema.names})


def _as_facts(rows: pa.Table, schema: pa.Schema) -> Facts:
    """A group's rows in their order, in the types that the files have."""
    order = np.argsort(rows[POSITION].to_numpy())
    table = _cast(rows.select(schema.names), schema).take(order)
    return Facts("a group", ds.dataset(table), {name: name for name in schema.names})


def _cast(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Back into the types before Spark: integers that were times are times again."""
    return pa.table(
        {field.name: _time(table[field.name], field.type).cast(field.type) for field in schema}
    )


def _time(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """Spark calls a time without a zone local or UTC as it was written; the files say which."""
    if pa.types.is_timestamp(kind) and pa.types.is_timestamp(column.type):
        return column.cast(pa.timestamp(column.type.unit, kind.tz))
    return column
