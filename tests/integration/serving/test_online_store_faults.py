"""Redis is slow, says nothing, is gone and comes back, while clients ask by key and by features."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from by_key import serving_by_key
from gateways import ROWS, Gateway, Load, load, until
from online_backends import NOTHING_SKIPPED, free_port

pytestmark = pytest.mark.slow

FEATURES = """
from penstock.features import BatchSource, Entity, FeatureService, FeatureView

customer = Entity("customer", join_keys=["customer_id"])
profiles = BatchSource("profiles", path="profiles", timestamp="seen_at")
profile = FeatureView(
    "profile", source=profiles, entities=[customer], features=["visits", "age", "plan"]
)
churn_v1 = FeatureService("churn_v1", features=[profile])
"""
BY_KEY = {"entities": {"customer_id": [1]}}
LOOKUP = {"features": ["profile:age"], "entities": {"customer_id": [1]}}
UNREADABLE = "the online features could not be read"


class Redis:
    """A server that keeps its rows when it is killed."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self.start()

    def start(self) -> None:
        import redis

        options = {"port": self.port, "dir": self._folder, "bind": "127.0.0.1", "save": ""}
        lasting = {"appendonly": "yes", "appendfsync": "always"}
        given = [
            part for name, value in (options | lasting).items() for part in (f"--{name}", value)
        ]
        self.process = subprocess.Popen(
            ["redis-server", *map(str, given)], stdout=subprocess.DEVNULL
        )
        self.client = redis.Redis(port=self.port)

        def answers() -> bool:
            try:
                return bool(self.client.ping())
            except redis.ConnectionError:
                return False

        until(answers)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@dataclass(frozen=True)
class Shop:
    gateway: Gateway
    redis: Redis


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, champion: Path) -> Iterator[Shop]:
    """A gateway whose features are in Redis, which answers within a second or not at all."""
    if shutil.which("redis-server") is None:
        reason = "redis-server is not installed"
        pytest.fail(reason) if os.environ.get(NOTHING_SKIPPED) == "1" else pytest.skip(reason)
    root = tmp_path_factory.mktemp("shop")
    redis = Redis(tmp_path_factory.mktemp("redis"))
    (root / "penstock.toml").write_text(
        '[project]\nname = "shop"\n[features]\nonline_store = "redis"\n'
        f'redis_url = "redis://127.0.0.1:{redis.port}/0"\n'
    )
    (root / "features.py").write_text(FEATURES)
    (root / "profiles").mkdir()
    seen = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)
    columns = {
        "customer_id": pa.array([1, 2], pa.int64()),
        "seen_at": pa.array([seen] * 2, pa.timestamp("us", "UTC")),
        "visits": pa.array([3.5, -0.25], pa.float64()),
        "age": pa.array([41, 18], pa.int64()),
        "plan": pa.array(["basic", "plus"], pa.string()),
    }
    pq.write_table(pa.table(columns), root / "profiles" / "1.parquet")
    gateway = serving_by_key(root, champion, ["visits", "age", "plan"])
    yield Shop(gateway, redis)
    gateway.stop()
    redis.stop()


@dataclass
class Both:
    """A load by key, and one by features."""

    by_key: Load
    by_rows: Load

    def during(self, seconds: float) -> tuple[list[Any], list[Any]]:
        """What is seen of each in that time."""
        starts = len(self.by_key.seen), len(self.by_rows.seen)
        time.sleep(seconds)  # of load
        return self.by_key.seen[starts[0] :], self.by_rows.seen[starts[1] :]


@pytest.fixture
def both(shop: Shop) -> Iterator[Both]:
    url = shop.gateway.url
    until(lambda: shop.gateway.ask("/predict", BY_KEY).status == 200)
    with load(url, ["u"], BY_KEY, 4) as by_key, load(url, ["v"], ROWS, 4) as by_rows:
        yield Both(by_key, by_rows)
    assert by_rows.failures == []  # whatever became of the store


def statuses(seen: list[Any]) -> Counter[int]:
    return Counter(one.status for one in seen)


def median(seen: list[Any]) -> float:
    """Seconds."""
    return float(sorted(one.seconds for one in seen)[len(seen) // 2])


def errors(shop: Shop) -> float:
    samples = shop.gateway.samples()
    return samples.get(("penstock_errors_total", "r1", "champion", "features"), 0.0)


def test_a_store_that_says_nothing_costs_answers_by_key_and_no_others(
    shop: Shop, both: Both
) -> None:
    _, calm = both.during(1.0)
    counted, replicas = errors(shop), shop.gateway.pids("r1")
    shop.redis.process.send_signal(signal.SIGSTOP)
    try:
        by_key, by_rows = both.during(6.0)  # longer than a replica may be silent
        lookup = shop.gateway.ask("/get-online-features", LOOKUP)
    finally:
        shop.redis.process.send_signal(signal.SIGCONT)
    failed = [one for one in by_key if one.status != 200]
    assert statuses(failed).keys() == {503}
    assert {one.error.partition(":")[0] for one in failed} == {UNREADABLE}
    assert any("did not answer in time" in one.error for one in failed)
    assert (lookup.status, lookup.body["error"].partition(":")[0]) == (503, UNREADABLE)
    # Rows need no store, and do not wait for one.
    assert len(by_rows) > 100
    assert median(by_rows) < max(4 * median(calm), 0.1)
    # No replica was taken for one that hangs.
    assert shop.gateway.pids("r1") == replicas
    until(lambda: both.by_key.seen[-1].status == 200)
    until(lambda: errors(shop) - counted == len(both.by_key.failures))


def test_a_store_that_is_gone_is_used_again_once_it_is_back(shop: Shop, both: Both) -> None:
    counted = errors(shop)
    shop.redis.stop()
    try:
        # What Redis had answered before may still be on its way to a client.
        until(lambda: statuses(both.during(0.5)[0]).keys() == {503})
        by_key, by_rows = both.during(2.0)
        answer = shop.gateway.ask("/predict", BY_KEY)
    finally:
        shop.redis.start()
    assert statuses(by_key).keys() == {503}
    assert {one.error.partition(":")[0] for one in by_key} == {UNREADABLE}
    assert len(by_rows) > 100
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert str(shop.redis.port) not in answer.raw.decode()  # where it is, is nobody's affair
    until(lambda: statuses(both.during(0.5)[0]).keys() == {200})
    until(lambda: errors(shop) - counted == len(both.by_key.failures) + 1)


def test_a_store_that_is_slow_delays_answers_and_loses_none(shop: Shop, both: Both) -> None:
    for _ in range(4):
        shop.redis.client.client_pause(300)  # ms in which Redis keeps everybody waiting
        by_key, _ = both.during(0.5)
        assert max(one.seconds for one in by_key) > 0.2
    assert both.by_key.failures == []
