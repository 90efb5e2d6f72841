"""The system's clock is set back or forward under a gateway: nothing is lost, and nothing stays."""

from __future__ import annotations

import struct
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.serving.access import RateLimit
from penstock.serving.observations import writer as observations_writer
from penstock.serving.observations.writer import Observer, Report
from penstock.serving.prediction_log import writer as log_writer
from penstock.serving.prediction_log.compaction import compact
from penstock.serving.prediction_log.reading import Selection, predictions, records
from penstock.serving.prediction_log.rows import Row
from penstock.serving.prediction_log.segments import LogFolder
from penstock.serving.prediction_log.writer import LogWriter
from penstock.serving.release import ReleaseSpec
from penstock.serving.routing.buckets import BUCKETS
from penstock.serving.routing.routes import Router
from penstock.serving.routing.table import Arm, RoutingTable

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR, YEAR = timedelta(hours=1), timedelta(days=365)
JUMPS = [NOON, NOON - HOUR, NOON + YEAR, NOON, NOON - YEAR, NOON + HOUR]


class Clock:
    """The system's clock, as `datetime` and `time` give it. It stands where it is set."""

    def __init__(self) -> None:
        self.moment = NOON

    def now(self, zone: object = None) -> datetime:
        return self.moment

    def time(self) -> float:
        return self.moment.timestamp()


@pytest.fixture
def clock() -> Clock:
    return Clock()


# The lease


def spec(name: str) -> ReleaseSpec:
    return ReleaseSpec(
        id=name, endpoint="shop", model=f"m@{name[1:]}", digest="d", path="/m", replicas=1
    )


def canary() -> RoutingTable:
    return RoutingTable(
        endpoint="shop",
        champion="r1",
        releases={name: spec(name) for name in ("r1", "r2")},
        arms=(Arm(name="canary", release="r2", buckets=((0, BUCKETS),)),),
    )


def arm_at(router: Router, moment: datetime) -> str:
    return router.route("u", moment.timestamp()).arm


def test_a_clock_that_goes_forward_ends_a_lease_which_the_next_renewal_mends() -> None:
    """The safe side: the baseline, until the controller is heard of."""
    router = Router(canary(), NOON + timedelta(seconds=30))
    assert arm_at(router, NOON) == "canary"
    assert arm_at(router, NOON + HOUR) == "champion"
    router.renew(NOON + HOUR + timedelta(seconds=30))
    assert arm_at(router, NOON + HOUR) == "canary"


def test_a_clock_that_goes_back_lets_a_lease_hold_for_longer_by_as_much() -> None:
    """Leases are moments: gateways and controllers need clocks that agree."""
    router = Router(canary(), NOON + timedelta(seconds=30))
    assert arm_at(router, NOON - HOUR) == "canary"
    assert arm_at(router, NOON + timedelta(seconds=29)) == "canary"
    assert arm_at(router, NOON + timedelta(seconds=30)) == "champion"
    # Each renewal counts from the clock of who renews.
    router.renew(NOON - HOUR + timedelta(seconds=30))
    assert arm_at(router, NOON - HOUR) == "canary"
    assert arm_at(router, NOON) == "champion"


# Observations


class Database:
    def __init__(self) -> None:
        self.away = False
        self.seconds: dict[tuple[str, int], int] = {}  # of release and second: requests
        self.written: list[int] = []

    def write(self, report: Report) -> None:
        if self.away:
            raise OSError("away")
        for one in report.seconds:
            self.seconds[one.release, one.second] = one.counts.get("requests", 0)
            self.written.append(one.second)


def answered(number: int) -> Row:
    outputs = struct.pack("<d", 0.5)
    return Row(0, f"p{number}", f"r{number % 2}", "champion", rows=1, outputs=outputs, status=200)


@pytest.mark.parametrize("away", [False, True])
def test_seconds_only_go_forward_and_no_count_is_lost_or_doubled(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, away: bool
) -> None:
    monkeypatch.setattr(observations_writer.time, "time", clock.time)
    database = Database()
    observer = Observer("shop", "a", database.write)
    observer.describe("r0", (), None)
    observer.describe("r1", (), None)
    asked: Counter[str] = Counter()
    for turn, moment in enumerate(JUMPS):
        clock.moment = moment
        database.away = away and turn % 2 == 0
        for number in range(turn + 1):
            row = answered(number)
            observer.counted_rows([row])
            asked[row.release] += 1
        observer.flush()
    database.away = False
    observer.close()
    found: Counter[str] = Counter()
    for (release, _), requests in database.seconds.items():
        found[release] += requests
    assert found == asked
    assert database.written == sorted(database.written)


# The prediction log


def test_segments_written_while_the_clock_jumps_hold_every_row_once(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(log_writer, "datetime", clock)
    log = LogWriter(tmp_path, "shop", fsync_interval=0.0, segment_bytes=1)
    log.describe("r1", ("visits",), "churn@1", "d")
    wanted = []
    for turn, moment in enumerate(JUMPS * 2):
        clock.moment = moment
        for number in range(3):
            wanted.append(f"p{turn}-{number}")
            at_ns = int(moment.timestamp()) * 1_000_000_000
            assert log.append(Row(at_ns, wanted[-1], "r1", "champion", status=200))
        _wait_until_written(log)
    assert log.close() == 0
    folder = LogFolder(tmp_path)
    assert len(folder.list_segments()) >= len(JUMPS)  # each of them begun at another time

    def logged() -> list[str]:
        rows = records(predictions([tmp_path], Selection()))
        return sorted(row["prediction_id"] for row in rows)

    assert logged() == sorted(wanted)
    compact(tmp_path)
    assert folder.list_segments() == []
    assert logged() == sorted(wanted)
    dates = {file.parent.parent.name for file in folder.list_parquet()}
    assert dates == {f"date={moment:%Y-%m-%d}" for moment in JUMPS}


def _wait_until_written(log: LogWriter) -> None:
    waited = threading.Event()
    for _ in range(5_000):
        if log.pending == 0:
            return
        waited.wait(0.002)
    raise AssertionError("the log is not written")


# The rate


@given(
    st.floats(0.1, 100.0),
    st.integers(1, 20),
    st.lists(st.floats(-3_600.0, 3_600.0), min_size=1, max_size=100),
)
def test_a_clock_that_jumps_locks_nobody_out_and_lets_nobody_in_for_nothing(
    rate: float, burst: int, steps: list[float]
) -> None:
    """The gateway's is monotonic. Should it ever not be: time that went back is not taken away."""
    limit, now, forward, allowed = RateLimit(rate, burst), 1e6, 0.0, 0
    for step in steps:
        now += step
        forward += max(step, 0.0)
        wait = limit.take("shop", now)
        allowed += wait == 0.0
        assert 0.0 <= wait <= 1.0 / rate + 1e-9
        assert allowed <= burst + rate * forward + 1e-6
