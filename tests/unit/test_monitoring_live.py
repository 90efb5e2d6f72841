"""Live looks: what gateways counted says what the same rows say, and what they do not count."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from penstock.monitoring.live import LiveLook
from penstock.monitoring.looking import Look, looked
from penstock.monitoring.report import Measure
from penstock.monitoring.window import window_of_file, window_of_log
from penstock.profiles.completing import completed
from penstock.profiles.counting import profile_of
from penstock.profiles.keeping import keep_profile
from penstock.project import Project
from penstock.registry.version_profile import profile_file
from penstock.registry.versions import DIGEST, Found
from penstock.serving.observations.bins import bins_of
from penstock.serving.observations.counts import counted
from penstock.serving.prediction_log.rows import Row
from penstock.state import observations, routes
from penstock.state.database import open_database
from penstock.state.observations import Observed

NOW = datetime(2026, 6, 1, tzinfo=UTC)
NAMES = ("age", "plan", "street")


def columns(size: int, seed: int, plans: str) -> dict[str, list[Any]]:
    random = np.random.default_rng(seed)
    age = [None if n % 50 == 0 else float(x) for n, x in enumerate(random.normal(40, 9, size))]
    streets = [f"street {n}" for n in random.integers(0, 400, size)]
    return {"age": age, "plan": random.choice(list(plans), size).tolist(), "street": streets}


def table(values: dict[str, list[Any]]) -> pa.Table:
    kinds = {"age": pa.float64(), "plan": pa.string(), "street": pa.string()}
    return pa.table({name: pa.array(one, kinds[name]) for name, one in values.items()})


@pytest.fixture
def found(make_project: Callable[..., Project]) -> tuple[Project, Found]:
    project = make_project()
    profile = profile_of(table(columns(4_000, 1, "abc")), NAMES)
    label = (np.arange(4_000) % 2).astype(np.int8)
    score = np.random.default_rng(1).random(4_000)
    whole = completed(profile, profile, score, label, threshold=0.5, importance={}, model="")
    kept = keep_profile(project, whole)
    return project, Found("shop", 1, "", "", (), {f"{DIGEST}profile": kept.digest}, 0)


def observed(project: Project, found: Found, values: dict[str, list[Any]], customers: int) -> None:
    """As a gateway writes it: the release that is routed to, and its counts, in two seconds."""
    engine, (profile, digest) = open_database(project), profile_file(project, found)
    release = {"model": "shop@1", "profile": profile}
    document = {"champion": "r1", "releases": {"r1": release, "r0": {"model": "shop@2"}}}
    routes.publish(engine, "staging", document, expected=0, actor="ann", at=NOW)
    bins = {"r1": bins_of("", profile, digest)}
    size, score = len(values["age"]), np.random.default_rng(2).random(len(values["age"]))
    for second, part in enumerate((slice(0, size // 3), slice(size // 3, size))):
        keys = [number % customers for number in range(size)[part]]
        row = Row(
            0, "id", "r1", "champion", rows=len(keys),
            columns=[values[name][part] for name in NAMES],
            entities={"customer": keys}, outputs=score[part].tobytes(),
        )  # fmt: skip
        for key, counts in counted([row], bins, {"r1": NAMES}).items():
            at = int((NOW - timedelta(minutes=5)).timestamp()) + second
            plain = msgspec.to_builtins(counts)
            one = Observed("staging", key.epoch, key.release, key.arm, "g", at, plain)
            observations.write(engine, [one])


def measures(look: Look) -> dict[str, Measure]:
    reports = looked(look, ["data", "features", "predictions"])
    return {f"{one.name} {one.subject}".strip(): one for r in reports for one in r.measures}


def live_look(project: Project, found: Found) -> LiveLook:
    window = window_of_log(project, "staging", NOW - timedelta(hours=1), NOW)
    return LiveLook(project, open_database(project), found, "staging", window, NOW)


def test_it_finds_what_the_rows_themselves_show(
    found: tuple[Project, Found], tmp_path: Path
) -> None:
    values = columns(2_000, 3, "abcd")  # a plan that nobody had before
    observed(*found, values, customers=2_000)
    file = tmp_path / "rows.parquet"
    pq.write_table(table(values), file)
    project, version = found
    rows = Look(project, open_database(project), version, "", window_of_file(file), NOW)

    live, logged = measures(live_look(*found)), measures(rows)

    for name in ("null_share age", "null_share plan", "unseen_share plan", "drift age"):
        assert live[name].verdict is logged[name].verdict, name
        assert live[name].value == pytest.approx(logged[name].value), name
        assert live[name].rows == logged[name].rows, name
    assert live["unseen_share plan"].verdict == "found"
    assert live["drift prediction"].rows == 2_000
    for name in ("range_share", "drift street"):
        assert live[name].verdict == "insufficient"
        assert "not judged live, because gateways" in live[name].reason


def test_answers_about_few_entities_count_as_few(found: tuple[Project, Found]) -> None:
    observed(*found, columns(2_000, 4, "abc"), customers=40)
    look = live_look(*found)
    assert look.independent == pytest.approx(40 / 2_000, rel=0.4)
    assert "since they are of few entities" in measures(look)["null_share"].reason


def test_nothing_counted_is_said_and_never_called_fine(found: tuple[Project, Found]) -> None:
    told = measures(live_look(*found))
    assert {one.verdict.value for one in told.values()} == {"insufficient"}
    assert told["drift age"].reason == "0 rows; 100 are needed"
