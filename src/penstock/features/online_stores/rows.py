"""Rows of the latest values: a header, and the values as one MessagePack array.

    byte 0      format
    byte 1      kind: LATEST
    byte 2      1 if some values are serialised protos
    bytes 4-8   the schema's number, unsigned
    bytes 8-16  when it happened, nanoseconds since 1970, signed
    bytes 16-24 when it was created; the least integer where that is not known
    bytes 24-   values in the order of the schema's fields; missing is nil

Little-endian. Of two rows the newer by (happened, created) stays, and of equal ones the one written
last. As only one row is kept, one of the future hides those before it: until its time has come
nothing is known of the entity.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import msgspec

from penstock.errors import DataError
from penstock.features.online_stores.backend import Combine, Row
from penstock.features.online_stores.layout import FORMAT, Fields, newer_version

HEADER = struct.Struct("<BB?xIqq")
STAMP = struct.Struct("<qq")
STAMP_AT = 8
LATEST, TAIL = 1, 2
NEVER = -(2**63)
PRESENT, NOT_FOUND, OUTSIDE_MAX_AGE = 1, 3, 4  # as Feast's FieldStatus has them

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(list).decode
Values = Sequence[Any]
Picker = Callable[[list[Any]], Values] | None  # none: all values, as they are


@dataclass(slots=True)
class Found:
    """What was read of one view: for each row asked its values, their state, and their time."""

    rows: list[Values]
    presence: list[int]
    happened: list[int]  # nanoseconds since 1970; 0 where nothing was found
    foreign: bool = False  # whether some values may be serialised protos


def packed(
    schema: int,
    happened: Iterable[int],
    created: Iterable[int],
    values: Iterable[Sequence[Any]],
    *,
    foreign: bool,
) -> list[bytes]:
    """One row for each of the values; `foreign` says that some may be serialised protos."""
    head, pack = HEADER.pack, encode
    return [
        head(FORMAT, LATEST, foreign, schema, when, known) + pack(row)
        for when, known, row in zip(happened, created, values, strict=True)
    ]


def newest(space: str, rows: Sequence[bytes]) -> Combine:
    """Writes each row unless a newer one is there."""

    def combine(positions: list[int], old: list[Row]) -> list[Row]:
        return [
            rows[place] if there is None or _goes_before(space, there, rows[place]) else None
            for place, there in zip(positions, old, strict=True)
        ]

    return combine


def _goes_before(space: str, old: bytes, new: bytes) -> bool:
    """Whether the old row gives way. A row that cannot be read always does."""
    if len(old) < HEADER.size or old[1] != LATEST:
        return True
    if old[0] > FORMAT:
        raise newer_version(space)
    return bool(STAMP.unpack_from(old, STAMP_AT) <= STAMP.unpack_from(new, STAMP_AT))


@dataclass
class LatestReader:
    """Reads some fields of the rows of one view."""

    space: str
    fields: Fields  # those asked for
    ttl: int | None
    schemas: Callable[[], Mapping[int, Fields]]  # what the store knows of now
    _pickers: dict[int, tuple[int, Picker]] = field(default_factory=dict)
    _nothing: Values = ()

    def __post_init__(self) -> None:
        self._nothing = (None,) * len(self.fields)

    def knows(self, number: int, fields: Fields) -> None:
        """Prepares to read rows of a schema; fields that it lacks are missing."""
        places = {pair: place for place, pair in enumerate(fields)}
        picker = None if fields == self.fields else _picker([places.get(f) for f in self.fields])
        self._pickers[number] = (len(fields), picker)

    def read(self, rows: Sequence[Row], keys: Sequence[bytes | None], now: int) -> Found:
        """Raises `DataError` for a row that is damaged or of a newer version."""
        oldest = NEVER if self.ttl is None else now - self.ttl
        found: list[Values] = []
        presence: list[int] = []
        times: list[int] = []
        some_foreign = False
        pickers, unpack = self._pickers, HEADER.unpack_from
        for place, row in enumerate(rows):
            when, state, values = 0, NOT_FOUND, self._nothing
            if row is not None:
                try:
                    form, kind, foreign, schema, happened, created = unpack(row)
                    if form != FORMAT or kind != LATEST:
                        raise ValueError("its format is unknown")
                    if schema not in pickers:
                        self._learn(schema)
                    count, pick = pickers[schema]
                    stored = decode(row[24:])
                    if len(stored) != count:
                        raise ValueError(f"it has {len(stored)} values for {count} fields")
                except (struct.error, ValueError, msgspec.DecodeError) as error:
                    raise damaged(self.space, keys[place], row, error) from error
                if happened <= now and created <= now:
                    when, state = happened, OUTSIDE_MAX_AGE
                    if happened >= oldest:
                        state, values = PRESENT, pick(stored) if pick else stored
                        some_foreign |= foreign
            found.append(values)
            presence.append(state)
            times.append(when)
        return Found(found, presence, times, some_foreign)

    def _learn(self, number: int) -> None:
        for known, fields in self.schemas().items():
            self.knows(known, fields)
        if number not in self._pickers:
            raise ValueError("its schema is unknown to the store")


def _picker(places: list[int | None]) -> Picker:
    if None not in places and len(places) > 1:
        return itemgetter(*places)
    return lambda values: tuple(None if p is None else values[p] for p in places)


def damaged(space: str, key: bytes | None, row: bytes, error: Exception) -> DataError:
    """What is wrong with a row, by view and key."""
    if row[:1] > bytes([FORMAT]) and row[1:2] in (bytes([LATEST]), bytes([TAIL])):
        return newer_version(space)
    return DataError(
        f"the online row of {space!r} for key {(key or b'').hex()} cannot be read: {error}",
        hint="materialise the view again, which writes it anew",
    )
