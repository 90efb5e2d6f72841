"""Profiles: what DuckDB counts is what is there, and profiles add, thin out and come back whole."""

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import DataError
from penstock.profiles.completing import completed
from penstock.profiles.counting import NAMED, counted, profile_of
from penstock.profiles.profile import Column, Profile, added, profile_from, thinned

GENERATOR = np.random.default_rng(1)
ODD = "an \"odd\" 'name'"
TABLE = pa.table(
    {
        "number": pa.array([*GENERATOR.normal(size=5_000), *[None] * 100, np.nan]),
        "zeros": pa.array(np.where(GENERATOR.random(5_101) < 0.6, 0.0, GENERATOR.random(5_101))),
        ODD: pa.array(GENERATOR.integers(0, 4, 5_101), pa.int16()),
        "flag": pa.array(GENERATOR.random(5_101) < 0.1),
        "word": pa.array([*"abc" * 1_700, None]),
        "id": pa.array([f"customer {number}" for number in range(5_101)]),
        "empty": pa.nulls(5_101, pa.float64()),
        "list": pa.array([[1.0]] * 5_101),
    }
)
PROFILE = profile_of(TABLE, TABLE.column_names, "digest")


def column(profile: Profile, name: str) -> Column:
    found = profile.column(name)
    assert found is not None
    return found


def rows(**columns: list[object]) -> duckdb.DuckDBPyRelation:
    return duckdb.connect().from_arrow(pa.table(columns))


def test_a_profile_counts_every_row_once() -> None:
    assert PROFILE.rows == 5_101
    for one in PROFILE.columns:
        assert one.rows == 5_101
        if one.numbers:
            assert sum(one.numbers.counts) == one.filled
            assert len(one.numbers.counts) == len(one.numbers.edges) + 1
        if one.words:
            assert sum(one.words.counts.values()) + sum(one.words.buckets) == one.filled
    assert column(PROFILE, "number").nulls == 101  # what is not a number is missing, too
    assert column(PROFILE, "empty").filled == 0
    assert column(PROFILE, "list").numbers is None


def test_bins_hold_what_numpy_finds_in_them() -> None:
    found = column(PROFILE, "number").numbers
    assert found is not None
    values = TABLE["number"].drop_null().to_numpy()
    values = values[~np.isnan(values)]
    places = np.searchsorted(found.edges, values, side="left")
    assert np.bincount(places, minlength=len(found.counts)).tolist() == list(found.counts)
    assert (found.least, found.greatest) == (values.min(), values.max())


def test_a_value_that_many_rows_share_has_a_bin_alone() -> None:
    for name, value in (("zeros", 0.0), (ODD, 2.0), ("flag", 1.0)):
        found = column(PROFILE, name).numbers
        assert found is not None
        place = int(np.searchsorted(found.edges, value, side="left"))
        there = (TABLE[name].cast(pa.float64()).to_numpy() == value).sum()
        assert found.counts[place] == there, name


def test_many_categories_are_counted_in_buckets_and_few_by_name() -> None:
    word, identity = column(PROFILE, "word").words, column(PROFILE, "id").words
    assert word is not None
    assert identity is not None
    assert word.counts == {"a": 1_700, "b": 1_700, "c": 1_700}
    assert not word.buckets
    assert len(TABLE["id"].unique()) > NAMED
    assert not identity.counts


def test_what_was_never_seen_is_counted_by_name_and_by_range() -> None:
    shapes = [column(PROFILE, "word"), column(PROFILE, "number")]
    now = rows(word=["a", "d'", "d'", None], number=[0.0, -99.0, np.inf, None])
    word, number = counted(now, shapes)
    assert word.words is not None
    assert word.words.counts == {"a": 1, "d'": 2}
    assert number.numbers is not None
    assert (number.numbers.beyond, number.nulls) == (2, 1)
    assert (number.numbers.least, number.numbers.greatest) == (-99.0, 0.0)
    assert counted(rows(word=pa.nulls(0, pa.string()), number=pa.nulls(0, pa.float64())), shapes)


def test_profiles_of_the_same_bins_add() -> None:
    relation = duckdb.connect().from_arrow(TABLE)
    first, second = relation.limit(2_000), relation.limit(9_999, offset=2_000)
    names = [one for one in PROFILE.columns if one.name != "id"]
    parts = zip(counted(first, names), counted(second, names), strict=True)
    for whole, (one, other) in zip(names, parts, strict=True):
        assert added(one, other).model_copy(update={"numbers": None, "words": None}) == (
            whole.model_copy(update={"numbers": None, "words": None})
        )
        if whole.numbers:
            sums = added(one, other).numbers
            assert sums == whole.numbers
    with pytest.raises(DataError, match="different bins"):
        added(column(PROFILE, "number"), column(PROFILE, "zeros"))


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 1))
def test_a_thinned_column_adds_up(share: float) -> None:
    for one in PROFILE.columns:
        fewer = thinned(one, share)
        assert abs(fewer.rows - one.rows * share) <= 1
        if fewer.numbers:
            assert abs(sum(fewer.numbers.counts) - fewer.filled) <= 1


def test_a_profile_is_a_few_kilobytes_and_comes_back_from_its_text() -> None:
    assert len(PROFILE.text) < 1_500 * len(PROFILE.columns)
    again = profile_from(PROFILE.text, "here")
    assert again == PROFILE
    assert again.digest == PROFILE.digest
    with pytest.raises(DataError, match="here is not a profile"):
        profile_from('{"rows": "many"}', "here")


def test_a_models_profile_knows_its_answers_and_all_that_training_saw() -> None:
    table = TABLE.select(["number", "word"])
    judged = profile_of(table.filter(pa.compute.equal(table["word"], "a")), ["number", "word"])
    answers, labels = np.array([0.1, 0.1, 0.9]), np.array([0, 1, 1], dtype=np.int8)
    made = completed(
        PROFILE, judged, answers, labels, threshold=0.5, importance={"number": 1.0}, model="m"
    )
    word, number = column(made, "word"), column(made, "number")
    assert word.words is not None
    assert word.words.counts == {"a": 1_700, "b": 0, "c": 0}
    assert number.importance == 1.0
    assert number.numbers is not None
    before = column(PROFILE, "number").numbers
    assert before is not None
    assert number.numbers.least == before.least
    assert made.scores is not None
    assert sum(made.scores.rows.values()) == 3
    assert sum(made.scores.positives.values()) == 2
    assert made.prediction is not None
    assert made.prediction.rows == 3
