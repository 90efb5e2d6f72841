"""What a report says about an expectation and about what was seen."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from penstock.validation.wording import expected, listing, observed, percent, show, title

NOT_NULL = "expect_column_values_to_not_be_null"
BETWEEN = "expect_column_values_to_be_between"
IN_SET = "expect_column_values_to_be_in_set"


@pytest.mark.parametrize(
    ("kind", "kwargs", "words"),
    [
        (NOT_NULL, {}, "no nulls"),
        (NOT_NULL, {"mostly": 0.99}, "at most 1 % null"),
        (NOT_NULL, {"mostly": 1.0}, "no nulls"),
        (BETWEEN, {"min_value": 0, "max_value": 500}, "between 0 and 500"),
        (BETWEEN, {"min_value": 0.5, "max_value": None}, "at least 0.5"),
        (BETWEEN, {"max_value": 9, "strict_max": True}, "less than 9"),
        (
            BETWEEN,
            {"min_value": 0, "max_value": 1, "strict_min": True},
            "more than 0 and at most 1",
        ),
        (
            BETWEEN,
            {"min_value": 0, "max_value": 500, "mostly": 0.995},
            "between 0 and 500, at most 0.5 % unexpected",
        ),
        (
            BETWEEN,
            {"min_value": 0, "row_condition": "country=='DE'", "condition_parser": "pandas"},
            "at least 0, where country=='DE'",
        ),
        (IN_SET, {"value_set": ["DE", 1, None]}, "one of 'DE', 1, null"),
        ("expect_column_values_to_not_be_in_set", {"value_set": [0]}, "not one of 0"),
        ("expect_column_distinct_values_to_equal_set", {"value_set": [0, 1]}, "exactly 0, 1"),
        ("expect_column_values_to_match_regex", {"regex": "^a{2}$"}, "matching ^a{2}$"),
        ("expect_column_values_to_be_of_type", {"type_": "int64"}, "type int64"),
        ("expect_column_values_to_be_in_type_list", {"type_list": ["a", "b"]}, "type a or b"),
        ("expect_column_values_to_be_increasing", {}, "be increasing"),
        ("expect_column_value_z_scores_to_be_less_than", {"threshold": 3}, "threshold 3"),
    ],
)
def test_expectations_on_a_column_in_words(kind: str, kwargs: dict[str, Any], words: str) -> None:
    assert expected(kind, {"column": "amount", **kwargs}) == words


@pytest.mark.parametrize(
    ("kind", "kwargs", "words"),
    [
        ("expect_table_row_count_to_equal", {"value": 5}, "exactly 5"),
        (
            "expect_table_columns_to_match_set",
            {"column_set": ["a", "b"], "exact_match": True},
            "exactly the columns a, b",
        ),
        (
            "expect_table_columns_to_match_set",
            {"column_set": ["a", "b"], "exact_match": False},
            "at least the columns a, b",
        ),
        (
            "expect_table_columns_to_match_ordered_list",
            {"column_list": ["a", "b"]},
            "the columns a, b in this order",
        ),
        ("expect_compound_columns_to_be_unique", {"column_list": ["a", "b"]}, "no duplicates"),
        (
            "expect_multicolumn_sum_to_equal",
            {"column_list": ["a", "b"], "sum_total": 1},
            "a sum of 1",
        ),
    ],
)
def test_expectations_on_tables_and_several_columns(
    kind: str, kwargs: dict[str, Any], words: str
) -> None:
    assert expected(kind, kwargs) == words


def test_title_names_the_columns_an_expectation_judges() -> None:
    assert title(NOT_NULL, {"column": "a"}) == f"{NOT_NULL}(a)"
    pair = "expect_column_pair_values_to_be_equal"
    assert title(pair, {"column_A": "a", "column_B": "b"}) == f"{pair}(a, b)"
    table = "expect_table_columns_to_match_ordered_list"
    assert title(table, {"column_list": ["a", "b"]}) == table


@pytest.mark.parametrize(
    ("kind", "result", "words"),
    [
        # 100 · 1,203 / 69,659 = 1.727
        (
            NOT_NULL,
            {"element_count": 69_659, "unexpected_count": 1_203},
            "1,203 of 69,659 rows null (1.7 %)",
        ),
        # Great Expectations judges `mostly` among the rows that have a value: 5 of 1,000 - 200
        (
            BETWEEN,
            {"element_count": 1_000, "unexpected_count": 5, "missing_count": 200},
            "5 of 800 non-null rows unexpected (0.6 %)",
        ),
        (BETWEEN, {"element_count": 9, "unexpected_count": 0}, "none of 9 rows unexpected"),
        ("expect_column_mean_to_be_between", {"observed_value": 33.0513136}, "33.0513"),
        ("expect_column_to_exist", {}, "the column exists"),
        ("expect_column_mean_to_be_between", {"observed_value": None}, "null"),
        (
            "expect_table_columns_to_match_set",
            {
                "observed_value": ["k"],
                "details": {"mismatched": {"unexpected": ["k"], "missing": ["z"]}},
            },
            "unexpected k; missing z",
        ),
        (
            "expect_column_quantile_values_to_be_between",
            {"observed_value": {"quantiles": [0.1, 0.5], "values": [1, 3]}},
            "0.1 quantile 1, 0.5 quantile 3",
        ),
        (
            "expect_column_distinct_values_to_be_in_set",
            {"observed_value": None, "unexpected_count": 1, "partial_unexpected_list": ["b"]},
            "also 'b'",
        ),
    ],
)
def test_results_in_words(kind: str, result: dict[str, Any], words: str) -> None:
    assert observed(kind, result) == words


@pytest.mark.parametrize(
    ("part", "whole", "words"),
    [
        (0, 10, "0.0 %"),
        (1, 1_000_000, "under 0.1 %"),
        (999_999, 1_000_000, "over 99.9 %"),
        (10, 10, "100.0 %"),
    ],
)
def test_some_is_never_none_and_most_never_all(part: int, whole: int, words: str) -> None:
    assert percent(part, whole) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "null"),
        (float("nan"), "null"),
        (True, "true"),
        (1234567, "1234567"),
        (0.1 + 0.2, "0.3"),
        (2_500_315.63, "2500315.63"),
        (Decimal("1.20"), "1.20"),
        ("DE", "'DE'"),
        ([1, "a"], "1, 'a'"),
        (datetime(2025, 1, 2, tzinfo=UTC), "2025-01-02T00:00:00+00:00"),
        ("x" * 100, "'" + "x" * 58 + "…"),
    ],
)
def test_values_as_they_stand_in_a_sentence(value: Any, words: str) -> None:
    assert show(value) == words


def test_long_lists_are_cut_and_counted() -> None:
    assert listing(range(14)).endswith("11 and 2 more")
