"""`make bench-online`: reads through Feast's API, beside Feast's own SQLite and Redis stores.

Every row is one process and one thread; stores hold 10,000 entities. Times are of a whole
`get_online_features(…).to_dict()`. Ratios are ours / peer, turn by turn; the peer of the embedded
store is the faster of Feast's two. Without `redis-server` the rows about Redis are left out.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from side_by_side import Row, write

os.environ.setdefault("FEAST_USAGE", "False")
warnings.filterwarnings("ignore", module=r"feast\..*")

ENTITIES = 10_000
FEATURES = 50
EVENTS = 200_000
NOW = datetime.now(UTC).replace(microsecond=0)
PLUGINS = "penstock.features.online_stores"
WINDOWS = ("20d", "30d", "40d", "50d", "60d")
FUNCTIONS = ("count", "sum", "mean", "min", "max", "std", "last", "first", "count_distinct")
Read = Callable[[], Any]


def main() -> None:
    write("online_reads", online_reads())


def online_reads() -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, redis_server() as port:
        desk = Path(folder)
        lmdb = {"type": f"{PLUGINS}.lmdb.LmdbOnlineStore", "path": str(desk / "lmdb")}
        ours = latest_store(desk / "ours", lmdb)
        stock = [latest_store(desk / "sqlite", {"type": "sqlite", "path": str(desk / "s.db")})]
        rows = []
        if port:
            there = {"type": "redis", "connection_string": f"127.0.0.1:{port},db=1"}
            stock.append(latest_store(desk / "redis", there))
        rows += embedded(ours, stock)
        rows += windows(desk, lmdb, ours)
        if port:
            url = {
                "type": f"{PLUGINS}.redis.RedisOnlineStore",
                "url": f"redis://127.0.0.1:{port}/0",
            }
            rows += remote(latest_store(desk / "packed", url), stock[-1])
        return rows


def embedded(ours: Any, stock: list[Any]) -> list[Row]:
    rows = []
    for count, features, times in ((1, 4, 20), (1, FEATURES, 40), (100, FEATURES, 80)):
        reads = [reading(store, "latest", count, features) for store in (ours, *stock)]
        what = f"LMDB, {count} × {features} / the better of Feast's"
        rows.append(fastest(what, reads[0], reads[1:], aim=1 / times, turns=7))
    rows.append(p99("LMDB, 1 × 4, p99 / 50 µs", reading(ours, "latest", 1, 4), 50e-6))
    rows.append(p99("LMDB, 1 × 50, p99 / 50 µs", reading(ours, "latest", 1, FEATURES), 50e-6))
    rows.append(p99("LMDB, 100 × 50, p99 / 1 ms", reading(ours, "latest", 100, FEATURES), 1e-3))
    return rows


def remote(ours: Any, stock: Any) -> list[Row]:
    return [
        fastest(
            f"Redis, {count} × {FEATURES} / Feast's",
            reading(ours, "latest", count, FEATURES),
            [reading(stock, "latest", count, FEATURES)],
            aim=1 / times,
            turns=7,
        )
        for count, times in ((1, 4), (100, 30))
    ]


def windows(desk: Path, settings: dict[str, Any], stored: Any) -> list[Row]:
    store = window_store(desk / "windows", settings)
    rows = []
    for count, features in ((1, 4), (1, 45), (100, 45)):
        rows.append(
            fastest(
                f"LMDB, {count} × {features} windows / stored values",
                reading(store, "windows", count, features),
                [reading(stored, "latest", count, features)],
                aim=3.0,
                turns=7,
            )
        )
    read = reading(store, "windows", 1, 45)  # three times what a stored vector may take
    rows.append(p99("LMDB, 1 × 45 windows, p99 / 150 µs", read, 150e-6))
    return rows


def reading(store: Any, view: str, count: int, features: int) -> Read:
    names = [field.name for field in store.get_feature_view(view).features][:features]
    refs = [f"{view}:{name}" for name in names]
    asked = [{"user_id": int(n)} for n in np.linspace(0, ENTITIES - 1, count)]

    def read() -> Any:
        return store.get_online_features(refs, asked).to_dict()

    answer = read()
    assert all(len(column) == count for column in answer.values())
    assert all(any(v is not None for v in column) for column in answer.values()), view
    return read


# Measuring


def fastest(work: str, ours: Read, peers: list[Read], *, aim: float, turns: int) -> Row:
    """Each turn times all of them; the peer is the one whose median is the least."""
    measured = [[seconds(read) for read in (ours, *peers)] for _ in range(turns)]
    columns = list(zip(*measured, strict=True))
    medians = [statistics.median(column) for column in columns]
    peer = min(range(1, len(medians)), key=medians.__getitem__)
    ratio = statistics.median(a / b for a, b in zip(columns[0], columns[peer], strict=True))
    return made(work, medians[0], medians[peer], ratio, aim)


def seconds(read: Read) -> float:
    """Of one read, from as many as take about a tenth of a second."""
    begun = time.perf_counter()
    read()
    times = max(3, int(0.1 / (time.perf_counter() - begun)))
    begun = time.perf_counter()
    for _ in range(times):
        read()
    return (time.perf_counter() - begun) / times


def p99(work: str, read: Read, limit: float) -> Row:
    taken = []
    for _ in range(10_000 if limit < 1e-3 else 2_000):
        begun = time.perf_counter()
        read()
        taken.append(time.perf_counter() - begun)
    worst = statistics.quantiles(taken, n=100)[98]
    return made(work, worst, limit, worst / limit, 1.0)


def made(work: str, ours: float, peer: float, ratio: float, aim: float) -> Row:
    row = Row(work, round(ours, 8), round(peer, 8), round(ratio, 4), round(aim, 4), ratio <= aim)
    verdict = "holds" if row.holds else "MISSED"
    print(
        f"{work:<50} ours {ours * 1e6:10.1f} µs  peer {peer * 1e6:10.1f} µs  "
        f"ratio {ratio:7.4f}  aim ≤ {aim:g}  {verdict}",
        flush=True,
    )
    return row


# The stores


def opened(folder: Path, online: dict[str, Any]) -> Any:
    from feast import FeatureStore, RepoConfig

    folder.mkdir()
    return FeatureStore(
        config=RepoConfig(
            project="bench",
            provider="local",
            registry=str(folder / "registry.db"),
            online_store=online,
            offline_store={"type": "file"},
            entity_key_serialization_version=3,
            repo_path=str(folder),
        )
    )


def latest_table(entities: int) -> pa.Table:
    dice = np.random.default_rng(7)
    columns: dict[str, Any] = {"user_id": dice.permutation(entities)}
    columns["at"] = pa.array([NOW] * entities, pa.timestamp("us", "UTC"))
    columns |= {f"f{number}": dice.random(entities) for number in range(FEATURES)}
    return pa.table(columns)


def latest_store(folder: Path, online: dict[str, Any]) -> Any:
    from feast import Entity, FeatureView, Field, FileSource
    from feast.types import Float64, Int64
    from feast.value_type import ValueType

    store = opened(folder, online)
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.INT64)
    fields = [Field(name=f"f{number}", dtype=Float64) for number in range(FEATURES)]
    source = FileSource(name="rows", path=str(folder / "rows.parquet"), timestamp_field="at")
    view = FeatureView(
        name="latest",
        entities=[user],
        schema=[Field(name="user_id", dtype=Int64), *fields],
        source=source,
        ttl=timedelta(days=30),
    )
    store.apply([user, view])
    plugin = store._get_provider().online_store
    table = latest_table(ENTITIES)
    if hasattr(plugin, "write_latest"):
        plugin.write_latest(store.config, view, table, "at", "")
    else:
        store.write_to_online_store("latest", table.to_pandas())
    return store


def window_store(folder: Path, online: dict[str, Any]) -> Any:
    """About twenty events an entity, over 60 days, of which each function makes five windows."""
    import types

    from penstock.features.declarations import Aggregate, BatchSource, Entity, FeatureView
    from penstock.features.feast_objects import compiled

    schema = {"user_id": "int64", "at": "timestamp[us, tz=UTC]", "amount": "double"}
    view = FeatureView(
        "windows",
        source=BatchSource("events", path="events.parquet", timestamp="at", schema=schema),
        entities=[Entity("user", ["user_id"])],
        aggregates=[Aggregate("amount", f, window) for f in FUNCTIONS for window in WINDOWS],
    )
    store = opened(folder, online)
    module = types.ModuleType("features")
    module.view = view  # type: ignore[attr-defined]
    store.apply(list(compiled(module, folder).objects))
    dice = np.random.default_rng(7)
    ago = dice.integers(0, 60 * 86_400, EVENTS)
    events = pa.table(
        {
            "user_id": dice.integers(0, ENTITIES, EVENTS),
            "at": pa.array((int(NOW.timestamp()) - ago) * 10**6, pa.timestamp("us", "UTC")),
            "amount": dice.random(EVENTS),
        }
    )
    plugin = store._get_provider().online_store
    start, filled = NOW - timedelta(days=200), store.get_feature_view("windows")
    with plugin.filling(store.config, filled, start, NOW):
        plugin.write_events(store.config, filled, events, start, NOW)
    return store


@contextlib.contextmanager
def redis_server() -> Iterator[int]:
    """The port of a Redis of our own; 0 where it is not installed."""
    binary = shutil.which("redis-server")
    if binary is None:
        yield 0
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with tempfile.TemporaryDirectory() as folder:
        command = [binary, "--port", str(port), "--dir", folder, "--save", ""]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            while not answers(port):
                assert server.poll() is None, "redis-server ended"
            yield port
        finally:
            server.terminate()
            server.wait()


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


if __name__ == "__main__":
    main()
