"""Training sets and materialisation, beside plans written by hand and Feast's own stores."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from side_by_side import Row, row

from penstock.features.definition import Aggregation, Source, ViewDefinition
from penstock.features.facts import facts_of
from penstock.features.history import Asked, features_at
from penstock.features.kernels.windows import aggregates_at
from penstock.records import Column

MICROSECONDS = 10**6
YEAR = 365 * 86_400 * MICROSECONDS
BEGIN = datetime(2025, 1, 1, tzinfo=UTC)
TIME = pa.timestamp("us", "UTC")
MEMORY = 4 * 2**30
KEY = Column(name="k", type="int64")


def moments(microseconds: np.ndarray) -> pa.Array:
    return pa.array(microseconds + int(BEGIN.timestamp()) * MICROSECONDS).cast(TIME)


def events(
    rows: int,
    entities: int,
    features: int,
    *,
    zipf: bool = False,
    seed: int = 0,
    period: tuple[int, int] = (0, 1),
) -> pa.Table:
    """Rows in the order of their time; with `zipf`, one entity has a quarter of them.

    `period` (n, of) is the n-th of equal parts of the year.
    """
    rng = np.random.default_rng(seed)
    values = {f"x{n}": np.round(rng.lognormal(3, 1, rows), 2) for n in range(features)}
    length = YEAR // period[1]
    times = moments(period[0] * length + np.sort(rng.integers(0, length, rows)))
    return pa.table({"k": keys(rng, rows, entities, zipf), "t": times, **values})


def keys(rng: np.random.Generator, rows: int, entities: int, zipf: bool) -> np.ndarray:
    if not zipf:
        return rng.integers(0, entities, rows)
    return np.minimum(rng.zipf(1.3, rows), entities)


def labels(rows: int, entities: int, *, zipf: bool = False, seed: int = 1) -> pa.Table:
    rng = np.random.default_rng(seed)
    times = moments(rng.integers(0, YEAR, rows))
    return pa.table({"k": keys(rng, rows, entities, zipf), "at": times})


def wall(run: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


def processor(run: Callable[[], Any]) -> float:
    begun = time.process_time()
    run()
    return time.process_time() - begun


def medians(
    measure: Callable[[Callable[[], Any]], float], *runs: Callable[[], Any], rounds: int = 3
) -> list[float]:
    """The median of each, in turn, so that all see the same machine."""
    measured = [[measure(run) for run in runs] for _ in range(rounds + 1)][1:]
    return [statistics.median(column) for column in zip(*measured, strict=True)]


# Windows


def windows() -> list[Row]:
    """count and sum over 7 and 30 days, 5M events, 1M labels."""
    rows, ours = [], {}
    for name in ("uniform", "Zipf"):
        facts = events(5_000_000, 200_000, 1, zipf=name == "Zipf")
        asked = labels(1_000_000, 200_000, zipf=name == "Zipf")
        plans = {"DuckDB ASOF": duckdb_asof(facts, asked), "Polars": polars_asof(facts, asked)}
        plans["DuckDB windows"] = duckdb_windows(facts, asked)

        def own(facts: pa.Table = facts, asked: pa.Table = asked) -> pa.Table:
            return aggregates_at(window_view(), facts, asked, "at")

        agree(own(), plans)
        ours[name], *peers = medians(wall, own, *plans.values(), rounds=3)
        best, label = min(zip(peers, plans, strict=True))
        rows.append(
            row(f"windows, {name} keys / {label}", ours[name], best, ours[name] / best, 1.2)
        )
    ratio = ours["Zipf"] / ours["uniform"]
    return [*rows, row("windows, Zipf keys / uniform", ours["Zipf"], ours["uniform"], ratio, 1.3)]


def window_view() -> ViewDefinition:
    aggregates = [
        Aggregation(
            name=f"{function}_{days}",
            function=function,
            column="x0",
            window=timedelta(days=days),
            type="int64" if function == "count" else "double",
        )
        for days in (7, 30)
        for function in ("count", "sum")
    ]
    source = Source(name="s", kind="parquet", location="", timestamp="t")
    return ViewDefinition(name="v", keys=(KEY,), source=source, aggregates=tuple(aggregates))


def duckdb_asof(facts: pa.Table, asked: pa.Table) -> Callable[[], pa.Table]:
    """Prefix sums, joined at both edges of each window."""
    database = duckdb_of(facts, asked)
    edges = "".join(
        f" ASOF LEFT JOIN sums AS w{d} ON asked.k = w{d}.k"
        f" AND asked.at - INTERVAL {d} DAY >= w{d}.t"
        for d in (7, 30)
    )
    values = ", ".join(
        f"coalesce(now.c, 0) - coalesce(w{d}.c, 0) AS count_{d}, "
        f"coalesce(now.s, 0) - coalesce(w{d}.s, 0) AS sum_{d}"
        for d in (7, 30)
    )
    query = f"""
        WITH sums AS (
            SELECT k, t, max(c) AS c, max_by(s, c) AS s
            FROM (SELECT k, t, count(x0) OVER w AS c, sum(x0) OVER w AS s FROM facts
                  WINDOW w AS (PARTITION BY k ORDER BY t ROWS UNBOUNDED PRECEDING))
            GROUP BY k, t
        )
        SELECT {values} FROM asked
        ASOF LEFT JOIN sums AS now ON asked.k = now.k AND asked.at >= now.t {edges}
        ORDER BY asked.n"""
    return lambda: database.sql(query).to_arrow_table()


def duckdb_windows(facts: pa.Table, asked: pa.Table) -> Callable[[], pa.Table]:
    """Events and labels in one, with RANGE frames."""
    database = duckdb_of(facts, asked)
    values = ", ".join(
        f"count(x0) OVER w{d} AS count_{d}, coalesce(sum(x0) OVER w{d}, 0) AS sum_{d}"
        for d in (7, 30)
    )
    frames = ", ".join(
        f"w{d} AS (PARTITION BY k ORDER BY t RANGE BETWEEN INTERVAL {d} DAY "
        "- INTERVAL 1 MICROSECOND PRECEDING AND CURRENT ROW)"
        for d in (7, 30)
    )
    query = f"""
        SELECT count_7, sum_7, count_30, sum_30 FROM (
            SELECT n, {values}
            FROM (SELECT k, t, x0, NULL AS n FROM facts
                  UNION ALL SELECT k, "at", NULL, n FROM asked)
            WINDOW {frames})
        WHERE n IS NOT NULL ORDER BY n"""
    return lambda: database.sql(query).to_arrow_table()


def quiet() -> duckdb.DuckDBPyConnection:
    database = duckdb.connect()
    database.execute("SET enable_progress_bar = false")
    return database


def duckdb_of(facts: pa.Table, asked: pa.Table) -> duckdb.DuckDBPyConnection:
    database = quiet()
    numbered = asked.append_column("n", pa.array(np.arange(len(asked))))
    for name, table in (("facts", facts), ("asked", numbered)):
        database.register("given", table)
        database.execute(f"CREATE TABLE {name} AS FROM given")
    return database


def polars_asof(facts: pa.Table, asked: pa.Table) -> Callable[[], pa.Table]:
    sums = pl.from_arrow(facts)
    questions = pl.from_arrow(asked).with_row_index("n")

    def run() -> pa.Table:
        running = sums.sort("t").with_columns(
            c=pl.int_range(1, pl.len() + 1).over("k"), s=pl.col("x0").cum_sum().over("k")
        )
        found = questions.sort("at")
        for days in (0, 7, 30):
            edge = found.select("n", "k", edge=pl.col("at") - timedelta(days=days))
            joined = edge.join_asof(
                running.select("k", "t", "c", "s"), left_on="edge", right_on="t", by="k"
            )
            found = found.with_columns(
                joined["c"].fill_null(0).alias(f"c{days}"),
                joined["s"].fill_null(0.0).alias(f"s{days}"),
            )
        made = found.sort("n").select(
            *(
                (pl.col(f"{a}0") - pl.col(f"{a}{d}")).alias(f"{name}_{d}")
                for d in (7, 30)
                for a, name in (("c", "count"), ("s", "sum"))
            )
        )
        return made.to_arrow()

    return run


def agree(own: pa.Table, plans: dict[str, Callable[[], pa.Table]]) -> None:
    """Counts alike, sums but for the rounding that prefix sums cost the others."""
    for name, plan in plans.items():
        found = plan()
        for column in own.column_names:
            mine = own[column].to_numpy().astype(float)
            theirs = found[column].to_numpy(zero_copy_only=False).astype(float)
            assert np.allclose(mine, theirs, rtol=1e-9, atol=1e-3), (name, column)


# Point-in-time joins


def joins() -> list[Row]:
    """1M labels × 3 views × 5M rows, in processor seconds, beside a plain ASOF join."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for number in range(3):
            pq.write_table(
                events(5_000_000, 200_000, 4, seed=number), root / f"view{number}.parquet"
            )
        asked = labels(1_000_000, 200_000)
        database = quiet()
        database.register("asked", asked)

        def own() -> None:
            for number in range(3):
                join_view(root, f"view{number}.parquet", 4, asked)

        def plain() -> None:
            for number in range(3):
                database.sql(f"""
                    SELECT f.x0, f.x1, f.x2, f.x3 FROM asked ASOF LEFT JOIN
                    read_parquet('{root / f"view{number}.parquet"}') AS f
                    ON asked.k = f.k AND asked.at >= f.t""").to_arrow_table()

        ours, peer = medians(processor, own, plain, rounds=2)
        rows = [row("PIT join, processor time / plain DuckDB ASOF", ours, peer, ours / peer, 1.5)]
        return rows + against_feast(root, asked)


def join_view(
    root: Path, location: str, features: int, asked: pa.Table, memory: int = MEMORY
) -> pa.Table:
    view = ViewDefinition(
        name="v",
        keys=(KEY,),
        source=Source(name="s", kind="parquet", location=location, timestamp="t"),
        fields=tuple(Column(name=f"x{n}", type="double") for n in range(features)),
    )
    return features_at(view, facts_of(view, root), Asked(asked, "at", {"k": "k"}), memory)


def against_feast(root: Path, asked: pa.Table) -> list[Row]:
    """Beside Feast's own DuckDB store: many entities, and few with many rows each."""
    pq.write_table(events(500_000, 200, 4), root / "few.parquet")
    few = labels(20_000, 200)  # with 100,000 Feast's join needs more than 23 GB
    own = [
        lambda: [join_view(root, f"view{n}.parquet", 4, asked) for n in range(3)],
        lambda: join_view(root, "few.parquet", 4, few),
    ]
    feast = [
        lambda: feast_history(root, [f"view{n}.parquet" for n in range(3)], asked),
        lambda: feast_history(root, ["few.parquet"], few),
    ]
    names = ["PIT join, 1M labels × 3 × 5M / Feast on DuckDB"]
    names += ["PIT join, 20k labels × 500k rows of 200 keys / Feast on DuckDB"]
    rows = []
    for name, mine, theirs, aim in zip(names, own, feast, (0.5, 0.01), strict=True):
        ours = statistics.median(wall(mine) for _ in range(3))
        peer = wall(theirs)
        rows.append(row(name, ours, peer, ours / peer, aim))
    return rows


def feast_history(root: Path, files: list[str], asked: pa.Table) -> pa.Table:
    store, views = feast_store(root, files, 4, offline={"type": "duckdb"})
    frame = asked.rename_columns(["k", "event_timestamp"]).to_pandas()
    refs = [f"{view.name}:{field.name}" for view in views for field in view.features]
    job = store.get_historical_features(entity_df=frame, features=refs, full_feature_names=True)
    return job.to_arrow()


def feast_store(
    root: Path, files: list[str], features: int, **config: Any
) -> tuple[Any, list[Any]]:
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.types import Float64

    entity = Entity(name="k", join_keys=["k"], value_type=ValueType.INT64)
    views = [
        FeatureView(
            name=Path(file).stem,
            entities=[entity],
            ttl=timedelta(days=4000),
            schema=[Field(name=f"x{n}", dtype=Float64) for n in range(features)],
            source=FileSource(name=file, path=str(root / file), timestamp_field="t"),
        )
        for file in files
    ]
    folder = Path(tempfile.mkdtemp(dir=root))
    online = {"type": "sqlite", "path": str(folder / "online.db")}
    settings: dict[str, Any] = {
        "project": "bench",
        "provider": "local",
        "registry": str(folder / "registry.db"),
        "online_store": online,
        "entity_key_serialization_version": 3,
        "repo_path": str(folder),
    }
    store = FeatureStore(config=RepoConfig(**settings | config))
    store.apply([entity, *views])
    return store, views


# Materialisation


def materialisation() -> list[Row]:
    """5M rows of history to 200k entities, with 4 and 50 features."""
    own = {
        "online_store": {
            "type": "penstock.features.online_stores.lmdb.LmdbOnlineStore",
            "path": "online",
        },
        "offline_store": {"type": "penstock.features.offline_store.DuckDBOfflineStore"},
        "batch_engine": {"type": "penstock.features.compute_engine.DuckDBComputeEngine"},
    }
    rows = []
    for features in (4, 50):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            pq.write_table(events(5_000_000, 200_000, features), root / "rows.parquet")

            def fill(config: dict[str, Any], root: Path = root, features: int = features) -> float:
                store, _ = feast_store(root, ["rows.parquet"], features, **config)
                end = BEGIN + timedelta(days=366)
                return wall(lambda: store.materialize(BEGIN - timedelta(days=1), end))

            ours = statistics.median(fill(own) for _ in range(3))
            peer = fill({})
            work = f"materialise 5M rows × {features} features / Feast, SQLite"
            rows.append(row(work, ours, peer, ours / peer, 0.2))
    return rows


# Scale


def scale(sizes: tuple[int, ...] = (1_000_000, 10_000_000, 100_000_000)) -> list[Row]:
    """The cost of a row, of a source that grows; each size in a process of its own."""
    import multiprocessing

    context = multiprocessing.get_context("spawn")
    costs = []
    for size in sizes:
        with context.Pool(1) as pool:
            seconds, peak = pool.apply(cost_of_join, (size,))
        costs.append(seconds / size)
        print(f"  {size:>11,} rows: {seconds:6.1f} s, {peak:.1f} GB at most", flush=True)
    ratio = max(costs[1:]) / costs[0]
    work = f"PIT join, cost of a row at {sizes[-1]:,} / at {sizes[0]:,}"
    return [row(work, max(costs[1:]) * 1e6, costs[0] * 1e6, ratio, 1.5)]


def cost_of_join(rows: int) -> tuple[float, float]:
    """Seconds of a join with a tenth as many labels, and the process's largest size in GB."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "rows").mkdir()
        part, parts = min(rows, 10_000_000), max(rows // 10_000_000, 1)
        for number in range(parts):  # a file a period, as logs are kept
            table = events(part, max(rows // 25, 1), 2, seed=number, period=(number, parts))
            pq.write_table(table, root / "rows" / f"{number:03}.parquet")
            del table
        asked = labels(rows // 10, max(rows // 25, 1))
        seconds = wall(lambda: join_view(root, "rows", 2, asked))
        return seconds, largest_size()


def largest_size() -> float:
    """Of this process so far, in GB. Not `ru_maxrss`, which a child has of its parent."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 2**20
    return float("nan")
