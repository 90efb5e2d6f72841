"""Sources on S3: declared, joined, materialised and watched like files of this machine."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pytest

from penstock.cli.main import run

MISSING = importlib.util.find_spec("moto") is None
if MISSING and os.environ.get("PENSTOCK_TEST_NOTHING_SKIPPED"):
    raise RuntimeError("moto must be there")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(MISSING, reason="moto is not installed: nothing answers as S3 does"),
]

NOW = datetime.now(UTC).replace(microsecond=0)
FEATURES = """
from penstock.features import Aggregate, BatchSource, Entity, FeatureService, FeatureView

user = Entity("user", join_keys=["user_id"])
orders = BatchSource("orders", path="s3://shop/orders", timestamp="t")
spending = FeatureView("spending", source=orders, entities=[user], expected_freshness="3d",
                       aggregates=[Aggregate("usd", "sum", window="7d")])
service = FeatureService("service", features=[spending])
"""


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[pyarrow.fs.S3FileSystem]:
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }.items():
        monkeypatch.setenv(name, value)
    store = pyarrow.fs.S3FileSystem(
        endpoint_override=f"{host}:{port}", scheme="http", allow_bucket_creation=True
    )
    store.create_dir("shop/orders")
    yield store
    server.stop()


@pytest.fixture
def shop(tmp_path: Path, bucket: pyarrow.fs.S3FileSystem) -> Iterator[Path]:
    (tmp_path / "penstock.toml").write_text('[project]\nname = "shop"\n')
    (tmp_path / "features.py").write_text(FEATURES)
    write(bucket, "1", (1, 24, 1.0), (1, 48, 2.0), (1, 240, 4.0), (2, 72, 8.0))
    yield tmp_path
    forget(tmp_path)


def forget(root: Path) -> None:
    sys.modules.pop("features", None)
    sys.path[:] = [path for path in sys.path if path != str(root)]


def write(store: pyarrow.fs.S3FileSystem, name: str, *rows: tuple[int, int, float]) -> None:
    """An object of the source: user, hours ago, usd."""
    users, hours, usd = zip(*rows, strict=True)
    times = [NOW - timedelta(hours=h) for h in hours]
    table = pa.table(
        {"user_id": users, "t": pa.array(times, pa.timestamp("us", "UTC")), "usd": usd}
    )
    pq.write_table(table, f"shop/orders/{name}.parquet", filesystem=store)


def test_a_source_on_s3_is_used_like_any_other(
    shop: Path, bucket: pyarrow.fs.S3FileSystem, capsys: pytest.CaptureFixture[str]
) -> None:
    def penstock(*words: str, status: int = 0) -> Any:
        capsys.readouterr()
        ended = run(["features", *words, "--project", str(shop), "--json"])
        forget(shop)
        printed, err = capsys.readouterr()
        assert ended == status, err
        return json.loads(printed)

    query = f"SELECT * FROM (VALUES (1), (2), (3)) AS u(user_id), (SELECT TIMESTAMPTZ '{NOW}'"
    query += " AS event_timestamp)"
    output = shop / "history.parquet"
    penstock("apply")
    penstock("materialize", "--end", NOW.isoformat())
    first = penstock("history", query, "--output", str(output))
    table = pq.read_table(output).sort_by("user_id")
    assert table["usd_sum_7d"].to_pylist() == [3.0, 8.0, 0.0]
    assert [view["state"] for view in penstock("freshness")] == ["fresh"]

    from penstock.features.store import open_store

    store = open_store(shop)
    answer = store.get_online_features(
        store.get_feature_service("service"), {"user_id": [1, 2, 3]}
    ).to_dict()
    assert answer["usd_sum_7d"] == [3.0, 8.0, 0.0]

    # Another object, and so another digest of the same source.
    write(bucket, "2", (3, 1, 16.0))
    second = penstock("history", query, "--output", str(output))
    assert second["sources"] != first["sources"]
    assert second["definitions"] == first["definitions"]
    [source] = second["sources"]
    assert source["location"] == "s3://shop/orders"
    assert source["of"] == "the ETag and size of its objects"
    # The same bytes once more are the same source; others of the same length are not.
    write(bucket, "2", (3, 1, 16.0))
    assert penstock("history", query, "--output", str(output))["sources"] == second["sources"]
    write(bucket, "2", (3, 1, 32.0))
    assert penstock("history", query, "--output", str(output))["sources"] != second["sources"]
    write(bucket, "2", (3, 1, 16.0))
    penstock("history", query, "--output", str(output))
    assert pq.read_table(output).sort_by("user_id")["usd_sum_7d"].to_pylist() == [3.0, 8.0, 16.0]

    bucket.delete_dir("shop/orders")
    [view] = penstock("freshness", status=1)
    assert (view["view"], view["state"]) == ("spending", "unreadable")
