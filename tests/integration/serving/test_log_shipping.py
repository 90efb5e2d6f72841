"""The prediction log of a real gateway is brought to an object store while it serves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gateways import Gateway, in_foreground, load, table, until
from s3_servers import s3_server

from penstock.serving import endpoint
from penstock.settings import ServingSettings

pytestmark = pytest.mark.slow

BUCKET = "predictions"
OFTEN = {"penstock__serving__prediction_log__upkeep": {"INTERVAL": 0.5}}


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of a server that speaks S3, which the environment names to everybody."""
    import boto3

    with s3_server(monkeypatch, BUCKET):
        yield boto3.client("s3")


def shipped(store: Any) -> dict[str, bytes]:
    found = store.list_objects_v2(Bucket=BUCKET).get("Contents", [])
    return {
        one["Key"]: store.get_object(Bucket=BUCKET, Key=one["Key"])["Body"].read() for one in found
    }


def ids(objects: dict[str, bytes]) -> list[str]:
    """Of all predictions in some objects."""
    tables = [pq.read_table(pa.BufferReader(body)) for body in objects.values()]
    return sorted(one for t in tables for one in t.column("prediction_id").to_pylist())


def test_every_finished_segment_arrives_once_and_whole(
    tmp_path: Path, champion: Path, store: Any
) -> None:
    settings = ServingSettings(port=0, log_ship=f"s3://{BUCKET}/staging")
    gateway = Gateway(tmp_path / "endpoint", settings)
    gateway.serve(table(gateway.spec("r1", champion)))
    with load(gateway.url, ["u"]) as running:
        running.wait_for(200)
    gateway.stop()  # its segment is finished
    first = sorted(one.prediction_id for one in running.seen)
    assert shipped(store) == {}

    with in_foreground(gateway, **OFTEN) as process:
        until(lambda: endpoint.status(gateway.folder).state == "live")
        with load(gateway.url, ["u"]) as running:
            until(lambda: ids(shipped(store)) == first)
        before = shipped(store)
        assert running.failures == []
        process.terminate()
        assert process.wait(120) == 0
    with in_foreground(gateway, **OFTEN):
        second = [one.prediction_id for one in running.seen]
        until(lambda: ids(shipped(store)) == sorted([*first, *second]))
    after = shipped(store)
    assert all(after[key] == body for key, body in before.items())
    here = gateway.folder / "predictions" / "parquet"
    assert after == {
        f"staging/{file.relative_to(here)}": file.read_bytes() for file in here.rglob("*.parquet")
    }


def test_a_store_that_is_away_costs_no_answer_and_gets_all_later(
    tmp_path: Path, champion: Path, store: Any
) -> None:
    settings = ServingSettings(port=0, log_ship=f"s3://{BUCKET}-that-is-not-there")
    gateway = Gateway(tmp_path / "endpoint", settings)
    gateway.serve(table(gateway.spec("r1", champion)))
    with load(gateway.url, ["u"]) as running:
        running.wait_for(50)
    gateway.stop()
    log = tmp_path / "gateway.log"
    with in_foreground(gateway, log, **OFTEN):
        until(lambda: endpoint.status(gateway.folder).state == "live")
        with load(gateway.url, ["u"]) as more:
            until(lambda: "cannot be shipped" in log.read_text())
        assert more.failures == []
        store.create_bucket(Bucket=f"{BUCKET}-that-is-not-there")

        def arrived() -> list[str]:
            found = store.list_objects_v2(Bucket=f"{BUCKET}-that-is-not-there")
            return [one["Key"] for one in found.get("Contents", [])]

        until(arrived)
    assert all(key.startswith("date=") for key in arrived())
