"""The prediction log on a small disk of its own that fills up, or that may not be written."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from io import RawIOBase
from pathlib import Path
from typing import NoReturn

import pytest
from gateways import ROWS, Gateway, load, table, until

from penstock.settings import ServingSettings

pytestmark = pytest.mark.slow

UNITS = [f"user-{number}" for number in range(100)]
DISK = 4 << 20  # bytes
DURABLE = ServingSettings(
    port=0,
    max_rows=100,
    max_body_mb=0.1,
    ack_after_log=True,
    log_interval=timedelta(milliseconds=20),
    request_timeout=timedelta(seconds=2),
)


def mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")


@contextmanager
def disk(place: Path, options: str) -> Iterator[None]:
    """A file system of DISK bytes in memory."""
    if sys.platform != "linux" or os.geteuid():
        pytest.skip("mounting needs Linux, and root")
    place.mkdir(parents=True)
    mount("-t", "tmpfs", "-o", options, "penstock-test", str(place))
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(file: RawIOBase) -> NoReturn:
    while True:
        file.write(b"\0" * 4096)


@contextmanager
def filled(place: Path) -> Iterator[None]:
    """No byte more fits, until the block ends."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file:
        with pytest.raises(OSError, match="No space left on device"):
            fill(file)
        try:
            yield
        finally:
            filler.unlink()


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    it = Gateway(tmp_path / "endpoint", DURABLE)
    with contextlib.ExitStack() as stack:
        stack.callback(it.stop)
        yield it


def test_a_disk_that_fills_up_ends_in_503_and_every_acknowledged_row_is_kept(
    gateway: Gateway, champion: Path
) -> None:
    predictions = gateway.folder / "predictions"
    with disk(predictions, f"size={DISK}"):
        gateway.serve(table(gateway.spec("r1", champion)))
        with load(gateway.url, UNITS, connections=8) as running:
            running.wait_for(200)
            for _ in range(2):
                with filled(predictions):
                    until(lambda: running.seen[-1].status == 503)
                    answer = gateway.ask("/predict", ROWS)
                    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
                    assert "logged" in answer.body["error"]
                    assert gateway.samples()["penstock_log_healthy",] == 0.0
                until(lambda: gateway.ask("/predict", ROWS).status == 200)
                running.wait_for(200)
        assert {one.status for one in running.seen} == {200, 503}
        acknowledged = sorted(one.prediction_id for one in running.seen if one.status == 200)
        rows = gateway.rows_of(acknowledged)
        assert {row["status"] for row in rows} == {200}
        assert sorted(row["prediction_id"] for row in rows) == acknowledged
        gateway.stop()


def test_a_disk_that_may_not_be_written_ends_in_503_until_it_may(
    gateway: Gateway, champion: Path
) -> None:
    predictions = gateway.folder / "predictions"
    with disk(predictions, f"size={DISK},ro"):
        gateway.serve(table(gateway.spec("r1", champion)))
        until(lambda: gateway.ask("/predict", ROWS).status == 503)
        assert "Read-only" in (gateway.folder / "gateway.log").read_text()
        mount("-o", "remount,rw", str(predictions))
        until(lambda: gateway.ask("/predict", ROWS).status == 200)
        assert until(gateway.logged)
        gateway.stop()
