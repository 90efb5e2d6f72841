"""Whatever the values, and however they come in parts: each row counts once, and profiles add."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.profiles import counting
from penstock.profiles.counting import NAMED, counted, profile_of
from penstock.profiles.profile import Column, added

GENERATOR = np.random.default_rng(1)
LEARNED = profile_of(
    pa.table(
        {
            "number": GENERATOR.normal(size=2_000),
            "zeros": np.where(GENERATOR.random(2_000) < 0.6, 0.0, GENERATOR.random(2_000)),
            "word": GENERATOR.choice(["a", "b", "it's", 'say "so"'], 2_000),
            "id": [f"customer {number}" for number in range(2_000)],
            "list": [[1.0]] * 2_000,
        }
    ),
    ["number", "zeros", "word", "id", "list"],
)
NUMBER = st.none() | st.floats() | st.floats(-3, 3) | st.sampled_from([0.0, -0.0, 1e-12, math.inf])
WORD = st.none() | st.sampled_from(["a", "it's", 'say "so"', "new", "", "\0others", "é"])
ROW = st.tuples(NUMBER, NUMBER, WORD, WORD, st.none() | st.just([1.0]))
Rows = list[tuple[float | None, float | None, str | None, str | None, list[float] | None]]


def columns_of(rows: Rows) -> tuple[Column, ...]:
    kinds = pa.float64(), pa.float64(), pa.string(), pa.string(), pa.list_(pa.float64())
    values = {
        one.name: pa.array([row[place] for row in rows], kind)
        for place, (one, kind) in enumerate(zip(LEARNED.columns, kinds, strict=True))
    }
    return counted(duckdb.connect().from_arrow(pa.table(values)), LEARNED.columns)


def sums(*parts: tuple[Column, ...]) -> tuple[Column, ...]:
    first, *others = parts
    for other in others:
        first = tuple(map(added, first, other))
    return first


@settings(max_examples=40, deadline=None)
@given(st.lists(ROW, max_size=40))
def test_every_value_is_counted_in_its_bin_or_by_its_name(rows: Rows) -> None:
    number, zeros, word, identity, lists = columns_of(rows)

    for place, one in ((0, number), (1, zeros)):
        there = [row[place] for row in rows if row[place] is not None]
        values = [value for value in there if not math.isnan(value)]
        finite = [value for value in values if math.isfinite(value)]
        learned = LEARNED.columns[place].numbers
        assert one.numbers is not None
        assert learned is not None
        places = Counter(bisect_left(learned.edges, value) for value in values)
        assert one.numbers.counts == tuple(places[i] for i in range(len(learned.edges) + 1))
        assert one.nulls == len(rows) - len(values)
        assert one.numbers.least == min(finite, default=None)
        assert one.numbers.greatest == max(finite, default=None)
        assert one.numbers.beyond == sum(
            not learned.least <= value <= learned.greatest for value in values
        )
    assert word.words is not None
    assert word.words.counts == Counter(row[2] for row in rows if row[2] is not None)
    assert identity.words is not None
    assert sum(identity.words.buckets) == identity.filled == sum(row[3] is not None for row in rows)
    assert lists.filled == sum(row[4] is not None for row in rows)


@settings(max_examples=25, deadline=None)
@given(*[st.lists(ROW, max_size=15)] * 3)
@pytest.mark.slow
def test_profiles_add_in_any_order_and_to_that_of_all_rows(
    one: Rows, two: Rows, three: Rows
) -> None:
    first, second, third = map(columns_of, (one, two, three))

    assert sums(first, second) == sums(second, first)
    assert sums(first, sums(second, third)) == sums(sums(first, second), third)
    assert sums(first, second, third) == columns_of(one + two + three)


def test_what_is_counted_does_not_depend_on_the_parts_that_are_read(monkeypatch: object) -> None:
    rows: Rows = [
        (float(x), abs(x), "ab"[n % 2], f"customer {n % 9}", None)
        for n, x in enumerate(GENERATOR.normal(size=10_000))
    ]
    at_once = columns_of(rows)
    monkeypatch.setattr(counting, "ROWS", 2_048)  # type: ignore[attr-defined]

    assert columns_of(rows) == at_once


def test_more_new_categories_than_are_named_are_counted_as_rows() -> None:
    """The first of the commonest are named, and no row is lost."""
    rows: Rows = [(None, None, f"new {n % 150}", None, None) for n in range(1_000)]
    word = columns_of(rows)[2]

    assert word.words is not None
    assert len(word.words.counts) == counting.UNSEEN < 150 < NAMED
    assert word.filled == 1_000
    assert set(word.words.counts.values()) == {7}
