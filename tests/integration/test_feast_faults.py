"""Where the stores that come with Feast 0.67 are wrong, and Penstock's are right on the same rows.

The wrong answer is asserted too: the test that fails here tells that Feast is mended, and that
Penstock may rely on it.
"""

from __future__ import annotations

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
import sparks

from penstock.features import Aggregate, BatchSource, Entity, FeatureView
from penstock.features.feast_objects import compiled

pytestmark = pytest.mark.slow

T = datetime(2025, 6, 1, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
TIME = pa.timestamp("us", "UTC")
PLUGINS = "penstock.features"
SQLITE = {"type": "sqlite", "path": "online.db"}
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
    sqlite = {"online_store": SQLITE}
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


def at_t(*customers: Any) -> pd.DataFrame:
    times = [pd.Timestamp(T)] * len(customers)
    return pd.DataFrame({"customer_id": customers, "event_timestamp": times})


def known(store: Any, *customers: Any) -> list[tuple[Any, Any]]:
    """Each row of a training set of customers at T: customer and visits; null is None."""
    found = store.get_historical_features(at_t(*customers), ["visits:visits"]).to_df()
    columns = found[["customer_id", "visits"]].astype("Int64").to_dict("list")
    customer, count = ([None if v is pd.NA else v for v in c] for c in columns.values())
    return list(zip(customer, count, strict=True))


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
    """Feast's DuckDB store emits one."""
    visits(shop, TIES)
    right = list(zip(CUSTOMERS, LAST, strict=True))
    plain = f"""
        SELECT asked.customer_id, visits
        FROM (SELECT unnest({CUSTOMERS}) AS customer_id, TIMESTAMPTZ '{T}' AS t) AS asked
        ASOF JOIN '{shop.root / "visits.parquet"}' AS rows
          ON asked.customer_id = rows.customer_id AND t >= happened
        ORDER BY ALL"""
    assert duckdb.connect().execute(plain).fetchall() != right, (
        "DuckDB takes the last of equal rows now"
    )
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
    shop.dask.apply([windows_of_feast(shop)])
    with pytest.raises(KeyError, match="sum_visits_3600s"):  # Feast is mended if it does not raise
        shop.dask.materialize(T - 9 * DAY, T)
    with pytest.raises(KeyError, match="sum_visits_3600s"):
        shop.dask.get_historical_features(at_t(1), ["windows:sum_visits_3600s"]).to_df()
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
    store._get_provider().online_store.now = lambda: int(T.timestamp()) * 10**9
    store.apply(list(compiled(module, shop.root).objects))
    store.materialize(T - 9 * DAY, T)
    names = [f"windows:{name}" for name in WINDOWS]
    offline = store.get_historical_features(at_t(1), names).to_df().loc[0]
    online = store.get_online_features(names, {"customer_id": [1]}).to_dict()
    found = tuple(int(offline[name]) for name in WINDOWS)
    assert found == tuple(online[name][0] for name in WINDOWS)
    return found


@pytest.fixture
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    sparks.required()
    with sparks.small_spark(tmp_path_factory.mktemp("conf")):
        from pyspark.sql import SparkSession

        yield SparkSession.builder.master("local[1]").getOrCreate()


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
    """A frame made of two whose columns are Arrow's stays in two chunks.

    Feast converts what is pushed before any store sees it. Penstock's engine hands on whole tables,
    to Feast's own stores too.
    """
    rows = [(c, T, 10 * c) for c in range(1, 5)]
    visits(shop, rows)
    frame = pd.DataFrame(rows, columns=["customer_id", "happened", "visits"])
    frame["customer_id"] = frame["customer_id"].astype("int64[pyarrow]")
    pushed = pd.concat([frame[:2], frame[2:]], ignore_index=True)
    shop.dask.write_to_online_store("visits", pushed)
    assert served(shop.dask, [1, 2, 3, 4]) == [10, 20, None, None], MENDED

    table = pq.read_table(shop.root / "visits.parquet")
    pq.write_table(table, shop.root / "visits.parquet", row_group_size=1)
    engine = {"batch_engine": {"type": f"{PLUGINS}.compute_engine.DuckDBComputeEngine"}}
    mixed = repository(shop.root / "mixed", online_store=SQLITE, **engine)
    mixed.apply([shop.dask.get_entity("customer"), shop.dask.get_feature_view("visits")])
    mixed.materialize(T - DAY, T)
    assert served(mixed, [1, 2, 3, 4]) == [10, 20, 30, 40]
