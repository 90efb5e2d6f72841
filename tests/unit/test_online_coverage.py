"""What a store says it holds, what is missing, and in which turn that is brought."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import feature_reference as reference
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.errors import DataError
from penstock.features.backfill import Interval, in_turn
from penstock.features.definition import Aggregation, Source, ViewDefinition
from penstock.features.materialise import BEGINNING, first_needed
from penstock.features.online_stores import coverage
from penstock.features.online_stores.coverage import COVERED, Coverage
from penstock.features.online_stores.layout import Layout
from penstock.features.online_stores.lmdb import LmdbRows
from penstock.features.online_stores.merging import write_source
from penstock.features.online_stores.tail_reader import TailReader
from penstock.features.spans import gaps, merged
from penstock.records import Column

T = datetime(2026, 3, 1, tzinfo=UTC)
DAY, ONE_HOUR = timedelta(days=1), timedelta(hours=1)
HOUR = 3_600 * 10**9
START = 1_700_000_000 * 10**9 // HOUR * HOUR


def days(*numbers: int) -> list[tuple[datetime, datetime]]:
    """Spans between days before T, given in pairs."""
    both = zip(numbers[::2], numbers[1::2], strict=True)
    return [(T - a * DAY, T - b * DAY) for a, b in both]


# Spans

times = st.integers(0, 12)
spans = st.lists(st.tuples(times, times).map(sorted).map(tuple), max_size=5)


def points(given_spans: Any) -> set[int]:
    """The unit steps (n, n + 1] that spans are made of."""
    return {n for low, high in given_spans for n in range(low, high)}


@given(spans)
def test_merged_spans_are_the_same_time_in_order_and_apart(held: list[tuple[int, int]]) -> None:
    found = merged(held)
    assert points(found) == points(held)
    assert all(before[1] < after[0] for before, after in itertools.pairwise(found))


@given(times, times, spans)
def test_gaps_are_what_is_in_no_span(start: int, end: int, held: list[tuple[int, int]]) -> None:
    found = gaps(start, end, held)
    assert points(found) == points([(start, end)]) - points(held)
    assert all(before[1] < after[0] for before, after in itertools.pairwise(found))


# The turn of intervals


def starts(tasks: list[list[Interval]]) -> list[list[int]]:
    """Of each task the days before T that its intervals begin."""
    return [[(T - interval.start) // DAY for interval in task] for task in tasks]


def test_a_store_without_anything_is_filled_from_the_latest_backwards() -> None:
    assert starts(in_turn("v", *days(4, 0), (), DAY, T)) == [[1], [2], [3], [4]]


def test_what_follows_is_brought_in_order_and_by_one() -> None:
    assert starts(in_turn("v", *days(9, 0), days(9, 3), DAY, T)) == [[3, 2, 1]]


def test_holes_and_what_lies_before_are_brought_side_by_side() -> None:
    found = in_turn("v", *days(9, 0), days(7, 5, 4, 2), DAY, T)
    assert starts(found) == [[2, 1], [5], [8], [9]]


def test_what_is_there_is_brought_again_when_that_is_asked() -> None:
    assert in_turn("v", *days(9, 0), days(9, 0), DAY, T) == []
    again = in_turn("v", *days(4, 0), days(9, 2), DAY, T, again=True)
    assert starts(again) == [[2, 1], [3], [4]]


def test_all_time_is_cut_from_the_first_row_on() -> None:
    span = (BEGINNING, T)
    [task] = in_turn("v", span, (), None, T)
    assert task == [Interval("v", BEGINNING, T)]
    pieces = in_turn("v", span, (), DAY, T - 2.5 * DAY)
    edges = [BEGINNING, T - 1.5 * DAY, T - 0.5 * DAY, T]
    assert [task[0] for task in pieces][::-1] == [
        Interval("v", low, high) for low, high in itertools.pairwise(edges)
    ]


# What is covered


def view(*windows: timedelta | None) -> ViewDefinition:
    return ViewDefinition(
        name="spending",
        keys=(Column(name="user", type="int64"),),
        source=Source(name="payments", kind="parquet", location="p", timestamp="at"),
        aggregates=tuple(
            Aggregation(name=f"count_{n}", function="count", window=window, type="int64")
            for n, window in enumerate(windows)
        ),
    )


WINDOWS = (timedelta(hours=1), timedelta(hours=4), None)


def layout(definition: ViewDefinition) -> Layout:
    fields = tuple((a.name, "INT64") for a in definition.aggregates)
    return Layout("shop", definition.name, (("user", "INT64"),), fields, None, definition)


@pytest.mark.parametrize(
    ("windows", "expected"),
    [
        ([timedelta(days=7), timedelta(days=1)], T - 8 * DAY),  # and a day for slow clocks
        ([timedelta(days=7), None], BEGINNING),
    ],
)
def test_what_windows_need(windows: list[Any], expected: datetime) -> None:
    assert first_needed(view(*windows), T) == expected


def test_coverage_is_of_one_definition_and_one_filling(tmp_path: Path) -> None:
    rows, about = LmdbRows(tmp_path), layout(view(*WINDOWS))
    birth = coverage.begin(rows, about, "first")
    coverage.finish(rows, about, birth, 5, 9)
    assert coverage.begin(rows, about, "second") == birth
    coverage.finish(rows, about, birth, 9, 12)
    coverage.finish(rows, about, birth, 12, 12)
    assert coverage.covered_spans(rows, about) == ((5, 12),)
    changed = layout(view(timedelta(hours=2)))
    assert coverage.covered_spans(rows, changed) == ()
    with pytest.raises(DataError, match="its definition changed"):
        coverage.finish(rows, changed, birth, 5, 9)
    coverage.drop(rows, about.space)
    assert coverage.covered_spans(rows, about) == ()
    with pytest.raises(DataError, match="were deleted"):
        coverage.finish(rows, about, birth, 5, 9)


def test_a_column_that_no_feature_is_made_of_changes_nothing() -> None:
    before = view(*WINDOWS)
    wider = Column(name="colour", type="string")
    after = before.model_copy(
        update={"source": before.source.model_copy(update={"columns": (wider,)})}
    )
    assert layout(before).meaning == layout(after).meaning


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[Path]:
    return (tmp_path / str(number) for number in itertools.count())


hours = st.integers(0, 10)
fillings = st.tuples(hours, hours).map(sorted)
LOSE = "lose"


@pytest.mark.slow
@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(hours, max_size=8),
    st.lists(fillings | st.just([-1, 10]) | st.just(LOSE), max_size=8),
    hours,
)
def test_a_count_is_right_or_missing_whatever_was_filled_and_lost(
    folders: Iterator[Path], happened: list[int], work: list[Any], later: int
) -> None:
    """-1 stands for the beginning of time. Right: what had happened when the store was filled."""
    definition = view(*WINDOWS)
    rows, about = LmdbRows(next(folders)), layout(definition)
    reader = TailReader(about, about.fields)
    facts = [reference.Row((1,), START + h * HOUR, None, {}) for h in happened]
    held: list[tuple[int, int]] = []
    for what in work:
        if what == LOSE:
            rows.drop(about.space)
            held = []
        else:
            fill(rows, about, facts, *what)
            held.append((what[0], what[1]))
        now = START + (10 + later) * HOUR
        there = merged(span for span in held if span[0] < span[1])
        key = about.codec.encode([[1]], 1)
        [found] = rows.read_many([(about.space, [*key, COVERED])])
        values = reader.read(found, key, now).rows[0]
        for feature, value in zip(definition.aggregates, values, strict=True):
            begin = -1 if feature.window is None else 10 + later - feature.window // ONE_HOUR
            if not there or there[-1][0] > begin:
                assert value is None
                continue
            brought = [f for f in facts if f.happened <= START + there[-1][1] * HOUR]
            assert value == reference.aggregate(definition, feature, brought, (1,), now)


def fill(rows: LmdbRows, about: Layout, facts: list[Any], first: int, last: int) -> None:
    """As a materialisation does it."""
    low, high = (START + hour * HOUR for hour in (first, last))
    low = coverage.BEGINNING if first < 0 else low
    birth = coverage.begin(rows, about, str(len(facts)))
    chosen = [fact.happened for fact in facts if low <= fact.happened <= high]
    table = pa.table(
        {
            "user": pa.array([1] * len(chosen), pa.int64()),
            "at": pa.array(chosen, pa.timestamp("ns", "UTC")),
        }
    )
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    start, end = (epoch + timedelta(microseconds=t // 1_000) for t in (low, high))
    write_source(rows, about, table, start, end, START)
    coverage.finish(rows, about, birth, low, high)


def test_coverage_survives_being_stored() -> None:
    about = layout(view(*WINDOWS))
    held = Coverage(about.meaning, "born", ((coverage.BEGINNING, 5), (7, 2**62)))
    assert coverage.coverage_of(about, held.to_row()) == held
    for broken in (b"", b"\x90", held.to_row()[:-1], b"\x01"):
        assert coverage.coverage_of(about, broken) is None
