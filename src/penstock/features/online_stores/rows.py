"""Rows of the latest values: a header, and the values as one MessagePack array.

    byte 0      format
    byte 1      kind: LATEST, or AHEAD
    byte 2      1 if some values are serialised protos
    bytes 4-8   the schema's number, unsigned
    bytes 8-16  when it happened, nanoseconds since 1970, signed
    bytes 16-24 when it was created; the least integer where that is not known
    bytes 24-   values in the order of the schema's fields; missing is nil

Little-endian. Of two rows the newer by (happened, created) stays, and of equal ones the one written
last. Where one is of the future, both are kept, as one row of kind AHEAD: see `settling`.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from penstock.errors import DataError
from penstock.features.online_stores.layout import FORMAT, newer_version

HEADER = struct.Struct("<BB?xIqq")
STAMP = struct.Struct("<qq")
STAMP_AT = 8
LATEST, TAIL, AHEAD = 1, 2, 3
NEVER = -(2**63)
PRESENT, NOT_FOUND, OUTSIDE_MAX_AGE = 1, 3, 4  # as Feast's FieldStatus has them

encode = msgspec.msgpack.Encoder().encode
Values = Sequence[Any]


@dataclass(slots=True)
class Found:
    """What was read of one view: for each row asked its values, their state, and their time."""

    rows: list[Values]
    presence: list[int]
    happened: list[int]  # nanoseconds since 1970; 0 where nothing was found
    foreign: bool = False  # whether some values may be serialised protos
    unfilled: Collection[int] = ()  # places of features that the store does not know enough for


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


def damaged(space: str, key: bytes | None, row: bytes, error: Exception) -> DataError:
    """What is wrong with a row, by view and key."""
    if row[:1] > bytes([FORMAT]) and row[1:2] in (b"\x01", b"\x02", b"\x03"):
        return newer_version(space)
    return DataError(
        f"the online row of {space!r} for key {(key or b'').hex()} cannot be read: {error}",
        hint="materialise the view again, which writes it anew",
    )
