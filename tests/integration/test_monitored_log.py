"""Monitoring reads the log as it is: what was shipped and expired, and what an erasure rewrites."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from s3_servers import s3_server

from penstock.monitoring.looking import Look, looked
from penstock.monitoring.report import Measure, Verdict
from penstock.monitoring.window import window_of_log
from penstock.profiles.counting import profile_of
from penstock.profiles.keeping import keep_profile
from penstock.project import Project
from penstock.registry.versions import DIGEST, Found
from penstock.serving.prediction_log import upkeep
from penstock.serving.prediction_log.columns import SCHEMA
from penstock.serving.prediction_log.erasing import Whose, erase_rows, find
from penstock.state.database import open_database

BUCKET, DAYS, A_DAY = "predictions", 3, 200
NOW = datetime(2026, 6, 1, tzinfo=UTC)
SHIPPED = f'[project]\nname = "shop"\n[serving]\nlog_ship = "s3://{BUCKET}/all"\n'


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """It speaks S3, and the environment names it."""
    with s3_server(monkeypatch, BUCKET) as found:
        yield found


def log_of(project: Project) -> Path:
    """The log of three days, with one file a day."""
    folder = project.endpoint("staging") / "predictions"
    for day in range(1, DAYS + 1):
        at = NOW - timedelta(days=day, hours=-1)
        rows = [
            {
                "arrived_at": at,
                "endpoint": "staging",
                "prediction_id": f"{number:016x}-{day:028x}",
                "row_index": 0,
                "model": "shop@1",
                "status": 200,
                "unit": "",
                "entities": json.dumps({"customer": number}),
                "features": json.dumps({"age": float(number)}),
                "output": [0.5],
            }
            for number in range(A_DAY)
        ]
        place = folder / "parquet" / f"date={at:%Y-%m-%d}" / "endpoint=staging"
        place.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), place / f"{day}.parquet")
    return folder


def look_of(project: Project) -> Look:
    profile = profile_of(pa.table({"age": [float(n) for n in range(A_DAY)] * 3}), ["age"])
    kept = keep_profile(project, profile)
    found = Found("shop", 1, "", "", (), {f"{DIGEST}profile": kept.digest}, 0)
    window = window_of_log(project, "staging", NOW - timedelta(days=DAYS), NOW)
    return Look(project, open_database(project), found, "staging", window, NOW)


def seen(look: Look) -> tuple[int, dict[str, Measure]]:
    (report,) = looked(look, ["features"])
    return report.rows, {one.name: one for one in report.measures}


def test_what_was_shipped_and_expired_here_is_in_the_window(
    make_project: Callable[..., Project], server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(**{"penstock.toml": SHIPPED})
    folder = log_of(project)
    monkeypatch.setenv(upkeep.STATE, str(open_database(project).url))
    upkeep.upkeep(folder, 0, f"s3://{BUCKET}/all", "staging")  # ships
    assert seen(look_of(project))[0] == DAYS * A_DAY  # nothing is there twice

    kept = next(iter(sorted(folder.glob("parquet/date=*/*/*.parquet")))).read_bytes()
    upkeep.upkeep(folder, 1, f"s3://{BUCKET}/all", "staging")  # and all has expired
    assert not list(folder.glob("parquet/date=*"))
    rows, measures = seen(look_of(project))
    assert (rows, measures["drift"].verdict) == (DAYS * A_DAY, Verdict.FINE)
    assert "log_coverage" not in measures

    nowhere = make_project(**{"penstock.toml": '[project]\nname = "shop"\n'})
    rows, measures = seen(look_of(nowhere))
    assert (rows, measures["drift"].verdict) == (0, Verdict.INSUFFICIENT)
    assert measures["log_coverage"].value == 0
    assert "2026-05-29 to 2026-05-31 are gone" in measures["log_coverage"].reason

    server.stop()
    place = folder / "parquet" / "date=2026-05-29" / "endpoint=staging"
    place.mkdir(parents=True)
    (place / "3.parquet").write_bytes(kept)
    rows, measures = seen(look_of(make_project(**{"penstock.toml": SHIPPED})))
    assert (rows, measures["log_coverage"].verdict) == (A_DAY, Verdict.ERROR)
    assert "what is on this machine alone was looked at" in measures["log_coverage"].reason


def test_a_question_is_asked_again_where_an_erasure_came_between(
    make_project: Callable[..., Project],
) -> None:
    project = make_project()
    folder = log_of(project)
    whose, asked = Whose("customer", "7"), list[int]()

    def question(rows: Any) -> int:
        if not asked:  # the rows are chosen, and not read yet
            erase_rows(folder, find(folder, whose), whose)
        asked.append(1)
        return int(rows.aggregate("count(*)").fetchall()[0][0])

    window = look_of(project).window
    assert window.ask(question) == DAYS * (A_DAY - 1)
    assert len(asked) == 2
    assert window.ask(question) == DAYS * (A_DAY - 1)


def test_a_look_beside_erasures_is_as_any_other(make_project: Callable[..., Project]) -> None:
    project = make_project()
    folder, ended = log_of(project), threading.Event()

    def erase() -> None:
        for customer in range(20):
            whose = Whose("customer", str(customer))
            erase_rows(folder, find(folder, whose), whose)
        ended.set()

    first = look_of(project)
    thread = threading.Thread(target=erase)
    thread.start()
    looks = 0
    while not ended.is_set() or not looks:
        rows, measures = seen(replace(first, window=look_of(project).window))
        assert measures["drift"].verdict is Verdict.FINE
        assert DAYS * (A_DAY - 20) <= rows <= DAYS * A_DAY
        looks += 1
    thread.join()
    assert seen(look_of(project))[0] == DAYS * (A_DAY - 20)
