"""Spark computes what one machine computes, to the bit: training sets, and what is materialised."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sparks

from penstock.project import Project, open_project

pytestmark = pytest.mark.slow

BEGIN = datetime(2024, 2, 20, tzinfo=UTC)
END = datetime(2024, 3, 12, tzinfo=UTC)
ROWS, ENTITIES = 3_000, 40

FEATURES = """
from penstock.features import *

shop, name = Entity("shop"), Entity("name")
rows = BatchSource("rows", path="rows", timestamp="t", created="created")
whole = BatchSource("whole", path="nanoseconds.parquet", timestamp="t")
asked = BatchSource("asked", timestamp="t", created="created",
                    query="SELECT shop, t, created, usd * 3 AS thrice FROM 'rows/*.parquet'")

windows = FeatureView("windows", source=rows, entities=[shop], aggregates=[
    *(Aggregate("usd", f, window="3d") for f in ("count", "sum", "mean", "std", "min", "max")),
    *(Aggregate("kind", f, window="5d", offset="12h") for f in
      ("last", "first", "count_distinct", "last_distinct(2)")),
    Aggregate("usd", "sum"), Aggregate("*", "count", window="36h"),
], resolution="1h")
latest = FeatureView("latest", source=rows, entities=[shop, name], ttl="2d",
                     features=["usd", "kind"])
nanoseconds = FeatureView("nanoseconds", source=whole, entities=[shop], features=["n"])
everybody = FeatureView("everybody", source=whole, aggregates=[
    Aggregate("n", "sum", name="n_all")])

@batch_feature_view(source=rows, entities=[shop],
                    aggregates=[Aggregate("half", "sum", window="7d")])
def by_sql(rows):
    return f"SELECT shop, t, created, usd / 2 AS half FROM {rows} WHERE kind = 'x'"

@batch_feature_view(source=rows, entities=[shop], mode="pandas",
                    aggregates=[Aggregate("twice", "sum", window="7d")])
def by_pandas(rows):
    return rows.assign(twice=rows.usd * 2)[["shop", "t", "created", "twice"]]

@batch_feature_view(source=rows, entities=[shop], mode="arrow", features=["third"])
def by_arrow(rows):
    import pyarrow.compute as pc
    return rows.select(["shop", "t", "created"]).append_column("third", pc.divide(rows["usd"], 3.0))

by_query = FeatureView("by_query", source=asked, entities=[shop], aggregates=[
    Aggregate("thrice", "sum", window="4d"), Aggregate("thrice", "max")])
service = FeatureService("service", features=[
    by_query, windows,
    latest[["usd", "kind"]], nanoseconds, everybody, by_sql, by_pandas, by_arrow])
"""


def write_rows(root: Path) -> None:
    """Two files, with ties, nulls, late and repeated rows, out of order."""
    rng = np.random.default_rng(4)
    hours = rng.integers(0, 24 * 20, ROWS)
    times = [BEGIN + timedelta(hours=int(hour)) for hour in hours]
    late = rng.choice([0, 0, 0, 1, 30], ROWS)
    usd = [None if value < 0 else round(value, 2) for value in rng.normal(40, 30, ROWS)]
    table = pa.table(
        {
            "shop": pa.array([None if s == 7 else int(s) for s in rng.integers(0, ENTITIES, ROWS)]),
            "name": pa.array(rng.choice(["a", "b"], ROWS)),
            "t": pa.array(times, pa.timestamp("us", "UTC")),
            "created": pa.array(
                [t + timedelta(hours=int(delay)) for t, delay in zip(times, late, strict=True)],
                pa.timestamp("us", "UTC"),
            ),
            "usd": pa.array(usd, pa.float64()),
            "kind": pa.array(rng.choice(["x", "y", "z"], ROWS)),
        }
    )
    (root / "rows").mkdir()
    pq.write_table(table.slice(0, 1_000), root / "rows" / "1.parquet")
    pq.write_table(table.slice(1_000), root / "rows" / "2.parquet", row_group_size=300)
    naive = table["t"].cast(pa.timestamp("ns", "UTC")).cast(pa.timestamp("ns"))
    ns = pa.table({"shop": table["shop"], "t": naive, "n": pa.array(range(ROWS))})
    pq.write_table(ns, root / "nanoseconds.parquet")


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Project]]:
    """The same project, computed here and on Spark."""
    from penstock.features.feast_objects import compiled
    from penstock.features.store import apply, prepared_store

    sparks.required()
    made = {}
    with sparks.small_spark(tmp_path_factory.mktemp("conf")):
        for engine in ("duckdb", "spark"):
            root = tmp_path_factory.mktemp(engine)
            write_rows(root)
            text = f'[project]\nname = "shop"\n[features]\nengine = "{engine}"\n'
            (root / "penstock.toml").write_text(text)
            (root / "features.py").write_text(FEATURES)
            sys.modules.pop("features", None)
            made[engine] = open_project(root)
            found = compiled(made[engine].module("features"), root)
            apply(prepared_store(made[engine]), made[engine], found)
            sys.path.remove(str(root))
        sys.path.insert(0, str(made["spark"].root))  # where the workers find features.py
        sys.modules.pop("features", None)
        yield made
        sys.path.remove(str(made["spark"].root))
        sys.modules.pop("features", None)


def store_of(project: Project) -> Any:
    from penstock.features.store import open_store

    return open_store(project.root)


def test_training_sets_are_equal_to_the_bit(projects: dict[str, Project]) -> None:
    from penstock.features.training_set import historical_features

    rng = np.random.default_rng(5)
    asked = pa.table(
        {
            "shop": pa.array([None if s == 3 else int(s) for s in rng.integers(0, 45, 400)]),
            "name": pa.array(rng.choice(["a", "b", "c"], 400)),
            "event_timestamp": pa.array(
                [BEGIN + timedelta(hours=int(h)) for h in rng.integers(-5, 24 * 21, 400)],
                pa.timestamp("us", "UTC"),
            ),
        }
    )
    found = {}
    for engine, project in projects.items():
        store = store_of(project)
        found[engine] = historical_features(store, store.get_feature_service("service"), asked)
    here, there = found["duckdb"], found["spark"]
    assert here.schema == there.schema
    for name in here.column_names:
        assert there[name].to_pylist() == here[name].to_pylist(), name
    assert here["usd_sum_3d"].to_pylist() != [0.0] * 400


def test_what_is_materialised_is_equal_to_the_bit(projects: dict[str, Project]) -> None:
    names = ["a", "b"] * ENTITIES
    entities = {"shop": [n // 2 for n in range(2 * ENTITIES)], "name": names}
    found = {}
    for engine, project in projects.items():
        store = store_of(project)
        online = store._get_provider().online_store
        online.now = lambda: int((END - timedelta(days=1)).timestamp()) * 10**9
        middle = BEGIN + timedelta(days=9)
        store.materialize(BEGIN - timedelta(days=1), middle)
        store.materialize(middle, END)
        service = store.get_feature_service("service")
        found[engine] = store.get_online_features(features=service, entity_rows=entities).to_dict()
    assert found["spark"] == found["duckdb"]
    assert any(found["duckdb"]["usd_sum_lifetime"])
    assert any(value is not None for value in found["duckdb"]["third"])


def test_what_workers_import_knows_neither_feast_nor_spark() -> None:
    told = "import sys, penstock.features.spark_groups; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", told], text=True)
    assert not {"feast", "pyspark", "sqlalchemy"} & set(loaded.split())
