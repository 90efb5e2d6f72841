"""Rows of views of aggregates: events, and for each function its value from each event to the last.

    HEADER      format, kind, number of columns, schema, since when all events are known,
                number of events, number of suffixes
    offsets     uint32, of each section that follows, and of the end
    happened    int64 nanoseconds, in order
    created     the same; empty where no event has one
    origin      one byte an event: from the source, or pushed; empty where all are the source's
    letters     the type of each column, then of each suffix
    columns     the values that windows are made of: see `events`
    suffixes    one for each (column, function, n) that the view asks for

Entry i of a suffix is the function over events i, i+1 … to the last. So a window that ends now is
read by finding its first event: a bisection and an index, however many events it holds. Functions
are null at most from some entry on, where the suffix ends. Types of suffixes: d float64, q int64,
n the number of events left (nothing is stored), r runs of equal MessagePack values.

That is exact while all events are known at the time of the read, and for windows that reach up to
it. Events of the future, late ones, and windows with an offset are computed from the columns.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from penstock.features.definition import Aggregation, ViewDefinition, arrow_type
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
from penstock.features.online_stores.layout import FORMAT
from penstock.features.online_stores.rows import NEVER, TAIL, encode
from penstock.features.online_stores.values import ValueCodec

HEADER = struct.Struct("<BBHIqIHxx")
LEADING = 4  # sections before the columns: happened, created, origin, letters
VALUES = ("min", "max", "first", "last")  # functions that give a value of their column
Slot = tuple[str, str, int]  # column, function, n
# What reading a damaged row may raise.
UNREADABLE = (struct.error, ValueError, TypeError, IndexError)
value_of = msgspec.msgpack.Decoder().decode


def slots_of(view: ViewDefinition) -> dict[Slot, Aggregation]:
    """The suffixes that rows of a view hold, in their order."""
    return {(a.column, a.function, a.n): a for a in view.aggregates}


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


def tail_rows(
    view: ViewDefinition, schema: int, codecs: dict[str, ValueCodec], events: Events, entities: int
) -> list[bytes]:
    """One row for each entity, of events that are in order. `codecs` are those of the features."""
    bounds = events.bounds(entities)
    edges = bounds.tolist()
    spans = list(pairwise(edges))
    columns = [events.columns[name] for name in view.inputs]
    letters = "".join(storage_letter(column.type) for column in columns)
    suffixes = [
        _suffixes(events, feature, codecs[feature.name], bounds)
        for feature in slots_of(view).values()
    ]
    known = known_since(events)
    latest = np.full(entities, NEVER)
    there = bounds[1:] > bounds[:-1]
    if there.any():
        latest[there] = np.maximum.reduceat(known, bounds[:-1][there])
    sections = zip(
        _times(events.happened, spans),
        _unless_all(events.created, NEVER, bounds, spans),
        _unless_all(events.origin, 0, bounds, spans),
        *(sections_of(column, bounds) for column in columns),
        *suffixes,
        strict=True,
    )
    rows = []
    for place, (begin, end) in enumerate(spans):
        happened, created, origin, *held = next(sections)
        ends = held[len(columns) :]
        named = (letters + "".join(letter for letter, _ in ends)).encode()
        parts = [happened, created, origin, named, *held[: len(columns)], *(s for _, s in ends)]
        since, count = int(latest[place]), end - begin
        head = HEADER.pack(FORMAT, TAIL, len(columns), schema, since, count, len(suffixes))
        rows.append(head + _offsets(parts) + b"".join(parts))
    return rows


def _offsets(parts: Sequence[bytes]) -> bytes:
    place = HEADER.size + 4 * (len(parts) + 1)
    places = [place]
    for part in parts:
        place += len(part)
        places.append(place)
    return struct.pack(f"<{len(places)}I", *places)


def _times(times: Any, spans: Sequence[tuple[int, int]]) -> list[bytes]:
    held, size = times.tobytes(), times.dtype.itemsize
    return [held[size * a : size * b] for a, b in spans]


def _unless_all(
    values: Any, usual: int, bounds: Ints, spans: Sequence[tuple[int, int]]
) -> list[bytes]:
    """Empty where an entity has nothing but the usual value."""
    other = np.concatenate([[0], np.cumsum(values != usual)])[bounds]
    return [
        held if some else b""
        for held, some in zip(_times(values, spans), np.diff(other).tolist(), strict=True)
    ]


def _suffixes(
    events: Events, feature: Aggregation, codec: ValueCodec, bounds: Ints
) -> list[tuple[str, bytes]]:
    """The letter and bytes of a feature's suffix, for each entity."""
    counts = np.diff(bounds)
    if feature.function == "count" and not feature.column:
        return [("n", b"")] * len(counts)
    values = over(events, feature, np.arange(len(events)), np.repeat(bounds[1:], counts))
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    name = codec.kind.name
    runs = _Runs(values, codec, feature.name)
    if name in ("DOUBLE", "FLOAT"):
        letter, numbers = "d", values.cast(pa.float64()).fill_null(0.0)
    elif name in ("INT32", "INT64"):
        letter, numbers = "q", values.cast(pa.int64()).fill_null(0)
    elif name == "UNIX_TIMESTAMP":
        letter, numbers = "q", whole_seconds(values).fill_null(0)
    else:
        return [("r", runs.of(a, b)) for a, b in pairwise(bounds)]
    held = numbers.to_numpy().tobytes()
    made = []
    for begin, end, last, valid in _ends(values, bounds):
        # A sum of +inf and -inf is null, which it need not be further on.
        whole = valid == last - begin
        made.append((letter, held[8 * begin : 8 * last]) if whole else ("r", runs.of(begin, end)))
    return made


def _ends(values: pa.Array, bounds: Ints) -> Iterator[tuple[int, int, int, int]]:
    """For each entity: where it begins and ends, behind its last value, and how many it has."""
    valid = values.is_valid().to_numpy(zero_copy_only=False)
    before = np.concatenate([[0], np.cumsum(valid)])
    behind = np.maximum.accumulate(np.where(valid, np.arange(1, len(valid) + 1), 0))
    behind = np.concatenate([[0], behind])
    begins, ends = bounds[:-1], bounds[1:]
    lasts = np.maximum(behind[ends], begins)
    counts = before[ends] - before[begins]
    yield from zip(begins.tolist(), ends.tolist(), lasts.tolist(), counts.tolist(), strict=True)


class _Runs:
    """Packs suffixes of any type: each value once, with the entry where it begins."""

    def __init__(self, values: pa.Array, codec: ValueCodec, feature: str) -> None:
        self._column = (values, codec, f"feature {feature!r}")
        self._packed: list[bytes] | None = None

    def of(self, begin: int, end: int) -> bytes:
        if self._packed is None:
            self._packed = [encode(value) for value in stored_column(*self._column)]
        entries = self._packed[begin:end]
        while entries and entries[-1] == b"\xc0":  # null to the end
            entries.pop()
        starts = [i for i, e in enumerate(entries) if i == 0 or e != entries[i - 1]]
        parts = [entries[i] for i in starts]
        places = np.cumsum([0, *map(len, parts)]).tolist()
        numbers = [len(entries), len(starts), *starts, *places]
        return struct.pack(f"<{len(numbers)}I", *numbers) + b"".join(parts)


# Reading


class Runs:
    """A suffix of runs of equal values, as a sequence."""

    def __init__(self, held: memoryview) -> None:
        self._length, count = struct.unpack_from("<II", held)
        end = 8 + 4 * count
        self._starts = held[8:end].cast("I")
        self._places = held[end : end + 4 * count + 4].cast("I")
        self._held = held[end + 4 * count + 4 :]

    def __len__(self) -> int:
        return int(self._length)

    def __getitem__(self, entry: int) -> Any:
        run = bisect_right(self._starts, entry) - 1
        return value_of(self._held[self._places[run] : self._places[run + 1]])


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
    form, kind, columns, _, _, count, suffixes = HEADER.unpack_from(row)
    if form != FORMAT or kind != TAIL or columns != inputs:
        raise ValueError("its format is unknown")
    edges = struct.unpack_from(f"<{LEADING + columns + suffixes + 1}I", row, HEADER.size)
    if edges[-1] != len(row):
        raise ValueError(f"it has {len(row)} bytes of {edges[-1]}")
    sections = [row[edges[i] : edges[i + 1]] for i in range(LEADING + columns)]
    sections[1] = sections[1] or struct.pack("<q", NEVER) * count
    sections[2] = sections[2] or bytes(count)
    sections[3] = sections[3][:columns]
    return count, sections


def _events(
    letters: str, part: list[tuple[int, int, list[bytes]]], inputs: Sequence[str]
) -> Events:
    places, counts, held = zip(*part, strict=True)
    happened, created, origin, _, *columns = zip(*held, strict=True)
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
