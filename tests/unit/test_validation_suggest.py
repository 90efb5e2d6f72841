"""What a draft expects of a column, given what the column looks like."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import DataError
from penstock.validation.profile import ColumnProfile, profile
from penstock.validation.suggest import _outward, suggest

ROWS = 2_000


def suggested(folder: Path, **columns: Any) -> dict[str, dict[str, Any]]:
    """The arguments of what is expected of the columns, by type, less the column's name."""
    path = folder / "data.parquet"
    pq.write_table(pa.table(columns), path)
    return {
        entry["type"].removeprefix("expect_column_"): {
            name: value for name, value in entry["kwargs"].items() if name != "column"
        }
        for entry in suggest(path, "events")["expectations"]
    }


def profiled(folder: Path, **columns: Any) -> ColumnProfile:
    path = folder / "data.parquet"
    pq.write_table(pa.table(columns), path)
    return profile(path)[0]


def test_the_table_keeps_its_columns_and_roughly_its_size(tmp_path: Path) -> None:
    found = suggested(tmp_path, a=list(range(100)), b=["x"] * 100)
    assert found["expect_table_columns_to_match_set"]["column_set"] == ["a", "b"]
    assert found["expect_table_row_count_to_be_between"] == {"min_value": 50, "max_value": 200}


def test_nulls_are_allowed_as_far_as_there_are_some(tmp_path: Path) -> None:
    # 1,900 of 2,000 present = 95 %, less one percent of room
    found = suggested(tmp_path, note=["x"] * 1_900 + [None] * 100)
    assert found["values_to_not_be_null"] == {"mostly": 0.94}
    assert suggested(tmp_path, note=["x"] * ROWS)["values_to_not_be_null"] == {}


def test_nan_counts_as_null_whatever_the_statistics_of_the_file_say(tmp_path: Path) -> None:
    found = profiled(tmp_path, amount=[2.5, float("nan"), None, 2.5])
    assert found.present == 2
    assert found.numbers is not None
    assert (found.numbers.minimum, found.numbers.maximum) == (2.5, 2.5)


def test_an_empty_column_is_expected_to_be_there_and_nothing_more(tmp_path: Path) -> None:
    found = suggested(tmp_path, empty=pa.nulls(ROWS, pa.float64()))
    assert all(kind.startswith("expect_table") for kind in found)


def test_few_texts_are_a_set_and_many_are_not(tmp_path: Path) -> None:
    found = suggested(tmp_path, country=["DE", "FR"] * 1_000)
    assert found["values_to_be_in_set"] == {"value_set": ["DE", "FR"]}
    assert "values_to_be_in_set" not in suggested(tmp_path, name=[f"n{i}" for i in range(40)] * 50)
    assert "values_to_be_in_set" not in suggested(tmp_path, name=["a", "b", "c"])  # too few rows


def test_outliers_are_allowed_where_there_are_some(tmp_path: Path) -> None:
    # 0 to 199.9, then one of 1e6: quantiles 0.2 and 199.7, half their distance above is 299.4
    found = suggested(tmp_path, amount=[i / 10 for i in range(ROWS - 1)] + [1e6])
    assert found["values_to_be_between"] == {"min_value": 0, "max_value": 300, "mostly": 0.99}


def test_without_outliers_every_value_is_held_to_the_range(tmp_path: Path) -> None:
    # 10 to 19.99: half the spread below is 5, above is 25
    found = suggested(tmp_path, amount=[10 + (i % 1_000) / 100 for i in range(ROWS)])
    assert found["values_to_be_between"] == {"min_value": 5.0, "max_value": 25}
    # 14.995 ± a quarter of it = 11.25 and 18.74
    assert found["mean_to_be_between"] == {"min_value": 11, "max_value": 19}


def test_identifiers_have_no_range_and_no_mean(tmp_path: Path) -> None:
    for found in (
        suggested(tmp_path, event=list(range(ROWS))),
        suggested(tmp_path, customer_id=[i % 700 for i in range(ROWS)]),
    ):
        assert "values_to_be_between" not in found
        assert "mean_to_be_between" not in found


def test_a_column_is_unique_if_no_value_comes_twice(tmp_path: Path) -> None:
    assert "values_to_be_unique" in suggested(tmp_path, event_id=list(range(ROWS)))
    almost = [*range(ROWS - 1), 0]
    assert "values_to_be_unique" not in suggested(tmp_path, event_id=almost)
    assert "values_to_be_unique" not in suggested(tmp_path, event_id=[1, 2, 3])  # by chance


def test_infinite_values_have_no_mean_to_keep_to(tmp_path: Path) -> None:
    found = suggested(tmp_path, rate=[float("inf"), 1.0] * 1_000)
    assert set(found) >= {"values_to_not_be_null", "values_to_be_of_type"}
    assert "mean_to_be_between" not in found


@pytest.mark.parametrize(
    ("values", "type_name"),
    [
        (pa.array([1, 2], pa.int32()), "int32"),
        (pa.array([1, None], pa.int32()), "float64"),
        (pa.array([1.0], pa.float32()), "float32"),
        (pa.array(["a", None]), "str"),
        (pa.array([True, None]), "bool"),
        (pa.array([0], pa.timestamp("us")), "datetime64[us]"),
        (pa.array([0], pa.timestamp("us", "UTC")), "Timestamp"),
        (pa.array([0], pa.date32()), "date"),
        (pa.array(["a"]).dictionary_encode(), ""),
        (pa.array([[1]]), ""),
    ],
)
def test_types_bear_the_name_great_expectations_knows(
    tmp_path: Path, values: Any, type_name: str
) -> None:
    assert profiled(tmp_path, column=values).batch_type == type_name


def test_columns_that_differ_in_case_alone_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table({"a": [1, 2], "A": [None, 2], 'we"ird': [1, 1]}), path)
    assert [(c.name, c.present) for c in profile(path)] == [("a", 2), ("A", 1), ('we"ird', 2)]


def test_every_expectation_says_why(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table({"a": [i / 7 for i in range(ROWS)], "b": ["x"] * ROWS}), path)
    suite = suggest(path, "events")
    assert suite["name"] == "events"
    assert all(entry["meta"]["notes"] for entry in suite["expectations"])


def test_a_file_that_is_not_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"events\.csv cannot be read as Parquet"):
        suggest(tmp_path / "events.csv", "events")


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_rounding_outward_never_cuts_off_the_value(value: float) -> None:
    assert _outward(value, up=False) <= value <= _outward(value, up=True)
