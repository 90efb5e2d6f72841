"""The log beside what goes wrong: its process is killed, the disk is full, a bucket is gone.

Readers and compactions work beside it meanwhile.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from penstock.errors import ResourceError, SettingsError
from penstock.serving.prediction_log.compaction import compact
from penstock.serving.prediction_log.erasing import Whose, without
from penstock.serving.prediction_log.reading import predictions
from penstock.serving.prediction_log.rows import Row
from penstock.serving.prediction_log.segments import LogFolder
from penstock.serving.prediction_log.shipped_erasing import erase_shipped, find_shipped
from penstock.serving.prediction_log.shipping import ship
from penstock.serving.prediction_log.writer import LogWriter

pytestmark = pytest.mark.slow

# Answers one request after the other, 50 at a time, and says which have been acknowledged.
GATEWAY = """
import asyncio, itertools, os, struct, sys, time
from pathlib import Path
from penstock.serving.prediction_log.rows import Row
from penstock.serving.prediction_log.writer import LogWriter

async def client(writer, numbers, acknowledge_at_once):
    for number in numbers:
        at, values = time.time_ns(), struct.pack("<2d", number, 0.5)
        row = Row(at, f"p{number:07}", "r1", rows=1, matrix=values, outputs=values[:8])
        if acknowledge_at_once:
            writer.append(row)
            await asyncio.sleep(0)
        else:
            safe = asyncio.Event()
            writer.append(row, safe.set)
            await safe.wait()
        os.write(1, f"{at} {row.prediction_id}\\n".encode())

async def serve(folder, mode):
    ack = mode == "after"
    writer = LogWriter(Path(folder), "production", ack_after_log=ack, segment_bytes=200_000)
    writer.describe("r1", ["visits", "age"], "churn@3", "d1")
    numbers = itertools.count()
    await asyncio.gather(*[client(writer, numbers, not ack) for _ in range(50)])

asyncio.run(serve(*sys.argv[1:]))
"""


@contextmanager
def gateway(folder: Path, mode: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-c", GATEWAY, str(folder), mode], stdout=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def kill_after(process: subprocess.Popen[bytes], answers: int) -> list[tuple[int, str]]:
    """When each acknowledged request arrived (ns), and its id."""
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(answers)]
    process.kill()
    lines += process.stdout.read().splitlines(keepends=True)
    process.wait()
    pairs = [line.decode().split() for line in lines if line.endswith(b"\n")]
    return [(int(at), prediction_id) for at, prediction_id in pairs]


def logged(folder: Path) -> list[str]:
    found = predictions([folder]).project("prediction_id").fetchall()
    return [prediction_id for (prediction_id,) in found]


def test_nothing_acknowledged_is_missing_after_a_kill(tmp_path: Path) -> None:
    for attempt in range(3):
        folder = tmp_path / f"log{attempt}"
        with gateway(folder, "after") as process:
            acknowledged = [prediction_id for _, prediction_id in kill_after(process, 2000)]
        before = logged(folder)
        assert set(acknowledged) <= set(before)
        assert len(before) == len(set(before))
        compact(folder)
        assert sorted(logged(folder)) == sorted(before)
        assert LogFolder(folder).list_segments() == []


def test_without_waiting_at_most_the_open_interval_is_missing(tmp_path: Path) -> None:
    with gateway(tmp_path, "before") as process:
        acknowledged = kill_after(process, 20_000)
    there = set(logged(tmp_path))
    missing = [at for at, prediction_id in acknowledged if prediction_id not in there]
    last = max(at for at, _ in acknowledged)
    # What is missing is the end, and not longer than an interval and the commit before it.
    assert len(there) >= 1
    assert not missing or last - min(missing) < 2e9
    oldest_missing = min(missing, default=last + 1)
    assert all(prediction_id in there for at, prediction_id in acknowledged if at < oldest_missing)


def test_rows_are_read_and_compacted_while_they_are_written(tmp_path: Path) -> None:
    counts = []
    with gateway(tmp_path, "after") as process:
        assert process.stdout is not None
        for _ in range(12):
            seen = {process.stdout.readline().split()[1].decode() for _ in range(300)}
            compact(tmp_path)
            there = logged(tmp_path)
            assert seen <= set(there)
            assert len(there) == len(set(there))
            counts.append(len(there))
        kill_after(process, 1)
    assert counts == sorted(counts)
    assert LogFolder(tmp_path).list_parquet() != []


# Appends until the log fails for want of room, then makes room.
FULL_DISK = """
import asyncio, json, resource, sys
from pathlib import Path
from penstock.serving.prediction_log.rows import Row
from penstock.serving.prediction_log.writer import LogWriter

async def serve(folder):
    acknowledged, number = [], 0
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
    writer = LogWriter(Path(folder), "production", ack_after_log=True, fsync_interval=0.001)
    while writer.healthy:
        prediction_id = f"p{number:07}"
        writer.append(Row(1, prediction_id), lambda i=prediction_id: acknowledged.append(i))
        number += 1
        await asyncio.sleep(0)
    error, pending = writer.error, writer.pending
    await asyncio.sleep(0)
    while_full = list(acknowledged)
    ends = [path.read_bytes()[-1:].decode() for path in Path(folder, "segments").iterdir()]
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    while not writer.healthy or writer.pending:
        await asyncio.sleep(0)
    lost = writer.close()
    print(json.dumps([error, pending, while_full, ends, number, lost, writer.error]))

asyncio.run(serve(sys.argv[1]))
"""


def test_a_full_disk_acknowledges_nothing_and_loses_nothing_when_there_is_room(
    tmp_path: Path,
) -> None:
    told = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)], stdout=subprocess.PIPE, check=True
    )
    error, pending, while_full, ends, number, lost, later = json.loads(told.stdout)
    assert os.strerror(27) in error  # EFBIG, where a full disk says ENOSPC
    assert pending > 0
    assert set(ends) <= {"", "\n"}  # cut back to the last whole commit
    there = logged(tmp_path)
    assert set(while_full) <= set(there)
    assert sorted(there) == [f"p{n:07}" for n in range(number)]
    assert (lost, later) == (0, "")


@pytest.fixture
def object_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of something that answers as S3 does, with a bucket `logs`."""
    import boto3
    from moto.server import ThreadedMotoServer

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    boto3.client("s3", endpoint_url=url, region_name="us-east-1").create_bucket(Bucket="logs")
    yield url
    server.stop()


def objects(url: str) -> dict[str, bytes]:
    import boto3

    client = boto3.client("s3", endpoint_url=url, region_name="us-east-1")
    keys = [one["Key"] for one in client.list_objects_v2(Bucket="logs").get("Contents", [])]
    return {key: client.get_object(Bucket="logs", Key=key)["Body"].read() for key in keys}


def forgetting(url: str) -> dict[str, pa.Table]:
    """The parts under the prefix of one test, which shares the bucket."""
    return {
        name: pq.read_table(io.BytesIO(data))
        for name, data in objects(url).items()
        if name.startswith("forgetting/")
    }


def write(folder: Path, prediction_id: str, at_ns: int) -> None:
    writer = LogWriter(folder, "production", fsync_interval=0.001)
    writer.append(Row(at_ns, prediction_id))
    writer.close()


def test_finished_partitions_are_shipped_once(tmp_path: Path, object_store: str) -> None:
    def run() -> tuple[int, int]:
        done = ship(tmp_path, "s3://logs/penstock/", endpoint_url=object_store, region="us-east-1")
        return len(done.files), done.already_there

    assert run() == (0, 0)
    write(tmp_path, "p1", 0)
    assert run() == (0, 0)  # a segment is no partition yet
    compact(tmp_path)
    assert run() == (1, 0)
    write(tmp_path, "p2", 86_400 * 10**9)
    compact(tmp_path)
    assert run() == (1, 1)
    assert run() == (0, 2)
    files = LogFolder(tmp_path).list_parquet()
    assert objects(object_store) == {
        f"penstock/{file.relative_to(tmp_path / 'parquet')}": file.read_bytes() for file in files
    }
    assert [file.parent.parent.name for file in files] == ["date=1970-01-01", "date=1970-01-02"]


def test_what_was_not_shipped_whole_is_shipped_again(tmp_path: Path, object_store: str) -> None:
    import boto3

    write(tmp_path, "p1", 0)
    compact(tmp_path)
    ship(tmp_path, "s3://logs", endpoint_url=object_store, region="us-east-1")
    before = objects(object_store)
    client = boto3.client("s3", endpoint_url=object_store, region_name="us-east-1")
    client.put_object(Bucket="logs", Key=next(iter(before)), Body=b"half")
    ship(tmp_path, "s3://logs", endpoint_url=object_store, region="us-east-1")
    assert objects(object_store) == before


def test_shipped_parts_are_erased_though_they_expired_here(
    tmp_path: Path, object_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = LogWriter(tmp_path, "production", fsync_interval=0.001)
    for number in (1, 2):
        writer.append(Row(number, f"p{number}", rows=1, entities={"customer_id": [number]}))
    writer.close()
    compact(tmp_path)
    ship(tmp_path, "s3://logs/forgetting", endpoint_url=object_store, region="us-east-1")
    before = forgetting(object_store)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", object_store)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    whose = Whose("customer_id", "2")
    shipped = find_shipped("s3://logs/forgetting", "production", whose)
    assert (shipped.things, len(shipped.objects)) == ({("p2", 0)}, 1)
    assert find_shipped("s3://logs/forgetting", "staging", whose).things == set()
    erase_shipped(shipped, whose)
    assert find_shipped("s3://logs/forgetting", "production", whose).objects == ()
    assert forgetting(object_store) == {name: without(part, whose) for name, part in before.items()}


def test_a_place_that_cannot_be_shipped_to_is_named(tmp_path: Path, object_store: str) -> None:
    write(tmp_path, "p1", 0)
    compact(tmp_path)
    with pytest.raises(SettingsError, match="ftp://logs"):
        ship(tmp_path, "ftp://logs")
    with pytest.raises(ResourceError, match="s3://nowhere/penstock"):
        ship(tmp_path, "s3://nowhere/penstock", endpoint_url=object_store, region="us-east-1")
    assert logged(tmp_path) == ["p1"]
