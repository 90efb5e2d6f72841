"""Rows of the ledger as they are stored, block by block: for whoever goes through all of them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection

from penstock.audit.tree import BLOCK

PART = 16 * BLOCK  # rows of one query


class Row(NamedTuple):
    """The driver gives plain tuples of these: SQLAlchemy's rows cost more than hashing them."""

    sequence: int
    entry: bytes
    leaf: bytes


def blocks(connection: Connection, first: int, last: int) -> Iterator[tuple[int, list[Row]]]:
    """Rows from number `first` to `last`, by the 256 numbers that they are among.

    Each with the first of those numbers. Numbers that are not there are passed over.
    """
    rows: list[Row] = []
    for part in _parts(connection, first, last):
        rows += part
        done = 0
        while len(rows) - done > BLOCK:  # the rest may go on with the next part
            start, count = _block_at(rows, done)
            yield start, rows[done : done + count]
            done += count
        del rows[:done]
    while rows:
        start, count = _block_at(rows, 0)
        yield start, rows[:count]
        del rows[:count]


def _block_at(rows: list[Row], at: int) -> tuple[int, int]:
    """The number that the block of a row begins with, and how many rows are in it."""
    start = rows[at][0] - (rows[at][0] - 1) % BLOCK
    end = at + BLOCK
    if len(rows) >= end and rows[end - 1][0] == start + BLOCK - 1 and rows[at][0] == start:
        return start, BLOCK
    return start, bisect_left(rows, start + BLOCK, lo=at, key=itemgetter(0)) - at


def _parts(connection: Connection, first: int, last: int) -> Iterator[list[Row]]:
    postgresql = connection.dialect.name == "postgresql"
    # Bytes at once: nothing here needs the entry as text.
    data = "convert_to(entry, 'UTF8')" if postgresql else "CAST(entry AS BLOB)"
    driver: Any = connection.connection.driver_connection
    cursor = driver.cursor(binary=True) if postgresql else driver.cursor()
    try:
        while True:
            cursor.execute(
                f"SELECT sequence, {data}, leaf FROM ledger"
                f" WHERE sequence BETWEEN {first:d} AND {last:d} ORDER BY sequence LIMIT {PART}"
            )
            part = cursor.fetchall()
            yield part
            if len(part) < PART:
                return
            first = part[-1][0] + 1
    finally:
        cursor.close()
