"""Entity keys as small numbers, equal where all parts of the key are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from penstock.errors import DataError

Ints = NDArray[np.int64]


def encode(
    asked: Sequence[pa.ChunkedArray], facts: Sequence[pa.ChunkedArray], sizes: tuple[int, int]
) -> tuple[Ints, Ints, int]:
    """The number of each row's key, in rows asked and in facts, and how many there may be.

    -1 where a part is null. `sizes` are the numbers of rows, for keys of no columns: all rows are
    then of one entity. Columns of a pair have one type.
    """
    codes = np.zeros(sum(sizes), dtype=np.int64)
    missing = np.zeros(sum(sizes), dtype=bool)
    count = 1
    for left, right in zip(asked, facts, strict=True):
        column = pa.chunked_array([*left.chunks, *right.chunks], type=right.type)
        part, null, values = _numbered(column, sum(sizes))
        missing |= null
        codes, count = _combined(codes, count, part, values)
    codes[missing] = -1
    return codes[: sizes[0]], codes[sizes[0] :], count


def _numbered(column: pa.ChunkedArray, rows: int) -> tuple[Ints, NDArray[np.bool_], int]:
    """A number for each value, which are null, and how many numbers there may be."""
    null: NDArray[np.bool_] = (
        column.is_null().to_numpy() if column.null_count else np.zeros(rows, dtype=bool)
    )
    if pa.types.is_signed_integer(column.type):
        values = column.fill_null(0).to_numpy().astype(np.int64, copy=False)
        low, high = int(values.min(initial=0)), int(values.max(initial=0))
        if high - low < 4 * rows + 1024:  # so close together that a table numbers them
            values = values - low
            present = np.zeros(high - low + 1, dtype=np.int64)
            present[values] = 1
            dense = np.cumsum(present)
            return dense[values] - 1, null, int(dense[-1])
    encoded = column.dictionary_encode().unify_dictionaries().combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.chunk(0) if encoded.num_chunks else None
    if encoded is None:
        return np.zeros(rows, dtype=np.int64), null, 1
    codes = encoded.indices.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    return codes, null, max(1, len(encoded.dictionary))


def _combined(codes: Ints, count: int, part: Ints, values: int) -> tuple[Ints, int]:
    """Pairs of numbers as one; numbered afresh where they would grow too large."""
    if count == 1:
        return part, values
    codes = codes * values + part
    if count * values <= 4 * len(codes) + 1024:
        return codes, count * values
    _, dense = np.unique(codes, return_inverse=True)
    return dense.astype(np.int64), int(dense.max(initial=0)) + 1


def comparable(column: pa.ChunkedArray, kind: pa.DataType, name: str) -> pa.ChunkedArray:
    """A key as the source has it. Text is never read as a number, nor the other way round."""
    if pa.types.is_null(column.type) or _is_text(column.type) == _is_text(kind):
        try:
            return column.cast(kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            pass
    raise DataError(
        f"the key {name!r} is {column.type} in the rows asked about and {kind} in the source",
        hint="give it one type in labels() and in the source",
    )


def comparable_keys(
    asked: pa.Table, facts: pa.Table, keys: Mapping[str, str]
) -> tuple[Ints, Ints, int]:
    """`encode` for columns of tables; `keys` maps those of `asked` to those of `facts`."""
    left = [
        comparable(asked[name], facts.schema.field(key).type, name) for name, key in keys.items()
    ]
    return encode(left, [facts[key] for key in keys.values()], (len(asked), len(facts)))


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def nanoseconds(table: pa.Table, name: str) -> tuple[Ints, NDArray[np.bool_]]:
    """A column of times since 1970, UTC, and which of them are null.

    Raises `DataError` for times that nanoseconds cannot hold.
    """
    column = table[name]
    if pa.types.is_null(column.type):
        return np.zeros(len(column), dtype=np.int64), np.ones(len(column), dtype=bool)
    try:
        zone = getattr(column.type, "tz", None)
        times = column.cast(pa.timestamp("ns", zone)).cast(pa.int64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"the column {name!r} cannot be read as times: {error}",
            hint="it must hold timestamps from 1678 to 2261",
        ) from error
    null = pc.is_null(times).to_numpy() if times.null_count else np.zeros(len(times), dtype=bool)
    return times.fill_null(0).to_numpy(), null


UNITS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


def unit_of(table: pa.Table, *names: str) -> int:
    """How many nanoseconds the times of some columns are multiples of."""
    kinds = [table.schema.field(name).type for name in names if name]
    return min(UNITS[kind.unit] if pa.types.is_timestamp(kind) else 1 for kind in kinds)
