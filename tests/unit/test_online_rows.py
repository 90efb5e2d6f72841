"""Rows of the latest values: which one stays, what is read of it, and when."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import feature_reference as reference
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.errors import DataError
from penstock.features.definition import Source, ViewDefinition
from penstock.features.online_stores.latest_reader import LatestReader
from penstock.features.online_stores.layout import Layout, Note
from penstock.features.online_stores.lmdb import LmdbRows
from penstock.features.online_stores.rows import (
    NEVER,
    NOT_FOUND,
    OUTSIDE_MAX_AGE,
    PRESENT,
    Found,
    packed,
)
from penstock.features.online_stores.settling import newest, settle
from penstock.features.online_stores.writing import write_table

HOUR = 3_600 * 10**9
FIELDS = (("price", "DOUBLE"), ("shop", "STRING"))
KEYS = (("user", "INT64"),)


def layout(fields: Any = FIELDS, ttl: int | None = None) -> Layout:
    return Layout("shop", "spending", KEYS, fields, ttl, None)


def row(happened: int, price: float, created: int = NEVER) -> bytes:
    [made] = packed(layout().schema, [happened], [created], [[price, "a"]], foreign=False)
    return made


def read(
    held: bytes | None, now: int, wanted: Any = FIELDS, ttl: int | None = None, **schemas: Any
) -> Found:
    reader = LatestReader("shop:spending", wanted, ttl, lambda: schemas.get("known", {}))
    reader.knows(layout().schema, FIELDS)
    return reader.read([held], [b"key"], now)


@pytest.mark.parametrize(
    ("now", "ttl", "state"),
    [
        (4, None, NOT_FOUND),  # it happens at 5
        (5, None, PRESENT),
        (15, 10, PRESENT),  # inclusive
        (16, 10, OUTSIDE_MAX_AGE),
        (4, 10, NOT_FOUND),
    ],
)
def test_what_is_known_of_a_row_of_hour_five(now: int, ttl: int | None, state: int) -> None:
    found = read(row(5, 1.5), now, ttl=ttl)
    assert found.presence == [state]
    assert tuple(found.rows[0]) == ((1.5, "a") if state == PRESENT else (None, None))


def test_a_row_is_not_known_before_it_was_created() -> None:
    assert read(row(5, 1.5, created=8), 7).presence == [NOT_FOUND]
    assert read(row(5, 1.5, created=8), 8).presence == [PRESENT]


@pytest.mark.parametrize("wanted", [FIELDS, FIELDS[::-1], FIELDS[:1], FIELDS[1:]])
def test_fields_are_read_in_the_order_that_is_asked(wanted: Any) -> None:
    by_name = {"price": 1.5, "shop": "a"}
    assert list(read(row(5, 1.5), 9, wanted).rows[0]) == [by_name[name] for name, _ in wanted]


def test_a_field_that_an_old_row_lacks_or_had_in_another_type_is_missing() -> None:
    wanted = (("price", "INT64"), ("shop", "STRING"), ("stars", "INT64"))
    assert list(read(row(5, 1.5), 9, wanted).rows[0]) == [None, "a", None]


def test_a_row_of_a_schema_that_nobody_knows_is_an_error() -> None:
    [unknown] = packed(77, [5], [NEVER], [[1]], foreign=False)
    with pytest.raises(DataError, match="its schema is unknown"):
        read(unknown, 9)
    found = read(unknown, 9, (("stars", "INT64"),), known={77: (("stars", "INT64"),)})
    assert list(found.rows[0]) == [1]


def test_a_note_survives_being_stored() -> None:
    note = Note.of(layout()).with_schema(layout(fields=FIELDS[:1]))
    assert Note.from_json("shop:spending", note.to_json()) == note
    assert not note.differs(layout(ttl=5))


writes = st.lists(
    st.tuples(st.integers(0, 6), st.none() | st.integers(0, 6), st.floats(allow_nan=False)),
    min_size=1,
    max_size=8,
)


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[Path]:
    return (tmp_path / str(number) for number in itertools.count())


@pytest.mark.slow
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(writes, st.integers(1, 3), st.none() | st.integers(1, 6), st.integers(0, 6))
def test_writes_in_any_order_and_batches_leave_the_latest_row(
    folders: Iterator[Path], arrived: list[Any], batch: int, ttl: int | None, clock: int
) -> None:
    """At the time of the writes, and at each that follows: a row of the future hides nothing."""
    rows, about = LmdbRows(next(folders)), layout(ttl=ttl and ttl * HOUR)
    for start in range(0, len(arrived), batch):
        part = arrived[start : start + batch]
        write_table(rows, about, table(part), "at", "known", clock * HOUR)
    [[held]] = rows.read_many([(about.space, about.codec.encode([[1]], 1))])
    facts = [
        reference.Row((1,), h * HOUR, None if c is None else c * HOUR, {"price": p})
        for h, c, p in arrived
    ]
    view = ViewDefinition(
        name="spending",
        source=Source(name="s", kind="parquet", location="p"),
        ttl=timedelta(hours=ttl) if ttl else None,
    )
    for now in range(clock, 10):
        expected = reference.latest(view, facts, (1,), now * HOUR)
        found = read(held, now * HOUR, FIELDS[:1], about.ttl)
        assert found.rows[0][0] == (expected.values["price"] if expected else None)


def table(part: list[Any]) -> pa.Table:
    times = pa.timestamp("ns", "UTC")
    known = [None if c is None else c * HOUR for _, c, _ in part]
    return pa.table(
        {
            "user": [1] * len(part),
            "at": pa.array([h * HOUR for h, _, _ in part], times),
            "known": pa.array(known, times),
            "price": pa.array([p for _, _, p in part], pa.float64()),
            "shop": ["a"] * len(part),
        }
    )


def test_rows_without_a_key_or_a_time_are_left_out(tmp_path: Path) -> None:
    rows, about = LmdbRows(tmp_path), layout()
    facts = pa.table(
        {
            "user": [1, None, 3],
            "at": pa.array([None, HOUR, HOUR], pa.timestamp("ns")),
            "price": [1.0, 2.0, 3.0],
            "shop": ["a", "b", "c"],
        }
    )
    write_table(rows, about, facts, "at", "", HOUR)
    [held] = rows.read_many([(about.space, about.codec.encode([[1, 3]], 2))])
    assert held[0] is None
    assert list(read(held[1], HOUR).rows[0]) == [3.0, "c"]


def test_merging_keeps_what_is_newer_and_replaces_what_is_damaged() -> None:
    combine = newest("shop:spending", [row(5, 1.0), row(5, 1.0), row(5, 1.0), row(5, 1.0)], 9)
    old = [None, row(6, 2.0), row(5, 2.0), b"damaged"]
    assert combine([0, 1, 2, 3], old) == [row(5, 1.0), None, row(5, 1.0), row(5, 1.0)]


def test_rows_of_the_future_are_kept_until_their_time_and_no_longer() -> None:
    """At 3: a current row, and those of 6 and 8; that of 7 is only known when 8 has come."""
    held = row(1, 1.0)
    for later in (row(8, 8.0), row(6, 6.0), row(2, 2.0), row(7, 7.0, created=9)):
        held = settle("shop:spending", held, later, 3)
    seen = [read(held, now).rows[0][0] for now in (3, 5, 6, 7, 8, 9)]
    assert seen == [2.0, 2.0, 6.0, 6.0, 8.0, 8.0]
    assert settle("shop:spending", held, row(2, 3.0), 6) == settle(
        "shop:spending", row(6, 6.0), row(8, 8.0), 6
    )
    assert settle("shop:spending", held, row(9, 9.0), 9) == row(9, 9.0)


def test_a_damaged_row_of_the_future_is_named_and_gives_way() -> None:
    held = settle("shop:spending", row(1, 1.0), row(8, 8.0), 3)
    for broken in (held[:-1], held[:30], held + b"x"):
        with pytest.raises(DataError, match="for key 6b6579 cannot be read"):
            read(broken, 5)
        assert settle("shop:spending", broken, row(2, 2.0), 3) == row(2, 2.0)
