# ruff: noqa: F401, F811 - pytest finds fixtures by the names they are imported under
"""What goes wrong around an online store: other processes, kills, forks, servers that are away."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, FileSource
from feast.types import Int64, String
from feast.value_type import ValueType
from online_backends import (
    NOW,
    PLUGINS,
    Settings,
    dynamodb_url,
    free_port,
    online,
    open_store,
    redis_url,
    set_clock,
    settings_of,
    shared,
)

from penstock.errors import DataError, ResourceError, SettingsError
from penstock.features.online_stores.lmdb import LmdbRows
from penstock.features.online_stores.redis import PASSWORD, RedisRows

pytestmark = pytest.mark.slow

driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
trips = FeatureView(
    name="trips",
    entities=[driver],
    schema=[
        Field(name="driver_id", dtype=Int64),
        Field(name="count", dtype=Int64),
        Field(name="note", dtype=String),
    ],
    source=FileSource(name="trips", path="trips.parquet", timestamp_field="at"),
)
ASKED: tuple[list[str], list[dict[str, Any]]] = (["trips:count"], [{"driver_id": 1}])


def opened(folder: Path, settings: Settings) -> FeatureStore:
    store = open_store(folder, settings)
    store.apply([driver, trips])
    set_clock(store, NOW)
    return store


def write(store: FeatureStore, count: int, note: str = "") -> None:
    row = {"driver_id": [1], "count": [count], "note": [note], "at": [NOW]}
    store.write_to_online_store("trips", pd.DataFrame(row))


def rows_of(store: FeatureStore) -> Any:
    return store._get_provider().online_store._rows(store.config)


def in_a_process(work: Callable[[], None]) -> int:
    """Its id; it ends with status 0 once the work is done."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return child


def opened_rows(settings: Settings, folder: Path) -> LmdbRows | RedisRows:
    """As a process opens them that has none of the caller's."""
    return RedisRows(settings["url"], 10.0) if "url" in settings else LmdbRows(folder / "online")


def test_two_processes_that_write_at_once_lose_nothing(tmp_path: Path, shared: Settings) -> None:
    keys = [number.to_bytes(4, "big") for number in range(20)]
    ready, go = os.pipe(), os.pipe()

    def one_more(_: list[int], old: list[bytes | None]) -> list[bytes | None]:
        return [str(int(row or b"0") + 1).encode() for row in old]

    def work() -> None:
        rows = opened_rows(shared, tmp_path)
        os.write(ready[1], b".")
        os.read(go[0], 1)
        for _ in range(100):
            rows.merge("shop:counts", keys, one_more)

    workers = [in_a_process(work) for _ in range(2)]
    for _ in workers:
        assert os.read(ready[0], 1) == b"."
    os.write(go[1], b"..")
    assert [os.waitpid(one, 0)[1] for one in workers] == [0, 0]
    for end in (*ready, *go):
        os.close(end)
    assert opened_rows(shared, tmp_path).read_many([("shop:counts", keys)]) == [[b"200"] * 20]


def test_threads_that_write_at_once_lose_nothing(tmp_path: Path, online: Settings) -> None:
    rows = rows_of(opened(tmp_path, online))
    keys = [number.to_bytes(4, "big") for number in range(3)]

    def one_more(_: list[int], old: list[bytes | None]) -> list[bytes | None]:
        return [str(int(row or b"0") + 1).encode() for row in old]

    def work() -> None:
        for _ in range(5):
            rows.merge("shop:counts", keys, one_more)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rows.read_many([("shop:counts", keys)]) == [[b"15"] * 3]


def test_a_process_killed_in_a_write_leaves_the_old_row_and_blocks_nobody(
    tmp_path: Path, shared: Settings
) -> None:
    store = opened(tmp_path, shared)
    write(store, 1)
    rows = rows_of(store)
    child = os.fork()
    if child == 0:

        def die(_: list[int], __: list[bytes | None]) -> list[bytes | None]:
            os.kill(os.getpid(), signal.SIGKILL)
            return []

        try:
            rows.merge("shop:trips", rows_keys(), die)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert store.get_online_features(*ASKED).to_dict()["count"] == [1]
    write(store, 2)
    assert store.get_online_features(*ASKED).to_dict()["count"] == [2]


def rows_keys() -> list[bytes]:
    from penstock.features.online_stores.keys import KeyCodec

    return [k for k in KeyCodec("trips", [("driver_id", "INT64")]).encode([[1]], 1) if k]


def test_a_store_opened_before_a_fork_works_on_both_sides(tmp_path: Path, shared: Settings) -> None:
    store = opened(tmp_path, shared)
    write(store, 1)
    assert store.get_online_features(*ASKED).to_dict()["count"] == [1]
    child = os.fork()
    if child == 0:
        status = 1
        try:
            there = store.get_online_features(*ASKED).to_dict()["count"]
            write(store, 2)
            status = 0 if there == [1] else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert store.get_online_features(*ASKED).to_dict()["count"] == [2]
    write(store, 3)
    assert store.get_online_features(*ASKED).to_dict()["count"] == [3]


def test_a_write_of_another_process_is_seen_at_once(tmp_path: Path, shared: Settings) -> None:
    store = opened(tmp_path, shared)
    write(store, 1)
    child = os.fork()
    if child == 0:
        try:
            write(store, 7)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert store.get_online_features(*ASKED).to_dict()["count"] == [7]


def test_two_stores_of_one_process_share_a_folder(tmp_path: Path, online: Settings) -> None:
    first = opened(tmp_path, online)
    second = open_store(tmp_path, online)
    set_clock(second, NOW)
    write(first, 1)
    assert second.get_online_features(*ASKED).to_dict()["count"] == [1]


def test_a_damaged_row_is_named_and_mended_by_the_next_write(
    tmp_path: Path, online: Settings
) -> None:
    store = opened(tmp_path, online)
    write(store, 1, "something longer")
    [[row]] = rows_of(store).read_many([("shop:trips", rows_keys())])
    for broken in (row[:10], row[:-3], row + b"x", row[:24] + b"\xc1" + row[25:]):
        rows_of(store).merge("shop:trips", rows_keys(), lambda _, __, b=broken: [b])  # type: ignore[misc]
        with pytest.raises(DataError, match=r"'shop:trips' for key 69000"):
            store.get_online_features(*ASKED)
    rows_of(store).merge("shop:trips", rows_keys(), lambda _, __: [row[:10]])
    write(store, 2)
    assert store.get_online_features(*ASKED).to_dict()["count"] == [2]


def test_rows_of_a_newer_version_are_neither_read_nor_overwritten(
    tmp_path: Path, online: Settings
) -> None:
    store = opened(tmp_path, online)
    write(store, 1)
    [[row]] = rows_of(store).read_many([("shop:trips", rows_keys())])
    rows_of(store).merge("shop:trips", rows_keys(), lambda _, __: [b"\x02" + row[1:]])
    with pytest.raises(DataError, match="newer version"):
        store.get_online_features(*ASKED)
    with pytest.raises(DataError, match="newer version"):
        write(store, 2)


def test_a_note_of_a_newer_version_is_refused(tmp_path: Path, online: Settings) -> None:
    store = opened(tmp_path, online)
    note = rows_of(store).get_note("shop:trips")
    rows_of(store).put_note("shop:trips", note.replace(b'"format": 1', b'"format": 2'))
    with pytest.raises(DataError, match="newer version"):
        write(store, 1)


def test_a_damaged_note_gives_way_when_the_features_are_applied(
    tmp_path: Path, online: Settings
) -> None:
    store = opened(tmp_path, online)
    write(store, 1)
    rows_of(store).put_note("shop:trips", b"{")
    with pytest.raises(DataError, match="note about it is damaged"):
        write(store, 2)
    store.apply([driver, trips])
    assert store.get_online_features(*ASKED).to_dict()["count"] == [None]
    write(store, 2)
    assert store.get_online_features(*ASKED).to_dict()["count"] == [2]


def test_an_emptied_redis_knows_nobody_and_fills_again(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    import redis

    settings = settings_of("redis", request, monkeypatch)
    store = opened(tmp_path, settings)
    write(store, 1)
    redis.Redis.from_url(settings["url"]).flushall()
    answer = store.get_online_features(*ASKED)
    assert answer.to_dict()["count"] == [None]
    write(store, 2)
    assert store.get_online_features(*ASKED).to_dict()["count"] == [2]


def test_windows_are_not_filled_into_a_redis_that_evicts(redis_url: str) -> None:
    import redis

    server = redis.Redis.from_url(redis_url)
    for policy, size in (("noeviction", 2**30), ("volatile-lru", 2**30), ("allkeys-lru", 0)):
        server.config_set("maxmemory", size)
        server.config_set("maxmemory-policy", policy)
        redis_rows(redis_url, 5.0).require_lasting()
    server.config_set("maxmemory", 2**30)
    try:
        with pytest.raises(ResourceError, match="maxmemory-policy allkeys-lru"):
            redis_rows(redis_url, 5.0).require_lasting()
    finally:
        server.config_set("maxmemory-policy", "noeviction")
        server.config_set("maxmemory", 0)


def redis_rows(url: str, timeout: float = 0.2) -> RedisRows:
    return RedisRows(url, timeout)


def test_a_redis_that_is_down_is_said_without_the_password() -> None:
    rows = redis_rows(f"redis://me:s3cret@127.0.0.1:{free_port()}/3")
    with pytest.raises(ResourceError, match=r"Redis at 127\.0\.0\.1:\d+/3") as error:
        rows.read_many([("shop:trips", [b"i"])])
    assert "s3cret" not in str(error.value)
    assert "s3cret" not in error.value.hint
    assert error.value.transient


def test_a_redis_that_does_not_answer_is_given_up(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        rows = redis_rows(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        with pytest.raises(ResourceError, match=r"did not answer within 0\.2 s"):
            rows.get_note("shop:trips")


def test_a_wrong_password_is_said_without_it(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PASSWORD, "wr0ng")
    with pytest.raises(ResourceError, match="refused") as error:
        redis_rows(redis_url, 5.0).get_note("shop:trips")
    assert "wr0ng" not in str(error.value)


def test_an_address_that_is_none_is_a_wrong_setting() -> None:
    with pytest.raises(SettingsError, match="not that of a Redis server"):
        redis_rows("http://cache").get_note("shop:trips")


def test_the_settings_of_a_redis_store_do_not_show_the_password(tmp_path: Path) -> None:
    url = "redis://me:s3cret@cache:6379/0"
    store = open_store(tmp_path, {"type": f"{PLUGINS}.redis.RedisOnlineStore", "url": url})
    assert "s3cret" not in repr(store.config.online_store)


def test_a_row_too_large_for_dynamodb_is_refused_by_key(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(tmp_path, settings_of("dynamodb", request, monkeypatch))
    with pytest.raises(DataError, match=r"'shop:trips' for key 69000\w+ has 410,\d+ bytes"):
        write(store, 1, "x" * 410_000)


def test_a_dynamodb_that_is_away_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from penstock.features.online_stores.dynamodb import DynamoDBRows

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setattr("penstock.features.online_stores.dynamodb.ATTEMPTS", 1)
    rows = DynamoDBRows("features", "eu-central-1", f"http://127.0.0.1:{free_port()}", 0.5)
    with pytest.raises(ResourceError, match="DynamoDB's table 'features'"):
        rows.get_note("shop:trips")


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "online").write_text("a file")
    with pytest.raises(ResourceError, match="cannot be used"):
        LmdbRows(tmp_path / "online").get_note("shop:trips")
