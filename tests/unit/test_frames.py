"""Tables: what a project may return, what every dataset and every label row must be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import DataError
from penstock.features.labels import checked_labels
from penstock.frames.checks import event_bounds, require_columns, require_rows, require_unique
from penstock.frames.convert import as_table, columns_of, write_parquet
from penstock.settings import FeatureSettings

NOW = datetime(2026, 6, 1, 12, 0, 0, 123456, tzinfo=UTC)
HOUR = timedelta(hours=1)
ZONES = st.sampled_from(["UTC", "Asia/Tokyo", "-05:00"])
UNITS = st.sampled_from(["s", "ms", "us", "ns"])


def times(*values: Any, unit: str = "us", tz: str | None = "UTC") -> pa.Table:
    return pa.table({"at": pa.array(list(values), pa.timestamp(unit, tz))})


def bounds(table: pa.Table, tolerance: timedelta = timedelta(0)) -> Any:
    return event_bounds(table, "at", NOW, tolerance)


@given(ZONES, UNITS)
def test_bounds_are_utc_whatever_the_column_s_zone_and_unit(zone: str, unit: str) -> None:
    first, last = bounds(times(NOW - 3 * HOUR, NOW - 5 * HOUR, unit=unit, tz=zone))
    assert first.utcoffset() == last.utcoffset() == timedelta(0)
    assert abs(first - (NOW - 5 * HOUR)) < timedelta(seconds=1)
    assert last - first == 2 * HOUR


def test_no_event_time_has_no_bounds() -> None:
    assert event_bounds(times(NOW), "", NOW, HOUR) == (None, None)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (times(datetime(2026, 1, 1), tz=None), "timestamp\\[us\\], which has no time zone"),  # noqa: DTZ001
        (pa.table({"at": [NOW.date()]}), "date32.*, which has no time zone"),
        (pa.table({"at": ["2026-01-01"]}), "string, which has no time zone"),
        (pa.table({"at": pa.nulls(2)}), "null, which has no time zone"),
        (times(NOW - HOUR, None, None), "2 rows have no event time 'at'"),
        (times(NOW - HOUR, NOW + HOUR), "1 rows lie in the future: the last 'at' is 2026-06-01T13"),
        (pa.table({"other": [1]}), "names 'at', which the data does not have; it has other"),
    ],
)
def test_times_that_cannot_be_right_are_refused(table: pa.Table, said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        bounds(table)
    assert caught.value.hint


@given(UNITS)
def test_rows_of_the_future_are_counted_in_any_unit(unit: str) -> None:
    with pytest.raises(DataError, match="1 rows lie in the future"):
        bounds(times(NOW - HOUR, NOW + HOUR, unit=unit))


def test_a_source_s_clock_may_run_ahead_by_the_tolerance() -> None:
    table = times(NOW + HOUR)
    assert bounds(table, tolerance=HOUR)[1] == NOW + HOUR
    with pytest.raises(DataError, match="lie in the future"):
        bounds(table, tolerance=HOUR - timedelta(microseconds=1))


def test_an_empty_table_is_refused_by_its_source() -> None:
    with pytest.raises(DataError, match=r"extract\(\) returned no rows"):
        require_rows(times(), "extract()")


def test_columns_of_the_same_name_are_refused() -> None:
    table = pa.Table.from_arrays([pa.array([1])] * 3, names=["a", "a", "b"])
    with pytest.raises(DataError, match=r"columns of the same name: a$"):
        require_rows(table, "extract()")


def test_missing_columns_are_named_with_the_setting_and_those_there_are() -> None:
    with pytest.raises(DataError, match=r"\[data\] key names 'x', 'y', which .* it has a, b"):
        require_columns(pa.table({"a": [1], "b": [2]}), ("a", "x", "y"), "[data] key")


def test_a_repeated_key_is_counted_and_shown() -> None:
    table = pa.table({"id": [1, 1, 1, 2], "day": [1, 1, 2, 1]})
    require_unique(table, ())
    with pytest.raises(DataError, match=r"1 rows repeat the key \(id, day\).*'id': 1, 'day': 1"):
        require_unique(table, ("id", "day"))
    with pytest.raises(DataError, match=r"2 rows repeat the key \(id\)"):
        require_unique(table, ("id",))
    require_unique(table.slice(1), ("id", "day"))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1))
def test_a_key_is_unique_when_no_two_rows_share_it(keys: list[tuple[int, int]]) -> None:
    table = pa.table({"a": [a for a, _ in keys], "b": [b for _, b in keys]})
    if len(set(keys)) == len(keys):
        require_unique(table, ("a", "b"))
    else:
        with pytest.raises(DataError, match=f"^{len(keys) - len(set(keys))} rows"):
            require_unique(table, ("a", "b"))


LABELS = FeatureSettings(label="churned", timestamp="at")


def labels(churned: Any, **more: Any) -> pa.Table:
    count = len(churned)
    at = pa.array([NOW - HOUR] * count, pa.timestamp("us", "UTC"))
    return pa.table({"id": list(range(count)), "at": at, "churned": churned} | more)


def checked(table: pa.Table) -> pa.Table:
    return checked_labels(table, ("id",), LABELS, NOW, "labels()")


@pytest.mark.parametrize(
    "column",
    [
        pa.array([0, 1, 1]),
        pa.array([False, True, True]),
        pa.array([0.0, 1.0, 1.0]),
        pa.array([0, 1, 1], pa.uint8()),
        pa.array([0, 1, 1]).dictionary_encode(),
    ],
    ids=lambda column: str(column.type),
)
def test_a_label_of_two_classes_becomes_a_small_integer(column: pa.Array) -> None:
    found = checked(labels(column))
    assert found["churned"].type == pa.int8()
    assert found["churned"].to_pylist() == [0, 1, 1]
    assert found.column_names == ["id", "at", "churned"]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (labels(pa.array([1, 1])), "'churned' has the values 1; .* both 0 and 1"),
        (labels(pa.array([True, True])), "'churned' has the values 1;"),
        (labels(pa.array([0, 1, 2])), "has the values 0, 1, 2;"),
        (labels(pa.array(range(9))), "has the values 0, 1, 2, 3, 4, 5, …;"),
        (labels(pa.array([0.0, 1.0, float("nan")])), "has the values .*nan"),
        (labels(pa.array(["0", "1"])), "has the values '0', '1';"),
        (labels(pa.array([0, 1, None])), "1 label rows have no 'churned'"),
        (labels(pa.array([], pa.int64())), r"labels\(\) returned no rows"),
        (labels(pa.array([0, 1])).drop(["id"]), "entity_keys names 'id'"),
        (labels(pa.array([0, 1])).drop(["at"]), "timestamp names 'at'"),
        (labels(pa.array([0, 1])).drop(["churned"]), "label names 'churned'"),
        (labels(pa.array([0, 1]), at=[NOW + HOUR, NOW]), "1 rows lie in the future"),
        (labels(pa.array([0, 1]), at=["yesterday", "now"]), "string, which has no time zone"),
    ],
)
def test_label_rows_that_cannot_be_learned_from_are_refused(table: pa.Table, said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        checked(table)
    assert caught.value.hint


FRAME = pd.DataFrame(
    {"id": [3, 1], "at": pd.to_datetime(["2026-01-01", "2026-01-02"], utc=True), "n": ["a", None]},
    index=[7, 9],
)


@pytest.mark.parametrize("form", ["pandas", "arrow", "parquet", "csv", "text path"])
def test_every_form_of_a_frame_is_the_same_table(form: str, tmp_path: Path) -> None:
    path = tmp_path / ("rows.csv" if form == "csv" else "rows.parquet")
    FRAME.to_csv(path, index=False) if form == "csv" else FRAME.to_parquet(path)
    value = {"pandas": FRAME, "arrow": pa.table(FRAME), "text path": str(path)}.get(form, path)
    table = as_table(value, "extract()")
    assert table.column_names == ["id", "at", "n"]
    assert table["id"].to_pylist() == [3, 1]
    assert table.schema.metadata is None


@pytest.mark.parametrize("value", [None, 7, {"a": [1]}, [1, 2]])
def test_what_is_no_frame_is_refused_by_type(value: Any) -> None:
    with pytest.raises(DataError, match=rf"extract\(\) returned {type(value).__name__}$"):
        as_table(value, "extract()")


def test_a_column_of_several_types_is_refused() -> None:
    with pytest.raises(DataError, match="a frame that Arrow cannot hold"):
        as_table(pd.DataFrame({"a": [1, "x"]}), "extract()")


@pytest.mark.parametrize("name", ["none.parquet", "broken.parquet"])
def test_a_path_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "broken.parquet").write_text("not a Parquet file")
    with pytest.raises(DataError, match=name):
        as_table(tmp_path / name, "extract()")


def test_the_same_table_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_parquet(as_table(FRAME.copy(), "extract()"), tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert pq.read_table(tmp_path / "one")["id"].to_pylist() == [3, 1]


def test_columns_are_named_as_arrow_prints_them() -> None:
    columns = {column.name: column.type for column in columns_of(as_table(FRAME, "x").schema)}
    assert columns == {"id": "int64", "at": "timestamp[ns, tz=UTC]", "n": "string"}
