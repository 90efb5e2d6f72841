"""Rows of views of aggregates: what is read at a time is what the events known then give."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import feature_reference as reference
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.errors import DataError
from penstock.features.definition import Aggregation, Source, ViewDefinition
from penstock.features.online_stores import coverage
from penstock.features.online_stores.layout import Layout
from penstock.features.online_stores.lmdb import LmdbRows
from penstock.features.online_stores.merging import write_pushed, write_source
from penstock.features.online_stores.tail_reader import TailReader
from penstock.features.online_stores.values import codec_of
from penstock.records import Column

HOUR = 3_600 * 10**9
START = 1_700_000_000 * 10**9 // HOUR * HOUR
DAY = timedelta(days=1)
KINDS = {
    "price": ("double", pa.float64()),
    "number": ("int64", pa.int64()),
    "shop": ("string", pa.string()),
    "flag": ("bool", pa.bool_()),
    "seen": ("timestamp[us, tz=UTC]", pa.timestamp("us", "UTC")),
}
FEAST = {
    "double": "DOUBLE",
    "int64": "INT64",
    "string": "STRING",
    "bool": "BOOL",
    "timestamp[us, tz=UTC]": "UNIX_TIMESTAMP",
    "list<item: string>": "STRING_LIST",
    "list<item: double>": "DOUBLE_LIST",
    "list<item: int64>": "INT64_LIST",
}


def result_type(function: str, column: str) -> str:
    kind = KINDS[column][0] if column else "int64"
    match function:
        case "count" | "count_distinct":
            return "int64"
        case "mean" | "std":
            return "double"
        case "sum":
            return "double" if kind == "double" else "int64"
        case "last_distinct":
            return f"list<item: {kind}>"
    return kind


def feature(function: str, column: str, window: timedelta | None, hours: int = 0) -> Aggregation:
    return Aggregation(
        name=f"{function}_{column}_{window}_{hours}".replace(" ", "_").replace(":", ""),
        function=function,
        column=column,
        window=window,
        offset=timedelta(hours=hours),
        n=2 if function == "last_distinct" else 0,
        type=result_type(function, column),
    )


FUNCTIONS = {
    "price": ("count", "sum", "mean", "min", "max", "std", "last", "first", "last_distinct"),
    "number": ("sum", "mean", "max", "count_distinct", "last_distinct"),
    "shop": ("count", "last", "first", "min", "count_distinct", "last_distinct"),
    "flag": ("count", "last", "sum"),
    "seen": ("last", "max"),
}
EVERYTHING = (
    feature("count", "", timedelta(hours=2)),
    feature("count", "", None),
    *(
        feature(function, column, window)
        for column, functions in FUNCTIONS.items()
        for function in functions
        for window in (timedelta(hours=1), timedelta(hours=5), None)
    ),
)
SHIFTED = (
    *EVERYTHING[:4],
    feature("sum", "price", timedelta(hours=2), 1),
    feature("last", "shop", None, 3),
    feature("count", "", timedelta(hours=1), 1),
)


def definition(
    aggregates: tuple[Aggregation, ...] = EVERYTHING,
    *,
    created: str = "known",
    resolution: timedelta = timedelta(0),
) -> ViewDefinition:
    return ViewDefinition(
        name="spending",
        keys=(Column(name="user", type="int64"),),
        source=Source(
            name="payments", kind="parquet", location="p", timestamp="at", created=created
        ),
        aggregates=aggregates,
        resolution=resolution,
    )


@dataclass(frozen=True)
class Event:
    user: int
    happened: int
    created: int | None
    values: tuple[Any, ...]

    def as_row(self) -> reference.Row:
        values = dict(zip(KINDS, self.values, strict=True))
        return reference.Row((self.user,), self.happened, self.created, values)


def table(events: list[Event]) -> pa.Table:
    columns: dict[str, Any] = {
        "user": pa.array([e.user for e in events], pa.int64()),
        "at": pa.array([e.happened for e in events], pa.timestamp("ns", "UTC")),
        "known": pa.array([e.created for e in events], pa.timestamp("ns", "UTC")),
    }
    for place, (name, (_, kind)) in enumerate(KINDS.items()):
        columns[name] = pa.array([e.values[place] for e in events], kind)
    return pa.table(columns)


class Online:
    """A view in a store, and what has arrived."""

    def __init__(self, folder: Path, view: ViewDefinition) -> None:
        self.view, self.now = view, START + 20 * HOUR
        fields = tuple((a.name, FEAST[a.type]) for a in view.aggregates)
        self.layout = Layout("shop", view.name, (("user", "INT64"),), fields, None, view)
        self.rows = LmdbRows(folder)
        birth = coverage.begin(self.rows, self.layout, "born")
        coverage.finish(self.rows, self.layout, birth, coverage.BEGINNING, self.now)
        self.source: list[Event] = []
        self.pushed: list[Event] = []

    def push(self, events: list[Event]) -> None:
        self.pushed += events
        write_pushed(self.rows, self.layout, table(events), self.now)

    def materialise(self, events: list[Event], start: int, end: int) -> None:
        given = [e for e in events if start < e.happened <= end and (e.created or 0) <= end]
        late = [e for e in events if e.happened <= start and e.created and start < e.created <= end]
        for event in given + late:
            if event not in self.source or event in given:
                self.source = [e for e in self.source if e is not event] + [event]
            if event in self.pushed:
                self.pushed.remove(event)
        together = [e for e in events if e in given or e in late]
        write_source(self.rows, self.layout, table(together), moment(start), moment(end), self.now)

    def read(self, user: int, at: int) -> dict[str, Any]:
        key = self.layout.codec.encode([[user]], 1)
        reader = TailReader(self.layout, self.layout.fields)
        key += reader.beside
        [rows] = self.rows.read_many([(self.layout.space, key)])
        found = reader.read(rows, key, at)
        return {
            name: codec_of(kind).python(value)
            for (name, kind), value in zip(self.layout.fields, found.rows[0], strict=True)
        }

    def expected(self, user: int, at: int) -> dict[str, Any]:
        rows = [e.as_row() for e in (*self.source, *self.pushed)]
        return {
            a.name: reference.aggregate(self.view, a, rows, (user,), at)
            for a in self.view.aggregates
        }


def moment(nanoseconds: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=nanoseconds // 1000)


def comparable(value: Any) -> Any:
    """Feast's times are whole seconds; a standard deviation is known to some digits."""
    if isinstance(value, datetime):
        return value.replace(microsecond=0)
    if isinstance(value, float) and math.isfinite(value):
        return pytest.approx(value, rel=1e-12)
    return value


def check(online: Online, user: int, at: int) -> None:
    expected = {name: comparable(v) for name, v in online.expected(user, at).items()}
    assert online.read(user, at) == expected


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[Path]:
    """A new folder at each turn of a property test."""
    return (tmp_path / str(number) for number in itertools.count())


hours = st.integers(0, 40).map(lambda h: START + h * HOUR // 4)
values = st.tuples(
    st.sampled_from([None, 0.1, -2.5, 1e16, math.nan, math.inf, -math.inf]),
    st.sampled_from([None, 0, 3, -7, 2**53 + 1]),
    st.sampled_from([None, "", "a", "ä"]),
    st.sampled_from([None, True, False]),
    st.sampled_from(
        [None, datetime(2024, 1, 1, 0, 0, 1, 500_000, UTC), datetime(1969, 1, 1, tzinfo=UTC)]
    ),
)
events = st.builds(
    Event,
    user=st.integers(1, 2),
    happened=hours,
    created=st.none() | hours,
    values=values,
)
some = st.lists(events, max_size=12)
relaxed = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.slow
@relaxed
@given(some, st.sampled_from([timedelta(0), timedelta(hours=1)]), hours)
@pytest.mark.slow
def test_pushed_events_give_what_the_reference_gives(
    folders: Iterator[Path], arrived: list[Event], resolution: timedelta, at: int
) -> None:
    online = Online(next(folders), definition(resolution=resolution))
    for event in arrived:
        online.push([event])
    check(online, 1, at)
    check(online, 2, online.now)


@pytest.mark.slow
@relaxed
@given(some, hours)
def test_windows_with_an_offset_are_exact(
    folders: Iterator[Path], arrived: list[Event], at: int
) -> None:
    online = Online(next(folders), definition(SHIFTED, resolution=timedelta(minutes=30)))
    online.push(arrived)
    check(online, 1, at)
    check(online, 1, online.now)


@pytest.mark.slow
@relaxed
@given(
    st.lists(events, max_size=12, unique_by=repr),
    st.lists(hours, min_size=1, max_size=3),
    st.data(),
)
@pytest.mark.slow
def test_source_and_pushes_in_any_split_count_each_event_once(
    folders: Iterator[Path], facts: list[Event], cuts: list[int], data: st.DataObject
) -> None:
    online = Online(next(folders), definition())
    edges = [START - 1, *sorted({*cuts, START + 10 * HOUR})]
    for start, end in itertools.pairwise(edges):
        chosen = data.draw(st.lists(st.sampled_from(facts), unique_by=repr)) if facts else []
        online.push([e for e in chosen if e not in online.source and e not in online.pushed])
        online.materialise(facts, start, end)
    check(online, 1, online.now)
    online.materialise(facts, edges[-2], edges[-1])
    check(online, 2, online.now)


def simple(hour: float, price: float, user: int = 1) -> Event:
    return Event(user, START + int(hour * HOUR), None, (price, 1, "a", True, None))


def total(online: Online, at: int, user: int = 1) -> Any:
    return online.read(user, at)["sum_price_None_0"]


def test_materialising_twice_changes_no_byte(tmp_path: Path) -> None:
    online = Online(tmp_path, definition())
    facts = [simple(1, 10.0), simple(2, 20.0), simple(2, 20.0)]
    online.materialise(facts, START, START + 5 * HOUR)
    key = online.layout.codec.encode([[1]], 1)
    before = online.rows.read_many([(online.layout.space, key)])
    online.materialise(facts, START, START + 5 * HOUR)
    assert online.rows.read_many([(online.layout.space, key)]) == before
    assert total(online, online.now) == 50.0


def test_a_pushed_event_that_the_source_brings_later_counts_once(tmp_path: Path) -> None:
    online = Online(tmp_path, definition())
    online.push([simple(1, 10.0), simple(1, 10.0), simple(2, 5.0)])
    online.materialise([simple(1, 10.0)], START, START + 3 * HOUR)
    assert total(online, online.now) == 25.0  # one of the two is the source's; 5.0 is not there yet


def test_the_source_takes_back_what_it_gave_for_its_interval(tmp_path: Path) -> None:
    online = Online(tmp_path, definition())
    online.materialise([simple(1, 10.0), simple(4, 1.0)], START, START + 5 * HOUR)
    online.materialise([simple(1, 11.0)], START, START + 2 * HOUR)
    assert total(online, online.now) == 12.0


def test_an_event_on_the_edge_of_two_intervals_counts_once(tmp_path: Path) -> None:
    online = Online(tmp_path, definition())
    edge = [simple(2, 7.0)]
    for start, end in ((0, 2), (2, 4)):
        write_source(
            online.rows,
            online.layout,
            table(edge),
            moment(START + start * HOUR),
            moment(START + end * HOUR),
            online.now,
        )
    assert total(online, online.now) == 7.0


def test_events_beyond_all_windows_are_dropped_and_lifetime_keeps_all(tmp_path: Path) -> None:
    windowed = tuple(a for a in EVERYTHING if a.window is not None)
    sizes = {}
    for name, aggregates in (("windowed", windowed), ("lifetime", EVERYTHING)):
        online = Online(tmp_path / name, definition(aggregates))
        online.now = START + 1_000 * HOUR
        online.push([simple(h, 1.0) for h in range(1_000)])
        key = online.layout.codec.encode([[1]], 1)
        [[row]] = online.rows.read_many([(online.layout.space, key)])
        assert row is not None
        sizes[name] = len(row)
        check(online, 1, online.now)
        check(online, 1, online.now - 24 * HOUR)  # the slack
    assert sizes["windowed"] * 10 < sizes["lifetime"]


def test_an_entity_without_events_has_counts_of_nothing(tmp_path: Path) -> None:
    online = Online(tmp_path, definition())
    check(online, 3, online.now)


def test_an_event_of_the_future_is_not_known_yet(tmp_path: Path) -> None:
    online = Online(tmp_path, definition())
    online.push([simple(1, 1.0), simple(9, 100.0)])
    assert total(online, START + 8 * HOUR) == 1.0
    assert total(online, START + 9 * HOUR) == 101.0


def test_a_damaged_row_is_named_and_gives_way_to_the_next_write(tmp_path: Path) -> None:
    online = Online(tmp_path, definition())
    online.push([simple(1, 1.0)])
    key = online.layout.codec.encode([[1]], 1)
    [[row]] = online.rows.read_many([(online.layout.space, key)])
    assert row is not None
    for cut in (3, 30, len(row) // 2, len(row) - 1):
        online.rows.merge(online.layout.space, key, lambda _, __, cut=cut: [row[:cut]])  # type: ignore[misc]
        with pytest.raises(DataError, match=r"'shop:spending' for key 69000"):
            total(online, online.now)
    online.rows.merge(online.layout.space, key, lambda _, __: [row[:30]])
    online.push([simple(2, 2.0)])
    assert total(online, online.now) == 2.0


def test_a_row_of_a_newer_version_is_neither_read_nor_overwritten(tmp_path: Path) -> None:
    online = Online(tmp_path, definition())
    online.push([simple(1, 1.0)])
    key = online.layout.codec.encode([[1]], 1)
    [[row]] = online.rows.read_many([(online.layout.space, key)])
    assert row is not None
    online.rows.merge(online.layout.space, key, lambda _, __: [b"\x02" + row[1:]])
    with pytest.raises(DataError, match="newer version"):
        total(online, online.now)
    with pytest.raises(DataError, match="newer version"):
        online.push([simple(2, 2.0)])


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    online = Online(tmp_path, definition())
    with pytest.raises(DataError, match="lack price"):
        write_pushed(online.rows, online.layout, table([]).drop_columns(["price"]), online.now)


def test_two_thousand_entities_in_one_write(tmp_path: Path) -> None:
    online = Online(tmp_path, definition(EVERYTHING[:8]))
    online.push([simple(u % 7, float(u), u) for u in range(2_000)])
    assert [total_of(online, u) for u in (0, 1_999)] == [1, 1]


def total_of(online: Online, user: int) -> Any:
    return online.read(user, online.now)["count__None_0"]
