"""Events of many entities as columns, and as the sections of a row that hold them.

A column is kept in one of a few storage types, each with a letter: d float64 (null is NaN, as both
are missing), q int64, o bool, s text, y bytes, S M U N times in s, ms, us, ns, D days. Nested
values, of which only the presence can be counted, are kept as bools.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock.errors import DataError

Ints = np.ndarray[Any, np.dtype[np.int64]]
SOURCE, PUSHED = 0, 1  # where an event comes from
STORED = {
    "d": pa.float64(),
    "q": pa.int64(),
    "o": pa.bool_(),
    "s": pa.string(),
    "y": pa.binary(),
    "S": pa.timestamp("s", "UTC"),
    "M": pa.timestamp("ms", "UTC"),
    "U": pa.timestamp("us", "UTC"),
    "N": pa.timestamp("ns", "UTC"),
    "D": pa.date32(),
}
WHOLE = "qSMUND"  # held as int64
UNITS = {"s": "S", "ms": "M", "us": "U", "ns": "N"}


@dataclass(frozen=True)
class Events:
    """Events by entity, which is a number among those at hand."""

    entity: Ints
    happened: Ints  # nanoseconds since 1970
    created: Ints  # NEVER where it is not known
    origin: np.ndarray[Any, np.dtype[np.uint8]]
    columns: Mapping[str, pa.Array]  # of storage types

    def __len__(self) -> int:
        return len(self.entity)

    def take(self, places: Any) -> Events:
        """Some of the events, by mask or by number."""
        if places.dtype == bool:
            if places.all():
                return self
            places = np.flatnonzero(places)
        chosen = pa.array(places)
        return Events(
            self.entity[places],
            self.happened[places],
            self.created[places],
            self.origin[places],
            {name: column.take(chosen) for name, column in self.columns.items()},
        )

    def followed_by(self, others: Events) -> Events:
        if not len(self):
            return others
        columns = {
            name: pa.concat_arrays([self.columns[name].cast(column.type, safe=False), column])
            for name, column in others.columns.items()
        }
        return Events(
            np.concatenate([self.entity, others.entity]),
            np.concatenate([self.happened, others.happened]),
            np.concatenate([self.created, others.created]),
            np.concatenate([self.origin, others.origin]),
            columns,
        )

    def in_order(self) -> Events:
        """By entity, happened, created (unknown first); of equal ones the source's first, then as
        they came.
        """
        order = np.lexsort((self.origin, self.created, self.happened, self.entity))
        if (order[1:] > order[:-1]).all():
            return self
        return self.take(order)

    def bounds(self, entities: int) -> Ints:
        """Where each entity begins in events that are in order, and at last their number."""
        return np.searchsorted(self.entity, np.arange(entities + 1))


def storage_letter(kind: pa.DataType) -> str:
    test = pa.types
    if test.is_floating(kind) or test.is_decimal(kind):
        return "d"
    if test.is_integer(kind) or test.is_duration(kind) or test.is_time(kind):
        return "q"
    if test.is_string(kind) or test.is_large_string(kind):
        return "s"
    if test.is_binary(kind) or test.is_large_binary(kind) or test.is_fixed_size_binary(kind):
        return "y"
    if test.is_timestamp(kind):
        return UNITS[kind.unit]
    return "D" if test.is_date(kind) else "o"


def as_stored(column: pa.ChunkedArray, what: str) -> pa.Array:
    """A column in its storage type. Raises `DataError` for integers beyond 64 bits."""
    array = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    letter = storage_letter(array.type)
    if letter == "o" and not pa.types.is_boolean(array.type):
        return pc.if_else(array.is_valid(), True, pa.scalar(None, pa.bool_()))
    if letter == "q" and not pa.types.is_integer(array.type):
        array = array.cast(pa.int32() if array.type.bit_width == 32 else pa.int64())
    try:
        stored = array.cast(STORED[letter], safe=letter != "d")
    except pa.ArrowException as error:
        raise DataError(
            f"{what} cannot be kept online: {str(error).splitlines()[0]}",
            hint="cast the column to float64 in a transformation",
        ) from error
    return stored.fill_null(np.nan) if letter == "d" else stored


def sections_of(column: pa.Array, bounds: Ints) -> list[bytes]:
    """A column's values of each entity as bytes; the events are in order."""
    letter = storage_letter(column.type)
    edges = bounds.tolist()
    spans = list(pairwise(edges))
    if letter in "sy":
        return _texts(column, spans)
    if letter == "o":
        held = column.cast(pa.uint8()).fill_null(2).to_numpy().tobytes()
        return [held[a:b] for a, b in spans]
    if letter == "d":
        held = column.to_numpy().tobytes()
        return [held[8 * a : 8 * b] for a, b in spans]
    whole = column.cast(pa.int32()).cast(pa.int64()) if letter == "D" else column.cast(pa.int64())
    held = whole.fill_null(0).to_numpy().tobytes()
    if not column.null_count:
        return [held[8 * a : 8 * b] for a, b in spans]
    valid = whole.is_valid().cast(pa.uint8()).to_numpy().tobytes()
    return [held[8 * a : 8 * b] + valid[a:b] for a, b in spans]


def _texts(column: pa.Array, spans: Sequence[tuple[int, int]]) -> list[bytes]:
    binary = column.cast(pa.binary())
    lengths = pc.binary_length(binary).fill_null(-1).to_numpy().astype(np.int32)
    ends = np.concatenate([[0], np.cumsum(np.maximum(lengths, 0), dtype=np.int64)])
    held = b"".join(binary.drop_null().to_pylist())
    head = lengths.tobytes()
    return [head[4 * a : 4 * b] + held[ends[a] : ends[b]] for a, b in spans]


def column_of(letter: str, sections: Sequence[bytes], counts: Sequence[int]) -> pa.Array:
    """The inverse: the values of all entities, one after the other.

    Raises `ValueError` where a section has not the length that its count of events asks for.
    """
    if letter in "sy":
        return _texts_of(letter, sections, counts)
    size = 1 if letter == "o" else 8
    held = [section[: size * n] for section, n in zip(sections, counts, strict=True)]
    joined = b"".join(held)
    if len(joined) != size * sum(counts):
        raise ValueError("a column is cut off")
    if letter == "o":
        values = np.frombuffer(joined, np.uint8)
        return pa.array(values == 1, mask=values == 2)
    if letter == "d":
        return pa.array(np.frombuffer(joined, np.float64))
    numbers = np.frombuffer(joined, np.int64)
    masks = [section[8 * n :] or b"\x01" * n for section, n in zip(sections, counts, strict=True)]
    mask = np.frombuffer(b"".join(masks), np.uint8) == 0
    if len(mask) != len(numbers):
        raise ValueError("a column is cut off")
    whole = pa.array(numbers, mask=mask)
    return whole.cast(pa.int32()).cast(pa.date32()) if letter == "D" else whole.cast(STORED[letter])


def _texts_of(letter: str, sections: Sequence[bytes], counts: Sequence[int]) -> pa.Array:
    both = list(zip(sections, counts, strict=True))
    lengths = np.frombuffer(b"".join(section[: 4 * n] for section, n in both), np.int32)
    held = b"".join(section[4 * n :] for section, n in both)
    ends = np.concatenate([[0], np.cumsum(np.maximum(lengths, 0), dtype=np.int64)])
    if len(lengths) != sum(counts) or ends[-1] != len(held):
        raise ValueError("a column of texts is cut off")
    offsets = pa.array(ends.astype(np.int64)).buffers()[1]
    valid = pa.array(lengths >= 0).buffers()[1]
    kind = pa.large_string() if letter == "s" else pa.large_binary()
    made = pa.Array.from_buffers(kind, len(lengths), [valid, offsets, pa.py_buffer(held)])
    return made.cast(STORED[letter])


def no_events(columns: Mapping[str, pa.DataType]) -> Events:
    none = np.empty(0, np.int64)
    empty = {name: pa.array([], kind) for name, kind in columns.items()}
    return Events(none, none, none, np.empty(0, np.uint8), empty)


def known_since(events: Events) -> Ints:
    """The moment from which each event can be seen: its creation may be after it happened."""
    return np.maximum(events.happened, events.created)
