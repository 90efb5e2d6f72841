"""Which of an entity's rows of the latest values stay: the newest, and those of the future.

A row that is not known yet, because it happens or was created later, hides nothing: it is kept
beside the current one until its time has come. A row of kind AHEAD holds them all:

    HEADER      that of a row of the latest values, with the times of its last row
    and then for each in order: uint32, its length, and the row
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from penstock.features.online_stores.backend import Combine, Row
from penstock.features.online_stores.layout import FORMAT, newer_version
from penstock.features.online_stores.rows import AHEAD, HEADER, LATEST, STAMP, STAMP_AT

LENGTH = struct.Struct("<I")


def newest(space: str, rows: Sequence[bytes], now: int) -> Combine:
    """Writes each row unless a newer one is there; `now` in nanoseconds since 1970."""

    def combine(positions: list[int], old: list[Row]) -> list[Row]:
        settled = (
            (there, rows[place] if there is None else settle(space, there, rows[place], now))
            for place, there in zip(positions, old, strict=True)
        )
        return [None if row is there else row for there, row in settled]

    return combine


def settle(space: str, old: bytes, new: bytes, now: int) -> bytes:
    """What stays of an old row and a new one: the old itself where the new one changes nothing.

    A row that cannot be read gives way. Raises `DataError` for one of a newer version.
    """
    if len(old) < HEADER.size or old[1] not in (LATEST, AHEAD):
        return new
    if old[0] > FORMAT:
        raise newer_version(space)
    if old[1] == new[1] == LATEST:
        before, after = STAMP.unpack_from(old, STAMP_AT), STAMP.unpack_from(new, STAMP_AT)
        if max(*before, *after) <= now:
            return new if before <= after else old
    try:
        made = _together([*_rows_of(old), *_rows_of(new)], now)
    except (ValueError, struct.error):
        return new
    return old if made == old else made


def known_from(row: bytes) -> int:
    """The moment from which a row can be seen."""
    return int(max(STAMP.unpack_from(row, STAMP_AT)))


def first_to_see(row: bytes, now: int) -> bytes:
    """Of a row of kind AHEAD, the newest that is known; else the first that will be.

    Raises `ValueError` or `struct.error` for a row that is damaged.
    """
    rows = _rows_of(row)
    known = [one for one in rows if known_from(one) <= now]
    return known[-1] if known else rows[0]


def _together(rows: list[bytes], now: int) -> bytes:
    """Of rows in the order of writing, those that are seen at some time from now on."""
    needed: list[bytes] = []
    earliest = None
    in_order = sorted(rows, key=lambda row: STAMP.unpack_from(row, STAMP_AT))
    for row in in_order[::-1]:
        known = max(known_from(row), now)
        if earliest is None or known < earliest:
            needed.insert(0, row)
            earliest = known
    if len(needed) == 1:
        return needed[0]
    head = HEADER.pack(FORMAT, AHEAD, False, 0, *STAMP.unpack_from(needed[-1], STAMP_AT))
    return head + b"".join(LENGTH.pack(len(row)) + row for row in needed)


def _rows_of(row: bytes) -> list[bytes]:
    if row[1] != AHEAD:
        return [row]
    found, place = [], HEADER.size
    while place < len(row):
        (length,) = LENGTH.unpack_from(row, place)
        found.append(row[place + LENGTH.size : place + LENGTH.size + length])
        place += LENGTH.size + length
    if place != len(row) or not found or any(len(one) < HEADER.size for one in found):
        raise ValueError("it is cut off")
    return found
