"""What differs between two files of rows."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.data.tables import TableDifference, count_rows, difference


def compared(
    folder: Path, old: pa.Table, new: pa.Table, key: tuple[str, ...] = (), name: str = "t.parquet"
) -> TableDifference:
    places = [folder / "a1b2", folder / "c3d4"]  # as objects of a cache: no suffix
    for place, table in zip(places, (old, new), strict=True):
        write = pa_csv.write_csv if name.endswith(".csv") else pq.write_table
        write(table, place)
    found = difference(name, *places, key=key)
    assert found is not None
    return found


OLD = pa.table({"id": [1, 2, 3, 4], "x": ["a", "b", None, "d"], "gone": [1, 1, 1, 1]})
NEW = pa.table({"id": [5, 4, 3, 2], "x": ["e", "D", None, "b"], "new": [0.5, 0.5, 0.5, 0.5]})


@pytest.mark.parametrize("name", ["t.parquet", "t.csv"])
def test_with_a_key_rows_are_added_removed_and_changed(tmp_path: Path, name: str) -> None:
    found = compared(tmp_path, OLD, NEW, ("id",), name)
    assert (found.rows_before, found.rows_after) == (4, 4)
    assert (found.rows_added, found.rows_removed, found.rows_changed) == (1, 1, 1)
    assert (found.columns_added, found.columns_removed) == (("new",), ("gone",))
    assert found.columns_changed == {"x": 1}  # null is null in both


@pytest.mark.parametrize("key", [(), ("no such column",), ("x",)])
def test_without_a_usable_key_whole_rows_are_compared(tmp_path: Path, key: tuple[str, ...]) -> None:
    old = pa.table({"x": ["a", "a", "b"], "y": [1, 1, 2]})
    new = pa.table({"x": ["a", "b", "b"], "y": [1, 2, 3]})
    found = compared(tmp_path, old, new, key)
    assert (found.rows_added, found.rows_removed, found.rows_changed) == (1, 1, None)
    assert found.columns_changed == {"x": None, "y": None}


def test_another_order_of_rows_is_no_difference(tmp_path: Path) -> None:
    found = compared(tmp_path, OLD, OLD.take([3, 1, 0, 2]))
    assert (found.rows_added, found.rows_removed, found.columns_changed) == (0, 0, {})


def test_another_type_is_told_and_equal_values_are_equal(tmp_path: Path) -> None:
    old = pa.table({"id": [1, 2], "x": pa.array([1, 2], pa.int64())})
    new = pa.table({"id": [1, 2], "x": pa.array(["1", "many"])})
    found = compared(tmp_path, old, new, ("id",))
    assert found.columns_retyped == {"x": "BIGINT → VARCHAR"}
    assert (found.rows_changed, found.columns_changed) == (1, {"x": 1})


def test_names_that_are_sql_are_names(tmp_path: Path) -> None:
    name = 'a"; DROP TABLE b; --'
    old, new = pa.table({name: [1], "k": [1]}), pa.table({name: [2], "k": [1]})
    assert compared(tmp_path, old, new, ("k",)).columns_changed == {name: 1}


def test_what_is_no_table_has_no_difference(tmp_path: Path) -> None:
    place = tmp_path / "x"
    place.write_bytes(b"PAR1 is not enough")
    assert difference("t.parquet", place, place) is None
    assert difference("notes.txt", place, place) is None
    assert count_rows("t.parquet", place) is None
    pq.write_table(OLD, place)
    assert count_rows("t.parquet", place) == 4


rows = st.lists(st.tuples(st.sampled_from([None, "", "a", "b"]), st.integers(0, 2)), max_size=8)


@given(old=rows, new=rows)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_counts_are_those_of_multisets(
    tmp_path: Path, old: list[tuple[str | None, int]], new: list[tuple[str | None, int]]
) -> None:
    tables = [
        pa.table({"x": pa.array([r[0] for r in part], pa.string()),
                  "y": pa.array([r[1] for r in part], pa.int64())})
        for part in (old, new)
    ]  # fmt: skip
    found = compared(tmp_path, *tables)
    assert found.rows_added == sum((Counter(new) - Counter(old)).values())
    assert found.rows_removed == sum((Counter(old) - Counter(new)).values())
    assert bool(found.columns_changed) <= (Counter(old) != Counter(new))
