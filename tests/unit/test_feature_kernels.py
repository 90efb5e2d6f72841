"""Window and point-in-time kernels against the definition, read row by row."""

from __future__ import annotations

import math
import random
import statistics
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from feature_examples import Example, examples, same
from feature_reference import rounded_sum
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import DataError
from penstock.features.kernels.exact import ExactSums, exact_sum
from penstock.features.kernels.latest import latest_of_each, latest_rows
from penstock.features.kernels.ranges import over_ranges
from penstock.features.kernels.timeline import Search
from penstock.features.kernels.windows import aggregates_at

FINITE = st.floats(allow_nan=False, allow_infinity=False)


def agrees(found: object, expected: object, function: str) -> bool:
    if function == "std" and isinstance(found, float) and isinstance(expected, float):
        return math.isclose(found, expected, rel_tol=1e-14)
    return same(found, expected)


@settings(max_examples=150, deadline=None)
@given(examples(aggregated=True))
@pytest.mark.slow
def test_windows_hold_what_their_definition_says(example: Example) -> None:
    found = aggregates_at(example.view, example.facts, example.questions, "at").to_pylist()
    for row, expected, question in zip(found, example.expected(), example.asked, strict=True):
        for feature in example.view.aggregates:
            values = row[feature.name], expected[feature.name]
            assert agrees(*values, feature.function), (feature, question, values)


@settings(max_examples=120, deadline=None)
@given(examples(aggregated=False))
def test_the_latest_row_is_the_one_that_its_definition_says(example: Example) -> None:
    view, facts = example.view, example.facts
    keys = {column.name: column.name for column in view.keys}
    rows = latest_rows(
        example.questions,
        facts,
        keys,
        at="at",
        happened="t",
        created=view.source.created,
        ttl=view.ttl,
    )
    names = [column.name for column in view.fields]
    found = facts.select(names).take(rows).to_pylist()
    for row, expected in zip(found, example.expected(), strict=True):
        assert all(same(row[name], expected[name]) for name in names)


@settings(max_examples=100, deadline=None)
@given(examples(aggregated=False, late=False))
def test_the_latest_row_of_each_entity_is_there_once(example: Example) -> None:
    view, facts = example.view, example.facts
    keys = [column.name for column in view.keys]
    rows = latest_of_each(facts, keys, happened="t", created=view.source.created)
    entities = {row.key for row in example.rows if None not in row.key}
    found = facts.take(rows).to_pylist()
    assert sorted(tuple(row[key] for key in keys) for row in found) == sorted(entities)
    end = max((row.happened or 0 for row in example.rows), default=0)
    forever = Example(view.model_copy(update={"ttl": None}), example.rows, ())
    for row in found:
        expected = forever.expected_at(tuple(row[key] for key in keys), end)
        assert all(same(row[name], value) for name, value in expected.items())


@settings(max_examples=120, deadline=None)
@given(st.lists(FINITE, max_size=12), st.randoms(use_true_random=False))
def test_a_sum_is_the_exact_one_rounded_once_in_any_order(
    values: list[float], shuffle: random.Random
) -> None:
    expected = rounded_sum(values)
    assert exact_sum(values) == expected
    shuffle.shuffle(values)
    column = np.array([*values, 3.0, *values])
    left, right = np.array([0, len(values) + 1]), np.array([len(values), len(column)])
    assert ExactSums(column).over(left, right).tolist() == [expected, expected]


def test_sums_of_many_values_of_many_sizes_are_exact() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(size=5_000) * 10.0 ** rng.integers(-8, 8, 5_000)
    edges = np.sort(rng.integers(0, 5_001, (400, 2)), axis=1)
    found = ExactSums(values).over(edges[:, 0], edges[:, 1])
    expected = [math.fsum(values[low:high]) for low, high in edges.tolist()]
    assert found.tolist() == expected


def test_a_deviation_survives_a_mean_that_is_far_above_it() -> None:
    values = [1e9 + 0.25, 1e9 + 0.5, 1e9 + 1.0, 1e9 + 7.0]
    found = over_ranges("std", pa.array(values), np.array([0]), np.array([4]), pa.float64())
    expected = statistics.stdev(map(Fraction, values))
    assert found[0].as_py() == pytest.approx(expected, rel=1e-14)


def test_a_sum_of_integers_that_needs_more_than_64_bits_is_refused() -> None:
    column = pa.array([2**62, 2**62, 5])
    assert over_ranges("sum", column, np.array([1]), np.array([3]), pa.int64()).to_pylist() == [
        2**62 + 5
    ]
    with pytest.raises(DataError, match="too large for 64 bits"):
        over_ranges("sum", column, np.array([0]), np.array([2]), pa.int64())


@pytest.mark.parametrize("function", ["min", "max", "count_distinct", "last_distinct", "std"])
def test_long_ranges_are_as_right_as_short_ones(function: str) -> None:
    rng = np.random.default_rng(1)
    values = rng.integers(0, 40, 3_000).astype(float)
    edges = np.sort(rng.integers(0, 3_001, (200, 2)), axis=1)
    kind = {"count_distinct": pa.int64(), "last_distinct": pa.list_(pa.float64())}
    found = over_ranges(
        function, pa.array(values), edges[:, 0], edges[:, 1], kind.get(function, pa.float64()), 3
    )
    for value, (low, high) in zip(found.to_pylist(), edges.tolist(), strict=True):
        part = values[low:high].tolist()
        expected = {
            "min": lambda part: min(part, default=None),
            "max": lambda part: max(part, default=None),
            "count_distinct": lambda part: len(set(part)),
            "last_distinct": lambda part: list(dict.fromkeys(part[::-1]))[:3] or None,
            "std": lambda part: statistics.stdev(part) if len(part) > 1 else None,
        }[function](part)
        assert agrees(value, expected, function)


def test_entities_and_times_that_need_more_than_one_integer_are_found_as_well() -> None:
    rng = np.random.default_rng(5)
    codes = np.sort(rng.integers(0, 500, 4_000))
    times = rng.integers(0, 2**61, 4_000)
    times = times[np.lexsort((times, codes))]
    wide, narrow = Search(codes, times), Search(codes, times // 2**40, unit=1)
    asked = rng.integers(-1, 502, 1_000)
    edges = times[rng.integers(0, 4_000, 1_000)] + rng.integers(-1, 2, 1_000)
    expected = [
        np.searchsorted(codes, code) + (times[codes == code] <= edge).sum()
        for code, edge in zip(asked.tolist(), edges.tolist(), strict=True)
    ]
    assert wide.after(asked, edges)[asked >= 0].tolist() == np.array(expected)[asked >= 0].tolist()
    inside = (asked >= 0) & (asked < 500)
    assert (wide.beginning(asked)[inside] == narrow.beginning(asked)[inside]).all()


@pytest.mark.parametrize("value", [0.1, 0.3, 1e9 + 0.1, 19.99, 1e-200, 1e200])
@pytest.mark.parametrize("count", [2, 3, 6, 7, 100])
def test_equal_values_deviate_by_nothing(value: float, count: int) -> None:
    column = pa.array([1.0, *[value] * count, 2.0])
    [found] = over_ranges(
        "std", column, np.array([1]), np.array([1 + count]), pa.float64()
    ).to_pylist()
    assert found == 0.0


def test_neighbours_among_doubles_deviate_by_what_is_between_them() -> None:
    low, high = 0.1, math.nextafter(0.1, 1.0)
    [found] = over_ranges(
        "std", pa.array([low, high, low]), np.array([0]), np.array([3]), pa.float64()
    ).to_pylist()
    exact = [Fraction(value) for value in (low, high, low)]
    mean = sum(exact) / 3
    variance = sum((value - mean) ** 2 for value in exact) / 2
    assert found == pytest.approx(math.sqrt(variance), rel=1e-15)
