"""What is counted of logged rows, and that counts add."""

from __future__ import annotations

import json
import math
import struct
import threading
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.serving.observations.bins import MISSING, NumberBins, WordBins
from penstock.serving.observations.counts import ArmKey, Counts, counted, counts_of
from penstock.serving.observations.first_events import MOST, FirstEvents, bad_events
from penstock.serving.observations.pairs import Answer, Pair, compared
from penstock.serving.observations.usage import PAGE_BYTES, TICK_US, Meter, Usage
from penstock.serving.observations.writer import Observer, Report
from penstock.serving.prediction_log.rows import ALONE, GIVEN, Row
from penstock.stats.histograms import added, bins_of, quantile, upper_edge
from penstock.stats.score_bins import NOT_A_NUMBER
from penstock.stats.second_moment import BUCKETS, second_moment

NAMES = {"r1": ("age", "plan")}
EDGES = {"r1": {"age": NumberBins([10.0, 20.0], "right")}}
NAN = float("nan")


def row(
    status: int = 200,
    *values: float,
    output: float | None = 0.5,
    arm: str = "champion",
    error: str = "",
    total_us: int = 900,
    **more: Any,
) -> Row:
    """One request of one row: age and plan as numbers."""
    return Row(
        0,
        "id",
        "r1",
        arm,
        rows=1,
        matrix=struct.pack("<2d", *values) if values else None,
        outputs=None if output is None else struct.pack("<d", output),
        total_us=total_us,
        status=status,
        error=error,
        **more,
    )


def test_a_clients_mistake_is_counted_but_is_no_error_of_the_arm() -> None:
    rows = [row(), row(400, error="request"), row(503, error="died"), row(504, error="timeout")]
    counts = counted(rows, {}, NAMES)[ArmKey("r1", "champion")]
    assert (counts.requests, counts.refused) == (4, 1)
    assert counts.errors == {"died": 1, "timeout": 1}
    assert counts.statuses == {200: 1, 400: 1, 503: 1, 504: 1}
    assert sum(counts.latency.values()) == 1


def test_arms_are_counted_apart() -> None:
    found = counted([row(), row(arm="canary"), row(arm="canary")], {}, NAMES)
    assert {key.arm: counts.requests for key, counts in found.items()} == {
        "champion": 1,
        "canary": 2,
    }


def test_features_are_counted_in_the_bins_of_the_reference() -> None:
    # Edges 10 and 20: below, from 10, from 20; a value on an edge lies above it.
    ages = [9.9, 10.0, 19.9, 20.0, 99.0, NAN]
    rows = [row(200, age, 1.0) for age in ages]
    rows.append(Row(0, "id", "r1", "champion", rows=1, columns=[[15], ["basic"]]))
    counts = counted(rows, EDGES, NAMES)[ArmKey("r1", "champion")]
    assert counts.features == {"age": {-1: 1, 0: 1, 1: 3, 2: 2}}


def test_features_are_counted_in_the_bins_of_a_profile() -> None:
    # A value on an edge lies below it, as in a profile; categories are read as the log has them.
    bins = {"age": NumberBins([10.0, 20.0], "left"), "plan": WordBins({"1": 0, "pro": 1})}
    rows = [row(200, 10.0, 1.0)]
    plans = ["pro", 1, True, None, NAN, "pro", "plus"]
    rows.append(Row(0, "id", "r1", "champion", rows=7, columns=[[20.5] * 7, plans]))
    counts = counted(rows, {"r1": bins}, NAMES)[ArmKey("r1", "champion")]
    assert counts.features["age"] == {0: 1, 2: 7}
    assert counts.features["plan"] == {0: 1, 1: 2, MISSING: 2, 2: 3}


@given(st.lists(st.integers(1, 200), min_size=1, max_size=60), st.integers(1, 5))
def test_how_often_each_entity_was_asked_about_is_known_to_some_percent(
    times: list[int], parts: int
) -> None:
    asked = [number for number, count in enumerate(times) for _ in range(count)]
    total = Counts()
    for part in range(parts):  # seconds, and gateways
        keys = {"customer": asked[part::parts], "shop": ["a"] * len(asked[part::parts])}
        one = row(200, 1.0, 2.0)
        rows = [msgspec.structs.replace(one, entities=keys)]
        total.add(counted(rows, EDGES, NAMES)[ArmKey("r1", "champion")])
    assert total.entity_rows == len(asked)
    squares = sum(count * count for count in times)
    # Six standard deviations; what is exact is told exactly.
    assert second_moment(total.entity_signs) == pytest.approx(squares, rel=6 * (2 / BUCKETS) ** 0.5)


def test_predictions_are_counted_in_hundredths_and_beyond_in_eighths_of_a_doubling() -> None:
    rows = [row(output=p) for p in (0.0, 0.009, 0.05, 0.999, 1.0, 1.5, -0.1, math.nan)]
    counts = counted(rows, {}, NAMES)[ArmKey("r1", "champion")]
    assert counts.predictions == {-486: 1, 0: 2, 5: 1, 99: 2, 104: 1, NOT_A_NUMBER: 1}


@given(st.lists(st.tuples(st.sampled_from([200, 400, 500]), st.integers(1, 10**7)), max_size=30))
def test_counts_add(seen: list[tuple[int, int]]) -> None:
    rows = [row(status, 15.0, 2.0, total_us=us, error="model") for status, us in seen]
    whole = counted(rows, EDGES, NAMES).get(ArmKey("r1", "champion"), Counts())
    total = Counts()
    for one in rows:
        total.add(counted([one], EDGES, NAMES)[ArmKey("r1", "champion")])
    for name in ("requests", "errors", "statuses", "latency", "features", "predictions"):
        assert getattr(total, name) == getattr(whole, name)


@given(st.lists(st.floats(1.0, 1e9), min_size=1), st.sampled_from([0.5, 0.95, 0.99, 1.0]))
def test_a_quantile_is_at_most_nine_percent_too_high(values: list[float], q: float) -> None:
    histogram = added([{int(number): 1} for number in bins_of(np.array(values))])
    ordered = sorted(values)
    true = ordered[max(0, -(-int(q * 1000) * len(values) // 1000) - 1)]
    found = quantile(histogram, q)
    assert found is not None
    assert true < found <= true * 1.0906


def test_edges_and_bins_agree() -> None:
    numbers = np.arange(7, 200, 8)
    edges = np.array([upper_edge(number) for number in numbers])
    assert bins_of(edges).tolist() == (numbers + 1).tolist()
    assert quantile({}, 0.5) is None


# Rollouts


def test_epochs_are_counted_apart_and_slow_answers_by_the_limit_of_each() -> None:
    rows = [
        row(total_us=us, epoch=epoch, counts_for=whose)
        for us in (900, 1_000, 1_001)
        for epoch in ("ro-1/0", "ro-1/1", "")
        for whose in (GIVEN, ALONE)
    ]
    rows.append(row(504, total_us=9_000, error="timeout", epoch="ro-1/0", counts_for=ALONE))
    rows.append(row(400, total_us=9_000, epoch="ro-1/0", counts_for=ALONE))
    found = counted(rows, {}, NAMES, {"ro-1/0": 1_000, "ro-1/1": 899})

    def told(epoch: str) -> tuple[int, ...]:
        c = found[ArmKey("r1", "champion", epoch)]
        return c.requests, c.slow, c.own_requests, c.own_errors, c.own_slow

    assert told("ro-1/0") == (8, 2, 5, 1, 1)
    assert told("ro-1/1") == (6, 6, 3, 0, 3)
    assert told("") == (6, 0, 3, 0, 0)


def test_counts_come_back_from_the_database_as_they_were() -> None:
    before = counted([row(epoch="e"), row(503, error="died", epoch="e")], EDGES, NAMES)
    (counts,) = before.values()
    counts.pairs = compared([Pair("r2", "e", dropped=True)])["r2", "e"]
    assert counts_of(json.loads(json.dumps(msgspec.to_builtins(counts)))) == counts


def test_memory_is_no_sum() -> None:
    total = Counts(cpu_us=5, memory_bytes=70)
    total.add(Counts(cpu_us=6, memory_bytes=60))
    assert (total.cpu_us, total.memory_bytes) == (11, 70)


def test_bad_events_are_errors_and_slow_answers_of_units_that_outlive_a_request() -> None:
    given = {"epoch": "ro-1/0", "counts_for": GIVEN}
    rows = [
        row(503, error="died", **given),
        row(total_us=2_000, **given),
        row(total_us=999, **given),
        row(400, total_us=2_000, **given),
        row(503, error="died", epoch="ro-1/0", counts_for=ALONE),
        row(503, error="died", epoch="ro-1/0"),  # stood in, pinned, shadow
        row(503, error="died", counts_for=GIVEN),  # no rollout
    ]
    metrics = [metric for _, metric in bad_events(rows, {"ro-1/0": 1_000})]
    assert metrics == ["error", "slow"]


def test_a_unit_is_noted_once_a_rollout_and_metric() -> None:
    events = FirstEvents("shop", "a")
    for epoch in ("ro-1/0", "ro-1/1", "ro-2/0", ""):
        for metric in ("error", "slow"):
            for _ in range(3):
                events.note(epoch, metric, "u", "canary", 7)
    found = [(e.rollout, e.stage, e.metric) for e in events.take()]
    assert found == [
        ("ro-1", 0, "error"), ("ro-1", 0, "slow"), ("ro-2", 0, "error"), ("ro-2", 0, "slow"),
    ]  # fmt: skip
    assert events.take() == []


def test_what_could_not_be_written_waits_in_its_order() -> None:
    events = FirstEvents("shop", "a")
    for unit in "abc":
        events.note("ro-1/0", "error", unit, "canary", 7)
    taken = events.take()
    events.note("ro-1/0", "error", "d", "canary", 8)
    events.give_back(taken)
    assert [e.unit for e in events.take()] == ["a", "b", "c", "d"]


def test_a_flood_is_noted_in_its_order_whatever_the_arm_and_the_rest_later() -> None:
    events = FirstEvents("shop", "a")
    arms = ["canary" if n % 3 else "champion" for n in range(2 * MOST)]
    for n, arm in enumerate(arms):
        events.note("ro-1/0", "error", str(n), arm, 7)
    events.note("ro-1/0", "slow", "1", "canary", 7)  # another metric has room of its own
    assert [e.arm for e in events.take()] == [*arms[:MOST], "canary"]
    assert events.dropped == MOST
    events.note("ro-1/0", "error", str(MOST), "canary", 8)  # its next event
    assert [e.unit for e in events.take()] == [str(MOST)]


def answer(*values: float, us: int = 100, width: int = 1) -> Answer:
    return Answer(struct.pack(f"<{len(values)}d", *values), width, us)


def test_a_shadows_answers_are_compared_row_by_row() -> None:
    pairs = [
        # Differences 0.1, 0.2 (another class), 0.
        Pair("r2", "e", answer(0.1, 0.4, 0.9, us=100), answer(0.2, 0.6, 0.9, us=200)),
        Pair("r2", "e", answer(0.9, 0.5, width=2, us=200), answer(0.1, 0.5, width=2, us=100)),
        Pair("r2", "e", answer(NAN), answer(0.1)),  # one has a class, the other has none
        Pair("r2", "e", answer(0.1), None),
        Pair("r2", "e", None, answer(0.1)),
        Pair("r2", "e", None, None),
        Pair("r2", "e", answer(0.1), answer(0.1, 0.2)),  # no answer to this question
        Pair("r2", "e", dropped=True),
        Pair("r3", "e", answer(0.1), answer(0.1)),
    ]
    found = compared(pairs)
    counts = found["r2", "e"]
    assert (counts.requests, counts.rows, counts.disagreements) == (3, 5, 2)
    assert counts.difference == pytest.approx(0.1 + 0.2)
    assert counts.difference_squares == pytest.approx(0.01 + 0.04)
    assert counts.log_ratio == pytest.approx(0.0)
    assert counts.log_ratio_squares == pytest.approx(2 * math.log(2) ** 2)
    assert (counts.shadow_failures, counts.primary_failures, counts.dropped) == (2, 1, 1)
    assert found["r3", "e"].requests == 1


def process(folder: Path, pid: int, user: int, system: int, pages: int) -> None:
    (folder / str(pid)).mkdir(exist_ok=True)
    stat = f"{pid} (a (b) c) S 1 1 1 0 -1 4194304 100 0 0 0 {user} {system} 7 7 20 0 9 0 1 0 0"
    (folder / str(pid) / "stat").write_text(stat)
    (folder / str(pid) / "statm").write_text(f"99 {pages} 1 1 0 1 0")


def test_what_processes_used_is_counted_from_when_they_were_first_seen(tmp_path: Path) -> None:
    meter = Meter(tmp_path)
    process(tmp_path, 1, user=500, system=100, pages=10)
    process(tmp_path, 2, user=900, system=100, pages=20)
    assert meter.read({"r1": [1, 2], "r2": [3]}) == {"r1": Usage(0, 30 * PAGE_BYTES)}
    process(tmp_path, 1, user=510, system=105, pages=11)
    process(tmp_path, 2, user=3, system=0, pages=20)  # another process of this number
    assert meter.read({"r1": [1, 2]}) == {"r1": Usage(15 * TICK_US, 31 * PAGE_BYTES)}


class Database:
    """Keeps what is written; it may be away."""

    def __init__(self) -> None:
        self.reports: list[Report] = []
        self.away = False
        self.written = threading.Event()

    def write(self, report: Report) -> None:
        if self.away:
            raise OSError("away")
        self.reports.append(Report([*report.seconds], [*report.sums], [*report.first]))
        self.written.set()


def test_sums_grow_in_place_and_nothing_is_lost_while_the_database_is_away() -> None:
    database = Database()
    observer = Observer("shop", "a", database.write)
    given = {"epoch": "ro-1/0", "counts_for": GIVEN, "unit": "f" * 16}
    observer.counted_rows([row(arm="canary", **given)])
    assert database.written.wait(10)
    database.away = True
    observer.counted_rows([row(503, arm="canary", error="died", **given)] * 2)
    observer.counted_rows([row(arm="canary")])
    observer.close()
    assert len(database.reports) == 1
    database.away = False
    observer.flush()
    first, last = database.reports
    assert [one.counts["requests"] for one in first.sums] == [1]
    (total,) = last.sums  # what is outside of rollouts is not summed up
    assert (total.epoch, total.arm, total.counts["requests"]) == ("ro-1/0", "canary", 3)
    assert total.since == first.sums[0].since
    assert total.until > first.sums[0].until
    assert [(e.metric, e.unit, e.arm) for e in last.first] == [("error", "f" * 16, "canary")]
    assert sum(one.counts["requests"] for one in last.seconds) == 3
    assert observer.totals()[ArmKey("r1", "canary")].requests == 4
