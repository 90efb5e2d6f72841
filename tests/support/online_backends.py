"""The packed online stores as tests reach them: LMDB, a Redis of our own, and moto's DynamoDB.

A test file imports the fixtures by name.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("FEAST_USAGE", "False")

from feast import FeatureStore, RepoConfig

NOTHING_SKIPPED = "PENSTOCK_TEST_NOTHING_SKIPPED"
PLUGINS = "penstock.features.online_stores"
NOW = datetime(2024, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis server of our own."""
    binary = shutil.which("redis-server")
    if binary is None:
        reason = "redis-server is not installed"
        pytest.fail(reason) if os.environ.get(NOTHING_SKIPPED) == "1" else pytest.skip(reason)
    port, folder = free_port(), tmp_path_factory.mktemp("redis")
    command = [
        binary,
        "--port",
        str(port),
        "--dir",
        str(folder),
        "--save",
        "",
        "--bind",
        "127.0.0.1",
    ]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    import redis

    client = redis.Redis(port=port)
    while server.poll() is None:
        try:
            client.ping()
            break
        except redis.ConnectionError:
            time.sleep(0.02)
    yield f"redis://127.0.0.1:{port}/0"
    server.terminate()
    server.wait()


@pytest.fixture(scope="session")
def dynamodb_url() -> Iterator[str]:
    """Something that answers as DynamoDB does."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    # One request at a time: moto 5 looks at a condition and writes in two steps.
    application = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", 0, application, threaded=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


Settings = dict[str, Any]


@pytest.fixture(params=["lmdb", "redis", "dynamodb"])
def online(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The online_store of a feature_store.yaml, and nothing in it."""
    return settings_of(request.param, request, monkeypatch)


@pytest.fixture(params=["lmdb", "redis"])
def shared(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The same, where other processes reach it."""
    return settings_of(request.param, request, monkeypatch)


def settings_of(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    if kind == "lmdb":
        return {"type": f"{PLUGINS}.lmdb.LmdbOnlineStore", "path": "online"}
    if kind == "redis":
        import redis

        url = request.getfixturevalue("redis_url")
        redis.Redis.from_url(url).flushall()
        return {"type": f"{PLUGINS}.redis.RedisOnlineStore", "url": url}
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    return {
        "type": f"{PLUGINS}.dynamodb.DynamoDBOnlineStore",
        "table": f"features-{uuid.uuid4()}",
        "region": "eu-central-1",
        "endpoint_url": request.getfixturevalue("dynamodb_url"),
    }


def open_store(folder: Path, online: Mapping[str, Any]) -> FeatureStore:
    folder.mkdir(parents=True, exist_ok=True)
    return FeatureStore(
        config=RepoConfig(
            project="shop",
            provider="local",
            registry=str(folder / "registry.db"),
            online_store=dict(online),
            offline_store={"type": "file"},
            entity_key_serialization_version=3,
            repo_path=str(folder),
        )
    )


def set_clock(store: FeatureStore, now: datetime) -> None:
    nanoseconds = int(now.timestamp()) * 10**9 + now.microsecond * 1000
    store._get_provider().online_store.now = lambda: nanoseconds
