"""What is counted of logged rows, and that counts add."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from penstock.serving.observations.counts import ArmKey, Counts, counted
from penstock.serving.prediction_log.rows import Row
from penstock.stats.histograms import added, bin_of, quantile, upper_edge

NAMES = {"r1": ("age", "plan")}
EDGES = {"r1": {"age": [10.0, 20.0]}}
NAN = float("nan")


def row(
    status: int = 200,
    *values: float,
    output: float | None = 0.5,
    arm: str = "champion",
    error: str = "",
    total_us: int = 900,
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


def test_predictions_are_counted_in_twentieths() -> None:
    rows = [row(output=p) for p in (0.0, 0.049, 0.05, 0.999, 1.0, 1.5, -0.1)]
    counts = counted(rows, {}, NAMES)[ArmKey("r1", "champion")]
    assert counts.predictions == {-1: 1, 0: 2, 1: 1, 19: 2, 20: 1}


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
    histogram = added([{bin_of(value): 1} for value in values])
    ordered = sorted(values)
    true = ordered[max(0, -(-int(q * 1000) * len(values) // 1000) - 1)]
    found = quantile(histogram, q)
    assert found is not None
    assert true < found <= true * 1.0906


def test_edges_and_bins_agree() -> None:
    assert all(bin_of(upper_edge(number)) == number + 1 for number in range(7, 200, 8))
    assert quantile({}, 0.5) is None
