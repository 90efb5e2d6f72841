"""What is drift, what is chance, what is too small to matter, and what cannot be told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from penstock.monitoring.drift import drift_of, drifted_share
from penstock.monitoring.history import as_json, confirmed, earlier, keep, report_from
from penstock.monitoring.quality import CONSTANT, NULLS, RANGE, UNSEEN, failing, quality_of
from penstock.monitoring.report import Measure, Report, Verdict
from penstock.monitoring_settings import MonitoringSettings
from penstock.profiles.counting import counted, profile_of
from penstock.profiles.profile import Column, Profile
from penstock.state.database import open_state

SETTINGS = MonitoringSettings()
GENERATOR = np.random.default_rng(20261129)
N = 20_000
LEARNED = {
    "number": GENERATOR.normal(size=N),
    "money": GENERATOR.lognormal(0, 1, N),
    "word": GENERATOR.choice(list("abcd"), N),
    "other": GENERATOR.normal(5, 3, N),
}
REFERENCE: Profile = profile_of(pa.table(LEARNED), list(LEARNED))


def seen(size: int, **changed: Any) -> dict[str, Column]:
    """A window of like rows, but for the columns that changed."""
    import duckdb

    generator = np.random.default_rng(size)
    like = {
        "number": generator.normal(size=size),
        "money": generator.lognormal(0, 1, size),
        "word": generator.choice(list("abcd"), size),
        "other": generator.normal(5, 3, size),
    }
    rows = duckdb.connect().from_arrow(pa.table(like | changed))
    return {one.name: one for one in counted(rows, REFERENCE.columns)}


def drift(window: dict[str, Column], independent: float = 1.0) -> dict[str, Measure]:
    found = drift_of(REFERENCE.columns, window, SETTINGS, independent)
    return {one.subject: one for one in found}


def gates(window: dict[str, Column], independent: float = 1.0) -> dict[str, str]:
    found = quality_of(REFERENCE.columns, window, {}, SETTINGS, independent)
    return {one.subject: one.name for one in found if one.verdict is Verdict.FOUND}


G = np.random.default_rng(7)
CHANGES = {
    "mean shift": ("number", lambda n: G.normal(0.4, 1, n)),
    "variance": ("number", lambda n: G.normal(0, 2, n)),
    "half of it zero": ("money", lambda n: np.where(G.random(n) < 0.5, 0, G.lognormal(0, 1, n))),
    "other shares": ("word", lambda n: G.choice(list("abcd"), n, p=[0.5, 0.3, 0.1, 0.1])),
    "swapped": ("number", lambda n: G.normal(5, 3, n)),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("size", [300, 5_000])
def test_a_change_that_matters_is_found_where_it_is(change: str, size: int) -> None:
    name, draw = CHANGES[change]
    window = seen(size, **{name: draw(size)})
    assert set(gates(window)) | {s for s, m in drift(window).items() if m.verdict == "found"} == {
        name
    }


def test_what_stays_is_not_drift_and_says_its_numbers() -> None:
    for size in (100, 1_000, 50_000):
        window = seen(size)
        assert not gates(window)
        assert {one.verdict for one in drift(window).values()} == {Verdict.FINE}
    told = drift(window)["number"]
    assert told.rows == 50_000
    assert set(told.details["effects"]) == {"moved", "distance"}
    assert drifted_share(tuple(drift(window).values()), SETTINGS).value == 0


def test_of_very_many_rows_a_tiny_shift_is_told_and_is_no_drift() -> None:
    found = drift(seen(400_000, number=np.random.default_rng(1).normal(0.05, 1, 400_000)))
    assert found["number"].details["p_adjusted"] < 1e-6
    assert found["number"].verdict is Verdict.FINE
    assert "too little to matter" in found["number"].reason


@pytest.mark.parametrize(
    ("name", "values", "gate"),
    [
        ("number", [None] * 600 + [-0.5, 0.5] * 200, NULLS),  # 60 % null
        ("number", [None] * 1_000, NULLS),
        ("word", ["e'"] * 50 + ["a", "b", "c", "d"] * 237 + ["a", "b"], UNSEEN),  # 5 % new
        ("number", [40.0] * 30 + [-0.5, 0.5] * 485, RANGE),
        ("money", [1.0] * 1_000, CONSTANT),
        ("word", ["a"] * 1_000, CONSTANT),
    ],
)
def test_columns_that_are_not_fit_to_be_compared_are_named(
    name: str, values: list[Any], gate: str
) -> None:
    column = pa.array(values, pa.string() if name == "word" else pa.float64())
    measures = quality_of(REFERENCE.columns, seen(1_000, **{name: column}), {}, SETTINGS)
    assert failing(measures) == {name: gate}
    assert all(one.reason for one in measures)


def test_too_little_data_is_never_no_drift() -> None:
    window = seen(60)
    assert {one.verdict for one in drift(window).values()} == {Verdict.INSUFFICIENT}
    (only,) = quality_of(REFERENCE.columns, window, {}, SETTINGS)
    assert (only.verdict, only.reason) == (Verdict.INSUFFICIENT, "60 rows; 100 are needed")
    nothing = drift_of([], {}, SETTINGS)
    assert drifted_share(nothing, SETTINGS).verdict is Verdict.INSUFFICIENT


def test_rows_about_few_entities_count_as_few_rows() -> None:
    values = np.repeat(np.random.default_rng(8).normal(size=20), 100)  # 20 customers, asked often
    window = seen(2_000, number=values)
    assert drift(window)["number"].verdict is Verdict.FOUND
    assert "worth 20" in drift(window, independent=0.01)["number"].reason
    assert drift(window, independent=0.1)["number"].verdict is Verdict.FINE


def test_importance_weighs_what_drifted() -> None:
    measures = [
        Measure("drift", "a", Verdict.FOUND, "", details={"importance": 0.2}),
        Measure("drift", "b", Verdict.FINE, "", details={"importance": 0.8}),
    ]
    share = drifted_share(measures, SETTINGS)
    assert (share.value, share.verdict) == (pytest.approx(0.2), Verdict.FINE)
    measures[0] = Measure("drift", "a", Verdict.FOUND, "", details={"importance": 0.6})
    assert drifted_share(measures, SETTINGS).verdict is Verdict.FOUND


START = datetime(2026, 1, 1, tzinfo=UTC)


def report(day: float, *measures: Measure) -> Report:
    since = START + timedelta(days=day)
    until = since + timedelta(days=1)
    return Report("features", "m@1", "e", until, since, until, "log", 5, measures)


def test_drift_counts_in_k_of_n_windows_that_do_not_overlap(tmp_path: Path) -> None:
    engine = open_state("", tmp_path)
    found = Measure("drift", "x", Verdict.FOUND, "drifted", value=float("inf"))
    verdicts = []
    for day in (0, 0.5, 1, 2):  # the second overlaps with the first
        before = earlier(engine, "features", "m@1", "e", START + timedelta(days=day))
        told = confirmed([found], before, 2, 3)
        verdicts.append(told[0].verdict.value)
        keep(engine, report(day, *told), START)
    assert verdicts == ["fine", "fine", "found", "found"]
    gone = earlier(engine, "features", "m@1", "e", START + timedelta(days=9))
    assert [one.until for one in gone] == [START + timedelta(days=day) for day in (3, 2, 1)]
    assert not earlier(engine, "features", "m@2", "e", START + timedelta(days=9))


def test_a_report_comes_back_from_its_json() -> None:
    one = report(0, Measure("drift", "x", Verdict.FOUND, "so", 0.1, 0.0, (0.0, 1.0), 5, {"p": 1}))
    assert report_from(as_json(one)) == one
