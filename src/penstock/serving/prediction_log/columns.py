"""Lines of the log as an Arrow table, as Parquet holds them and queries see them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from penstock.serving.prediction_log.rows import Line

NUMBERS = ("row_index", "request_rows", "rows_left_out", "status")
TIMES = ("parse_us", "features_us", "queue_us", "model_us", "total_us")
# Releases differ in their features: an object of names and values is kept as the text of JSON.
OBJECTS = frozenset({"entities", "features", "event_times"})


def _type_of(name: str) -> pa.DataType:
    if name == "arrived_at":
        return pa.timestamp("us", "UTC")
    if name == "output":
        return pa.list_(pa.float64())
    if name == "erased":
        return pa.bool_()
    if name in NUMBERS:
        return pa.int32()
    return pa.int64() if name in TIMES else pa.string()


SCHEMA = pa.schema([(name, _type_of(name)) for name in Line.__struct_fields__])


def table_of(lines: Sequence[Line]) -> pa.Table:
    """One row a line, in their order."""
    return pa.table([_column(name, lines) for name in SCHEMA.names], schema=SCHEMA)


def _column(name: str, lines: Sequence[Line]) -> pa.Array:
    values: list[Any] = [getattr(line, name) for line in lines]
    if name == "erased":
        return pa.nulls(len(values), pa.bool_())
    if name in OBJECTS:
        values = [_text(value) for value in values]
    return pa.array(values, SCHEMA.field(name).type)


def _text(value: Any) -> bytes | None:
    raw = bytes(value) if value is not None else b"null"
    return None if raw == b"null" else raw
