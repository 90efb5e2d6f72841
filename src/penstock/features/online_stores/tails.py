"""Rows of views of aggregates: events, and for each function its value from each event to the last.

    HEADER      format, kind, number of columns, schema, since when all events are known, number
                of events, and how many records hold no null
    offsets     uint32, of each section that follows, and of the end
    happened    int64 nanoseconds, in order
    created     the same; empty where no event has one
    origin      one byte an event: from the source, or pushed; empty where all are the source's
    letters     the type of each column: see `events`
    limits      uint32 for each number of a record: from which event on it is null
    records     for each event the numbers of its suffixes: float64, or int64
    columns     the values that windows are made of
    runs        the suffixes that are not numbers: equal values once, as MessagePack

A suffix is a function over an event and all that follow. So a window that ends now is read by
finding its first event: a bisection and one record, however many events it holds. That is exact
while all events are known at the time of the read, and for windows that reach up to it. Events of
the future, late ones, and windows with an offset are computed from the columns.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from penstock.features.definition import Aggregation, arrow_type
from penstock.features.online_stores.columns import stored_column, whole_seconds
from penstock.features.online_stores.events import (
    Events,
    Ints,
    column_of,
    known_since,
    no_events,
    sections_of,
    storage_letter,
)
from penstock.features.online_stores.layout import FORMAT, Layout
from penstock.features.online_stores.rows import NEVER, TAIL, encode
from penstock.features.online_stores.values import ValueCodec, codec_of

HEADER = struct.Struct("<BBHIqII")
COUNT, PLACES = struct.Struct("<I"), struct.Struct("<II")
LEADING = 6  # sections before the columns
VALUES = ("min", "max", "first", "last")  # functions that give a value of their column
NUMBERS = {"DOUBLE": "d", "FLOAT": "d", "INT32": "q", "INT64": "q", "UNIX_TIMESTAMP": "q"}
# What reading a damaged row may raise.
UNREADABLE = (struct.error, ValueError, TypeError, IndexError)
value_of = msgspec.msgpack.Decoder().decode
Spans = Sequence[tuple[int, int]]  # where the events of each entity begin and end


@dataclass(frozen=True)
class Shape:
    """What the rows of a view hold beside events: the suffixes of each (column, function, n)."""

    inputs: tuple[str, ...]
    numbers: tuple[Aggregation, ...]  # one for each number of a record
    letters: str  # of those numbers: d float64, q int64
    runs: tuple[Aggregation, ...]  # those whose values are no numbers
    codecs: Mapping[str, ValueCodec]  # by feature

    @property
    def sections(self) -> int:
        return LEADING + len(self.inputs) + len(self.runs)


def suffix_of(feature: Aggregation) -> tuple[str, str, int]:
    """Features that differ only in their window share a suffix."""
    return feature.column, feature.function, feature.n


def shape_of(layout: Layout) -> Shape:
    view = layout.definition
    assert view is not None
    codecs = {name: codec_of(kind) for name, kind in layout.fields}
    suffixes = {suffix_of(a): a for a in view.aggregates}.values()
    numbers = tuple(a for a in suffixes if codecs[a.name].kind.name in NUMBERS)
    return Shape(
        inputs=view.inputs,
        numbers=numbers,
        letters="".join(NUMBERS[codecs[a.name].kind.name] for a in numbers),
        runs=tuple(a for a in suffixes if codecs[a.name].kind.name not in NUMBERS),
        codecs=codecs,
    )


def over(events: Events, feature: Aggregation, left: Ints, right: Ints) -> pa.Array:
    """A feature's function over events left[i] to right[i], which is not among them."""
    from penstock.features.kernels.ranges import over_ranges

    kind = arrow_type(feature.type)
    column = events.columns[feature.column] if feature.column else None
    if feature.function in VALUES:
        column = events.columns[feature.column].cast(kind)
    elif feature.function == "last_distinct":
        column = events.columns[feature.column].cast(kind.value_type)
    return over_ranges(feature.function, column, left, right, kind, feature.n)


# Writing


def tail_rows(shape: Shape, schema: int, events: Events, entities: int) -> list[bytes]:
    """One row for each entity, of events that are in order."""
    bounds = events.bounds(entities)
    spans = list(pairwise(bounds.tolist()))
    columns = [events.columns[name] for name in shape.inputs]
    letters = "".join(storage_letter(column.type) for column in columns).encode()
    records, limits, clean = _records(shape, events, bounds)
    sections = zip(
        _slices(events.happened, spans),
        _unless_all(events.created, NEVER, bounds, spans),
        _unless_all(events.origin, 0, bounds, spans),
        [letters] * entities,
        _slices(limits, list(pairwise(range(entities + 1)))),
        _slices(records, spans),
        *(sections_of(column, bounds) for column in columns),
        *(_runs(events, feature, shape, bounds) for feature in shape.runs),
        strict=True,
    )
    known = _last_known(events, bounds)
    rows = []
    for (begin, end), since, whole, parts in zip(spans, known, clean, sections, strict=True):
        head = HEADER.pack(FORMAT, TAIL, len(columns), schema, since, end - begin, whole)
        rows.append(b"".join((head, _offsets(parts), *parts)))
    return rows


def _offsets(parts: Sequence[bytes]) -> bytes:
    place = HEADER.size + 4 * (len(parts) + 1)
    places = accumulate(map(len, parts), initial=place)
    return struct.pack(f"<{len(parts) + 1}I", *places)


def _slices(values: Any, spans: Spans) -> list[bytes]:
    """The bytes of an array's rows, by entity."""
    held = values.tobytes()
    size = len(held) // len(values) if len(values) else 0
    return [held[size * a : size * b] for a, b in spans]


def _unless_all(values: Any, usual: int, bounds: Ints, spans: Spans) -> list[bytes]:
    """Empty where an entity has nothing but the usual value."""
    other = np.concatenate([[0], np.cumsum(values != usual)])[bounds]
    return [
        held if some else b""
        for held, some in zip(_slices(values, spans), np.diff(other).tolist(), strict=True)
    ]


def _last_known(events: Events, bounds: Ints) -> list[int]:
    """Since when all events of each entity are known."""
    since = np.full(len(bounds) - 1, NEVER)
    there = bounds[1:] > bounds[:-1]
    if there.any():
        since[there] = np.maximum.reduceat(known_since(events), bounds[:-1][there])
    return list(since.tolist())


def _suffix(events: Events, feature: Aggregation, bounds: Ints) -> pa.Array:
    """The function over each event and all of its entity that follow."""
    right = np.repeat(bounds[1:], np.diff(bounds))
    values = over(events, feature, np.arange(len(events)), right)
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def _records(shape: Shape, events: Events, bounds: Ints) -> tuple[Any, Any, list[int]]:
    """The numbers of each event, their limits by entity, and how many records have no null."""
    records = np.empty((len(events), len(shape.numbers)), np.int64)
    limits = np.empty((len(bounds) - 1, len(shape.numbers)), np.uint32)
    clean = np.diff(bounds)
    for place, (letter, feature) in enumerate(zip(shape.letters, shape.numbers, strict=True)):
        values = _suffix(events, feature, bounds)
        if pa.types.is_temporal(values.type):
            values = whole_seconds(values)
        kind, missing = (pa.float64(), np.nan) if letter == "d" else (pa.int64(), 0)
        held = values.cast(kind).fill_null(missing).to_numpy(zero_copy_only=False)
        records[:, place] = held.view(np.int64)
        limits[:, place] = limit = _leading(values, bounds)
        clean = np.minimum(clean, limit)
    return records, limits, clean.tolist()


def _leading(values: pa.Array, bounds: Ints) -> Ints:
    """How many values of each entity come before its first null."""
    if not values.null_count:
        return np.diff(bounds)
    nulls = np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))
    nulls = np.append(nulls, len(values))
    first: Ints = nulls[np.searchsorted(nulls, bounds[:-1])]
    return np.minimum(first, bounds[1:]) - bounds[:-1]


def _runs(events: Events, feature: Aggregation, shape: Shape, bounds: Ints) -> list[bytes]:
    values = _suffix(events, feature, bounds)
    stored = stored_column(values, shape.codecs[feature.name], f"feature {feature.name!r}")
    packed = [encode(value) for value in stored]
    return [_run(packed[a:b]) for a, b in pairwise(bounds.tolist())]


def _run(entries: Sequence[bytes]) -> bytes:
    """Each value once, behind the entries where they begin and the places where they lie."""
    starts = [i for i, e in enumerate(entries) if i == 0 or e != entries[i - 1]]
    parts = [entries[i] for i in starts]
    numbers = [len(starts), *starts, *accumulate(map(len, parts), initial=0)]
    return struct.pack(f"<{len(numbers)}I", *numbers) + b"".join(parts)


# Reading


def run_values(held: memoryview, entries: Sequence[int], end: int, nothing: Any) -> list[Any]:
    """The values of a suffix of runs at some events, and `nothing` at the end of events."""
    (count,) = COUNT.unpack_from(held)
    base = 8 + 8 * count
    starts = held[4 : 4 + 4 * count].cast("I")
    decoded = {-1: nothing}
    values = []
    for entry in entries:
        run = -1 if entry == end else bisect_right(starts, entry) - 1 if count > 1 else 0
        if run not in decoded:
            first, last = PLACES.unpack_from(held, 4 + 4 * (count + run))
            decoded[run] = value_of(held[base + first : base + last])
        values.append(decoded[run])
    return values


def events_of(rows: Sequence[bytes | None], inputs: Sequence[str]) -> Events:
    """All events of some rows, numbered by row.

    Raises `ValueError` or `struct.error` for a row that is damaged.
    """
    parted: dict[bytes, list[tuple[int, int, list[bytes]]]] = {}
    for place, row in enumerate(rows):
        if row is not None:
            count, sections = _sections(row, len(inputs))
            parted.setdefault(sections[3], []).append((place, count, sections))
    found = no_events({name: pa.null() for name in inputs})
    for letters, part in parted.items():
        found = found.followed_by(_events(letters.decode(), part, inputs))
    return found if len(parted) < 2 else found.in_order()


def _sections(row: bytes, inputs: int) -> tuple[int, list[bytes]]:
    form, kind, columns, _, _, count, _ = HEADER.unpack_from(row)
    if form != FORMAT or kind != TAIL or columns != inputs:
        raise ValueError("its format is unknown")
    edges = struct.unpack_from(f"<{LEADING + columns + 1}I", row, HEADER.size)
    sections = [row[a:b] for a, b in pairwise(edges)]
    sections[1] = sections[1] or struct.pack("<q", NEVER) * count
    sections[2] = sections[2] or bytes(count)
    if [len(s) for s in sections[:4]] != [8 * count, 8 * count, count, columns]:
        raise ValueError("it is cut off")
    return count, sections


def _events(
    letters: str, part: list[tuple[int, int, list[bytes]]], inputs: Sequence[str]
) -> Events:
    places, counts, held = zip(*part, strict=True)
    happened, created, origin, _, _, _, *columns = zip(*held, strict=True)
    return Events(
        np.repeat(np.array(places, np.int64), counts),
        np.frombuffer(b"".join(happened), np.int64),
        np.frombuffer(b"".join(created), np.int64),
        np.frombuffer(b"".join(origin), np.uint8),
        {
            name: column_of(letter, sections, counts)
            for name, letter, sections in zip(inputs, letters, columns, strict=True)
        },
    )
