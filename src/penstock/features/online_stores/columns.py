"""Arrow columns as lists of stored values, a column at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from feast.type_map import python_values_to_proto_values

from penstock.errors import DataError
from penstock.features.online_stores.values import NOT_A_TIME, ValueCodec

ARROW = {
    "BYTES": pa.binary(),
    "PDF_BYTES": pa.binary(),
    "IMAGE_BYTES": pa.binary(),
    "STRING": pa.string(),
    "INT32": pa.int32(),
    "INT64": pa.int64(),
    "DOUBLE": pa.float64(),
    "FLOAT": pa.float32(),
    "BOOL": pa.bool_(),
}


def stored_column(column: pa.ChunkedArray | pa.Array, codec: ValueCodec, what: str) -> list[Any]:
    """What rows hold for the values of a column: null and NaN are missing.

    `what` names the column in errors. Raises `DataError` where a value is not of the Feast type.
    """
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    try:
        return _stored(column, codec)
    except (pa.ArrowException, TypeError, ValueError, AssertionError, OverflowError) as error:
        first = (str(error).splitlines() or ["conversion failed"])[0]
        raise DataError(
            f"{what} is a {column.type}, which does not fit its Feast type {codec.kind.name}: "
            f"{first}",
            hint="correct the type in features.py, or cast the column in the source",
        ) from error


def _stored(column: pa.Array, codec: ValueCodec) -> list[Any]:
    name = codec.kind.name
    if name == "UNIX_TIMESTAMP" and pa.types.is_temporal(column.type):
        return list(whole_seconds(column).to_pylist())
    if name in ARROW and not pa.types.is_nested(column.type):
        return _scalars(column, ARROW[name])
    base = name.removesuffix("_LIST")
    known = name.endswith("_LIST") and (base in ARROW or base == "UNIX_TIMESTAMP")
    inner = _list_values(column) if known else None
    if inner is not None and not inner.null_count:
        return _lists(column, base)
    # Feast's own conversion, as its stock materialisation does it.
    values = column.to_pylist() if pa.types.is_nested(column.type) else _numpy(column)
    return [codec.stored(proto) for proto in python_values_to_proto_values(values, codec.kind)]


def _numpy(column: pa.Array) -> Any:
    return column.to_numpy(zero_copy_only=False)


def _scalars(column: pa.Array, kind: pa.DataType) -> list[Any]:
    # Whole numbers need not be exact as floats; all else must fit.
    values = column.cast(kind, safe=not pa.types.is_floating(kind))
    if pa.types.is_floating(kind):
        return _floats(values)
    if pa.types.is_integer(kind) and not values.null_count:
        return list(_numpy(values).tolist())
    return list(values.to_pylist())


def _floats(values: pa.Array) -> list[float | None]:
    numbers = _numpy(values.fill_null(np.nan))
    found: list[float | None] = numbers.tolist()
    for place in np.flatnonzero(np.isnan(numbers)):
        found[place] = None
    return found


def _list_values(column: pa.Array) -> pa.Array | None:
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return column.flatten() if any(test(column.type) for test in lists) else None


def _lists(column: pa.Array, base: str) -> list[Any]:
    if base == "UNIX_TIMESTAMP":
        if pa.types.is_temporal(column.type.value_type):
            column = column.cast(pa.list_(pa.timestamp("s")), safe=False)
        column = column.cast(pa.list_(pa.int64()))
    else:
        column = column.cast(pa.list_(ARROW[base]), safe=base not in ("FLOAT", "DOUBLE"))
    return list(column.to_pylist())


def whole_seconds(column: pa.Array) -> pa.Array:
    """Times as whole seconds since 1970, rounded down, which is all that Feast's values hold."""
    if not pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("ms"))
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[column.type.unit]
    whole = column.cast(pa.int64())
    seconds = pa.array(_numpy(whole.fill_null(0)) // per_second)
    return pc.if_else(whole.is_valid(), seconds, pa.scalar(None, pa.int64()))


def nanoseconds(column: pa.ChunkedArray | pa.Array, what: str) -> np.ndarray[Any, Any]:
    """Times as int64 nanoseconds since 1970, UTC; a missing one is the least integer.

    Raises `DataError` for a column that holds no times, or some beyond 1677 to 2262.
    """
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    try:
        if not pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("us"))
        zone = column.type.tz
        whole = column.cast(pa.timestamp("ns", zone)).cast(pa.int64()).fill_null(NOT_A_TIME)
        return np.asarray(_numpy(whole), dtype=np.int64)
    except pa.ArrowException as error:
        raise DataError(
            f"{what} holds no times of the years 1678 to 2261: {str(error).splitlines()[0]}",
            hint="correct the column in the source; times without a zone are UTC",
        ) from error
