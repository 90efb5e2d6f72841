"""Sources as they are read, and joins that do not fit into memory."""

from __future__ import annotations

import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feature_examples import Example, examples, same
from hypothesis import given, settings

from penstock.errors import DataError, PenstockError, UserCodeError
from penstock.features import Aggregate, BatchSource, Entity, FeatureView, batch_feature_view
from penstock.features import partitions as partitions_module
from penstock.features.compile import define
from penstock.features.facts import facts_of
from penstock.features.history import Asked, features_at
from penstock.features.materialise import Filling

shop = Entity("shop")
T = datetime(2024, 2, 28, 12, tzinfo=UTC)
ENOUGH = 2**30


def joined(example: Example, root: Path, memory: int) -> list[dict[str, Any]]:
    """The features of an example, whose rows lie in two files of a folder."""
    folder = root / example.view.source.location
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    facts = example.facts
    middle = len(facts) // 2
    pq.write_table(facts.slice(0, middle), folder / "1.parquet")
    pq.write_table(facts.slice(middle), folder / "2.parquet")
    keys = {column.name: column.name for column in example.view.keys}
    asked = Asked(example.questions, "at", keys)
    return features_at(example.view, facts_of(example.view, root), asked, memory).to_pylist()


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(examples(aggregated=False), examples(aggregated=True))
@pytest.mark.slow
def test_parts_on_disk_give_what_memory_gives(latest: Example, windows: Example) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for example in (latest, windows):
            whole = joined(example, Path(folder), ENOUGH)
            parted = joined(example, Path(folder), 2 * 400)  # room for about two rows
            assert len(whole) == len(parted) == len(example.asked)
            for a, b in zip(whole, parted, strict=True):
                assert all(same(a[name], b[name]) for name in a)
        for row, expected in zip(joined(latest, Path(folder), ENOUGH), latest.expected(),
                                 strict=True):  # fmt: skip
            assert all(same(row[name], expected[name]) for name in row)


def test_memory_decides_how_many_parts_there_are(tmp_path: Path) -> None:
    write(tmp_path / "rows.parquet", rows=1000)
    facts = facts_of(define(view(), tmp_path), tmp_path)
    assert partitions_module.parts_for(facts, ("shop", "t"), ENOUGH) == 1
    parts = partitions_module.parts_for(facts, ("shop", "t"), 32 * 1024)
    tables = list(partitions_module.in_parts(facts, ("shop", "t"), ("shop",), parts))
    assert 5 < parts == len(tables)
    shops = [set(table["shop"].to_pylist()) for table in tables]
    assert sum(map(len, shops)) == len(set().union(*shops))  # no entity is in two parts


def write(path: Path, rows: int = 10, **columns: Any) -> None:
    made = {
        "shop": pa.array([number % 7 for number in range(rows)]),
        "t": pa.array([T + timedelta(hours=number) for number in range(rows)]),
        "usd": pa.array([float(number) for number in range(rows)]),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(made | columns), path, row_group_size=100)


def view(**settings: Any) -> FeatureView:
    source = BatchSource("rows", path="rows.parquet", timestamp="t")
    return FeatureView("sales", **({"source": source, "entities": [shop]} | settings))


def at(root: Path, declared: FeatureView, hours: float, of: int = 3) -> dict[str, Any]:
    """The features of one shop, so many hours after T."""
    definition = define(declared, root)
    asked = pa.table({"shop": [of], "at": pa.array([T + timedelta(hours=hours)])})
    found = features_at(
        definition, facts_of(definition, root), Asked(asked, "at", {"shop": "shop"}), ENOUGH
    )
    row: dict[str, Any] = found.to_pylist()[0]
    return row


def test_files_of_a_folder_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    folder = BatchSource("rows", path="rows", timestamp="t")
    for name, value in (("b", 2.0), ("a", 1.0), ("c", 3.0)):
        write(tmp_path / "rows" / f"{name}.parquet", 1, shop=pa.array([3]), usd=pa.array([value]))
    assert at(tmp_path, view(source=folder, features=["usd"]), 1) == {"usd": 3.0}


@pytest.mark.parametrize("kind", ["timestamp[ns, tz=UTC]", "timestamp[us]", "timestamp[s, tz=UTC]"])
def test_times_may_have_any_unit_and_no_zone(tmp_path: Path, kind: str) -> None:
    from penstock.features.definition import arrow_type

    times = pa.array([T + timedelta(hours=n) for n in range(10)], pa.timestamp("us", "UTC"))
    write(tmp_path / "rows.parquet", t=times.cast(arrow_type(kind)))
    assert at(tmp_path, view(), 9) == {"usd": 3.0}
    definition = define(view(), tmp_path)
    filling = Filling(
        definition, facts_of(definition, tmp_path), T + timedelta(hours=1), T + timedelta(hours=4)
    )
    assert [len(part) for part in filling.parts(ENOUGH)] == [4]  # both ends belong to it


def test_a_query_is_a_source(tmp_path: Path) -> None:
    write(tmp_path / "rows.parquet", 100)
    query = "SELECT shop, t, usd * 2 AS twice FROM read_parquet('rows.parquet') WHERE usd < 50"
    source = BatchSource("rows", query=query, timestamp="t")
    assert at(tmp_path, view(source=source), 99) == {"twice": 90.0}


def in_sql(source: str) -> str:
    return f"SELECT shop, t, usd / 2 AS half FROM {source} WHERE usd > 3"


def in_pandas(rows: Any) -> Any:
    rows = rows[rows.usd > 3]
    return rows.assign(half=rows.usd / 2)[["shop", "t", "half"]]


def in_polars(rows: Any) -> Any:
    import polars

    return rows.filter(polars.col("usd") > 3).select("shop", "t", half=polars.col("usd") / 2)


def in_arrow(rows: pa.Table) -> pa.Table:
    import pyarrow.compute as pc

    rows = rows.filter(pc.greater(rows["usd"], 3.0))
    return rows.select(["shop", "t"]).append_column("half", pc.divide(rows["usd"], 2.0))


FEATURES = """
from penstock.features import *
from {module} import {name} as function
"""


@pytest.mark.parametrize("mode", ["sql", "pandas", "polars", "arrow"])
def test_rows_are_transformed_by_sql_or_by_a_function(
    tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "rows.parquet", 100)
    function = {"sql": in_sql, "pandas": in_pandas, "polars": in_polars, "arrow": in_arrow}[mode]
    monkeypatch.setattr("penstock.features.facts.project_function", lambda *_: function)
    source = BatchSource("rows", path="rows.parquet", timestamp="t")
    sums = [Aggregate("half", "sum", window="2d"), Aggregate("half", "count")]
    declared = batch_feature_view(
        source=source, mode=mode, entities=[shop], name="sales", aggregates=sums
    )(function)
    usd = [number for number in range(4, 100) if number % 7 == 3]
    recent = [number / 2 for number in usd if number > 99 - 48]
    found = at(tmp_path, declared, 99)
    assert found == {"half_sum_2d": sum(recent), "half_count_lifetime": len(usd)}


def test_a_function_that_raises_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "rows.parquet")

    def broken(rows: Any) -> Any:
        return rows["no such column"]

    monkeypatch.setattr("penstock.features.facts.project_function", lambda *_: broken)
    source = BatchSource("rows", path="rows.parquet", timestamp="t")
    declared = batch_feature_view(source=source, mode="pandas", entities=[shop])(broken)
    with pytest.raises(UserCodeError, match="broken raised KeyError"):
        define(declared, tmp_path)


def test_a_missing_damaged_or_changed_file_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(PenstockError, match=r"source 'rows' has no file"):
        define(view(), tmp_path)
    (tmp_path / "rows.parquet").write_bytes(b"PAR1 this is not Parquet")
    with pytest.raises(PenstockError, match="source 'rows' cannot be read"):
        define(view(), tmp_path)
    folder = view(source=BatchSource("rows", path="rows", timestamp="t"))
    write(tmp_path / "rows" / "1.parquet")
    write(tmp_path / "rows" / "2.parquet", usd=pa.array(["many"] * 10))
    with pytest.raises(DataError, match="source 'rows' cannot be read"):
        at(tmp_path, folder, 9)


def test_times_that_nanoseconds_cannot_hold_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "rows.parquet", 1, t=pa.array([datetime(1500, 1, 1)]))  # noqa: DTZ001
    with pytest.raises(DataError, match="'t' cannot be read as times"):
        at(tmp_path, view(), 1)


def test_an_empty_source_knows_nothing(tmp_path: Path) -> None:
    write(tmp_path / "rows.parquet", 0, shop=pa.array([], pa.int64()),
          t=pa.array([], pa.timestamp("us", "UTC")), usd=pa.array([], pa.float64()))  # fmt: skip
    assert at(tmp_path, view(), 1) == {"usd": None}
    assert at(tmp_path, view(aggregates=[Aggregate("usd", "sum")]), 1) == {"usd_sum_lifetime": 0.0}
