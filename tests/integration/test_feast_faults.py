"""Where the stores that come with Feast 0.67 are wrong, and Penstock's are right on the same rows.

The wrong answer is asserted too: the test that fails here tells that Feast is mended, and that
Penstock may rely on it.
"""

from __future__ import annotations

import shutil
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from penstock.features import Aggregate, BatchSource, Entity, FeatureView
from penstock.features.feast_objects import compiled

pytestmark = pytest.mark.slow

T = datetime(2025, 6, 1, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
TIME = pa.timestamp("us", "UTC")
PLUGINS = "penstock.features"
MENDED = "Feast is mended: 0.67 answered"
CUSTOMERS = [1, 2, 3, 4, 5]
# Of each customer 300 visits at three moments: 297 is the last in the file of the newest moment.
TIES = [(c, T - n % 3 * DAY, 1000 * c + n) for n in range(300) for c in CUSTOMERS]
LAST = [1000 * c + 297 for c in CUSTOMERS]


@dataclass(frozen=True)
class Shop:
    """One view of the same rows in three repositories, which differ in their stores only."""

    root: Path
    dask: Any
    duckdb: Any
    penstock: Any

    @property
    def stores(self) -> tuple[Any, ...]:
        return self.dask, self.duckdb, self.penstock


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    sqlite = {"online_store": {"type": "sqlite", "path": "online.db"}}
    penstock = {
        "offline_store": {
            "type": f"{PLUGINS}.offline_store.DuckDBOfflineStore",
            "root": str(tmp_path),
        },
        "online_store": {"type": f"{PLUGINS}.online_stores.lmdb.LmdbOnlineStore", "path": "online"},
        "batch_engine": {"type": f"{PLUGINS}.compute_engine.DuckDBComputeEngine"},
    }
    return Shop(
        tmp_path,
        dask=repository(tmp_path / "dask", offline_store={"type": "dask"}, **sqlite),
        duckdb=repository(tmp_path / "duckdb", offline_store={"type": "duckdb"}, **sqlite),
        penstock=repository(tmp_path / "penstock", **penstock),
    )


def repository(folder: Path, **stores: Any) -> Any:
    from feast import FeatureStore, RepoConfig

    folder.mkdir()
    config = RepoConfig(
        project="shop",
        provider="local",
        registry="registry.db",
        repo_path=str(folder),
        entity_key_serialization_version=3,
        **stores,
    )
    return FeatureStore(repo_path=str(folder), config=config)


def visits(
    shop: Shop, rows: Sequence[tuple[Any, ...]], ttl: timedelta = timedelta(0), created: str = ""
) -> None:
    """Declares in all repositories a plain Feast view of rows: customer, time, visits, created."""
    from feast import Entity, FeatureView, Field, FileSource, ValueType
    from feast.types import Int64

    kinds = {"customer_id": pa.int64(), "happened": TIME, "visits": pa.int64()}
    kinds |= {created: TIME} if created else {}
    arrays = [pa.array(c, k) for c, k in zip(zip(*rows, strict=True), kinds.values(), strict=True)]
    pq.write_table(pa.table(arrays, list(kinds)), shop.root / "visits.parquet")
    customer = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.INT64)
    view = FeatureView(
        name="visits",
        entities=[customer],
        ttl=ttl,
        schema=[Field(name="visits", dtype=Int64)],
        source=FileSource(
            name="rows",
            path=str(shop.root / "visits.parquet"),
            timestamp_field="happened",
            created_timestamp_column=created,
        ),
    )
    for store in shop.stores:
        store.apply([customer, view])


def known(store: Any, *customers: Any) -> list[tuple[Any, Any]]:
    """Each row of a training set of customers at T: customer and visits; null is None."""
    asked = pd.DataFrame({"customer_id": customers, "event_timestamp": [pd.Timestamp(T)] * len(customers)})  # fmt: skip  # noqa: E501
    found = store.get_historical_features(asked, ["visits:visits"]).to_df()
    pairs = found[["customer_id", "visits"]].astype(object)
    return [tuple(None if pd.isna(v) else v for v in row) for row in pairs.to_numpy()]


def served(store: Any, customers: Sequence[int] = (1,)) -> list[Any]:
    answer = store.get_online_features(["visits:visits"], {"customer_id": list(customers)})
    return list(answer.to_dict()["visits"])


def test_a_row_of_which_nothing_is_known_yet_is_dropped(shop: Shop) -> None:
    visits(shop, [(1, T, 10), (2, T + DAY, 20)])
    assert sorted(known(shop.dask, 1, 2)) == [(1, 10)], MENDED
    assert known(shop.penstock, 1, 2) == [(1, 10), (2, None)]


def test_equal_rows_are_collapsed(shop: Shop) -> None:
    visits(shop, [(1, T, 10)])
    assert known(shop.dask, 1, 1, 1) == [(1, 10)], MENDED
    assert known(shop.penstock, 1, 1, 1) == [(1, 10)] * 3


def test_ties_are_broken_by_a_sort_that_is_not_stable(shop: Shop) -> None:
    visits(shop, TIES)
    right = list(zip(CUSTOMERS, LAST, strict=True))
    assert sorted(known(shop.dask, *CUSTOMERS)) != right, MENDED
    assert known(shop.penstock, *CUSTOMERS) == right


def test_a_materialisation_takes_any_row_of_the_newest_moment(shop: Shop) -> None:
    visits(shop, TIES)
    for store in shop.stores:
        store.materialize(T - 9 * DAY, T)
    assert served(shop.dask, CUSTOMERS) != LAST, MENDED
    assert served(shop.duckdb, CUSTOMERS) != LAST, MENDED
    assert served(shop.penstock, CUSTOMERS) == LAST


def test_a_plain_asof_join_takes_any_row_of_the_newest_moment(shop: Shop) -> None:
    """Feast's DuckDB store emits one. It is DuckDB's to choose, and no fault of DuckDB."""
    visits(shop, TIES)
    right = list(zip(CUSTOMERS, LAST, strict=True))
    rows = duckdb.read_parquet(str(shop.root / "visits.parquet"))
    assert len(rows) == len(TIES)
    plain = duckdb.sql(f"""
        SELECT customer_id, visits
        FROM (SELECT unnest({CUSTOMERS}) AS customer_id, TIMESTAMPTZ '{T}' AS at) AS asked
        ASOF JOIN rows USING (customer_id) WHERE false""")
    assert plain.columns == ["customer_id", "visits"]
    assert sorted(known(shop.duckdb, *CUSTOMERS)) != right, MENDED
    assert known(shop.penstock, *CUSTOMERS) == right


def test_what_was_not_known_yet_leaks_into_the_past(shop: Shop) -> None:
    """A row of T that was created an hour later."""
    visits(shop, [(1, T - DAY, 9, T - DAY), (1, T, 10, T + HOUR)], created="created")
    assert known(shop.dask, 1) == [(1, 10)], MENDED
    assert known(shop.duckdb, 1) == [(1, 10)], MENDED
    assert known(shop.penstock, 1) == [(1, 9)]


def test_a_null_key_matches_a_null(shop: Shop) -> None:
    visits(shop, [(1, T, 10), (None, T, 99)])
    assert sorted(known(shop.dask, 1, None), key=str) == [(1, 10), (None, 99)], MENDED
    assert known(shop.penstock, 1, None) == [(1, 10), (None, None)]


def test_the_ttl_is_ignored_online(shop: Shop) -> None:
    now = datetime.now(UTC)
    visits(shop, [(1, now - 2 * DAY, 10), (2, now - HOUR, 20)], ttl=DAY)
    for store in shop.stores:
        store.materialize(now - 9 * DAY, now)
    assert served(shop.dask, [1, 2]) == [10, 20], MENDED
    assert served(shop.penstock, [1, 2]) == [None, 20]


def test_a_backfill_overwrites_what_is_newer(shop: Shop) -> None:
    visits(shop, [(1, T - DAY, 9), (1, T, 10)])
    for store in shop.stores:
        store.materialize(T - HOUR, T)
        store.materialize(T - 2 * DAY, T - HOUR)
    assert served(shop.dask) == [9], MENDED
    assert served(shop.penstock) == [10]


def test_an_event_that_arrives_late_overwrites_what_is_newer(shop: Shop) -> None:
    visits(shop, [(1, T, 10)])
    for store in (shop.dask, shop.penstock):
        for happened, count in ((T, 10), (T - DAY, 9)):
            rows = {"customer_id": [1], "happened": [happened], "visits": [count]}
            store.write_to_online_store("visits", pd.DataFrame(rows))
    assert served(shop.dask) == [9], MENDED
    assert served(shop.penstock) == [10]


WINDOWS = {"sum_visits_3600s": HOUR, "sum_visits_86400s": DAY}
HOURLY = [(1, T - n * HOUR, 1) for n in range(48)]  # one visit each hour, the last at T


def test_windows_are_not_computed_by_the_local_engine(shop: Shop) -> None:
    visits(shop, HOURLY)
    view = windows_of_feast(shop)
    shop.dask.apply([view])
    asked = pd.DataFrame({"customer_id": [1], "event_timestamp": [pd.Timestamp(T)]})
    with pytest.raises(KeyError, match="sum_visits_3600s"):  # Feast is mended where it is not raised
        shop.dask.materialize(T - 9 * DAY, T)
    with pytest.raises(KeyError, match="sum_visits_3600s"):
        shop.dask.get_historical_features(asked, ["windows:sum_visits_3600s"]).to_df()
    assert windows_of_penstock(shop) == (1, 24)


def windows_of_feast(shop: Shop) -> Any:
    from feast import BatchFeatureView, Field
    from feast.aggregation import Aggregation
    from feast.types import Int64

    rows = shop.dask.get_feature_view("visits")
    return BatchFeatureView(
        name="windows",
        entities=[shop.dask.get_entity("customer")],
        ttl=timedelta(0),
        online=True,
        schema=[Field(name=name, dtype=Int64) for name in WINDOWS],
        source=rows.batch_source,
        aggregations=[Aggregation("visits", "sum", window) for window in WINDOWS.values()],
    )


def windows_of_penstock(shop: Shop) -> tuple[Any, ...]:
    """Offline at T, and the same online."""
    module = types.ModuleType("features")
    windows = FeatureView(
        "windows",
        source=BatchSource("hourly", path="visits.parquet", timestamp="happened"),
        entities=[Entity("customer", join_keys=["customer_id"])],
        aggregates=[Aggregate("visits", "sum", w, name=name) for name, w in WINDOWS.items()],
    )
    module.__dict__["windows"] = windows
    store = shop.penstock
    store.apply(list(compiled(module, shop.root).objects))
    store.materialize(T - 9 * DAY, T)
    asked = pd.DataFrame({"customer_id": [1], "event_timestamp": [pd.Timestamp(T)]})
    names = [f"windows:{name}" for name in WINDOWS]
    offline = store.get_historical_features(asked, names).to_df().loc[0]
    store._get_provider().online_store.now = lambda: int(T.timestamp()) * 10**9
    online = store.get_online_features(names, {"customer_id": [1]}).to_dict()
    found = tuple(int(offline[name]) for name in WINDOWS)
    assert found == tuple(online[name][0] for name in WINDOWS)
    return found


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    pytest.importorskip("pyspark")
    if not shutil.which("java"):
        pytest.skip("Spark needs Java")
    from pyspark.sql import SparkSession

    running = SparkSession.getActiveSession()
    builder = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
    session = running or builder.config("spark.sql.shuffle.partitions", "1").getOrCreate()
    yield session
    if running is None:
        session.stop()


def test_spark_applies_the_first_window_to_all_features(shop: Shop, spark: Any) -> None:
    """And its windows tumble: none of them ends at the time that is asked about."""
    from feast.infra.compute_engines.spark.nodes import SparkAggregationNode

    visits(shop, HOURLY)
    aggregations = windows_of_feast(shop).aggregations
    node = SparkAggregationNode("windows", aggregations, ["customer_id"], "happened", spark)
    rows = spark.createDataFrame(HOURLY, ["customer_id", "happened", "visits"])
    found = node._execute_standard_aggregation(rows).data.toPandas()
    of_a_day = found["sum_visits_86400s"].tolist()
    assert of_a_day == found["sum_visits_3600s"].tolist() == [1] * 48, MENDED
    assert windows_of_penstock(shop) == (1, 24)


def test_of_a_table_in_chunks_the_first_only_is_written(shop: Shop) -> None:
    """A frame made of two whose columns are Arrow's stays in two chunks."""
    from penstock.features.materialise import Filling

    visits(shop, [(1, T, 10)])
    halves = [pd.DataFrame(half).astype({"customer_id": "int64[pyarrow]"}) for half in (
        {"customer_id": [1, 2], "happened": [T] * 2, "visits": [10, 20]},
        {"customer_id": [3, 4], "happened": [T] * 2, "visits": [30, 40]},
    )]  # fmt: skip
    rows = pd.concat(halves, ignore_index=True)
    shop.dask.write_to_online_store("visits", rows)
    assert served(shop.dask, [1, 2, 3, 4]) == [10, 20, None, None], MENDED
    assert Filling
