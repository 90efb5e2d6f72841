"""`penstock load` against a real endpoint: what it asks, what it says, how it ends."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from penstock.cli.main import run
from penstock.gates.load.plan import LoadPlan
from penstock.gates.load.report import report_of
from penstock.gates.load.run import run as run_plan
from penstock.project import open_project
from penstock.records import Column, FeatureSet, TrainedModel, to_json
from penstock.serving import endpoint
from penstock.serving.release import ReleaseSpec
from penstock.state.cache import CacheEntry, StepCache
from penstock.state.database import open_database

pytestmark = pytest.mark.slow

ROW = {"visits": 3.5, "age": 41, "plan": "basic"}
BODY = json.dumps({"rows": [ROW]}).encode()
ASK = (sys.executable, "-m", "penstock", "load")
Printed = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def shop(
    champion: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, ReleaseSpec]]:
    """A project whose staging endpoint serves the tiny model."""
    from penstock.registry.loading import model_digest

    root = tmp_path_factory.mktemp("shop")
    unsigned = "[registry]\nrequire_signatures = false\n"
    (root / "penstock.toml").write_text(
        f'[project]\nname = "shop"\n[serving]\nport = 0\n{unsigned}'
    )
    project = open_project(root)
    spec = ReleaseSpec(
        id="r1",
        endpoint="staging",
        model="churn@1",
        digest=model_digest(champion),
        path=str(champion),
        replicas=1,
    )
    endpoint.deploy(endpoint.place_of(project, "staging"), spec, project.settings.serving)
    yield root, spec
    endpoint.stop(project.endpoint("staging"))


@pytest.fixture
def loaded(shop: tuple[Path, ReleaseSpec], capsys: pytest.CaptureFixture[str]) -> Printed:
    """Runs the command, and gives what it printed as JSON."""

    def ask(*arguments: str, status: int = 0) -> dict[str, Any]:
        root = str(shop[0])
        assert run(["load", "--project", root, "--json", *arguments]) == status
        return dict(json.loads(capsys.readouterr().out))

    return ask


@pytest.mark.parametrize("protocol", ["predict", "invocations", "v2"])
def test_every_protocol_is_answered(loaded: Printed, protocol: str) -> None:
    said = loaded("--protocol", protocol, "--requests", "200", "--connections", "4")
    assert said["statuses"] == {"200": 200}
    assert said["questions"] == "64 rows made up from its schema"
    latency = said["latency_ms"]
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["max"]


def test_rows_of_a_file_are_asked_in_turn(
    loaded: Printed, tmp_path: Path, shop: tuple[Path, ReleaseSpec]
) -> None:
    from penstock.serving.prediction_log.reading import Selection, predictions, records

    (tmp_path / "rows.csv").write_text("visits,age,plan\n0.25,41,basic\n0.75,42,plus\n")
    began = datetime.now(UTC)
    said = loaded("--rows", str(tmp_path / "rows.csv"), "--requests", "10")
    assert (said["answers"], said["errors"]) == (10, 0)
    folder = open_project(shop[0]).endpoint("staging") / "predictions"
    endpoint.stop(folder.parent)  # all of its log is on disk
    logged = records(predictions([folder], Selection(since=began)))
    visits = sorted(row["features"]["visits"] for row in logged)
    assert visits == [0.25] * 5 + [0.75] * 5
    project = open_project(shop[0])
    endpoint.deploy(endpoint.place_of(project, "staging"), shop[1], project.settings.serving)


def test_held_out_rows_of_the_training_set_are_asked_where_there_are_any(
    loaded: Printed, shop: tuple[Path, ReleaseSpec]
) -> None:
    import pandas

    project = open_project(shop[0])
    times = pandas.date_range("2026-01-01", periods=10, tz="UTC")
    frame = pandas.DataFrame(
        {
            "event_timestamp": times,
            "visits": range(10),
            "age": [41] * 9 + [None],
            "plan": "basic",
            "label": 0,
        }
    ).astype({"visits": float, "age": "Int64"})
    frame.to_parquet(project.root / "training.parquet")
    columns = (
        Column(name="visits", type="double"),
        Column(name="age", type="int64"),
        Column(name="plan", type="string"),
    )
    features = FeatureSet(
        path="training.parquet", digest="d", rows=10, features=columns, entity_keys=(),
        timestamp="event_timestamp", label="label", service="", definitions="", dataset="d",
        online_until=None,
    )  # fmt: skip
    trained = TrainedModel(
        path="m", digest="d", flavor="lightgbm", features=columns, params={}, metrics={}, seed=1,
        holdout=times[7].isoformat(), mlflow_run_id="r", training_set="d", code="c",
    )  # fmt: skip
    cache = StepCache(open_database(project))
    for step, record in (("feature_engineering", features), ("train_model", trained)):
        cache.put(CacheEntry(step, "k", {}, to_json(record), "run", datetime.now(UTC)))
    try:
        said = loaded("--requests", "30")
    finally:
        cache.forget("train_model")
    assert said["questions"] == "3 held-out rows"
    assert said["statuses"] == {"200": 30}


def test_the_files_and_the_words(
    shop: tuple[Path, ReleaseSpec], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["load", "--project", str(shop[0]), "--rate", "200", "--duration", "1s"]
    assert run([*arguments, "--output", str(tmp_path), "--header", "X-User: {n}"]) == 0
    printed = capsys.readouterr()
    assert "200 a second" in printed.out
    assert "no errors" in printed.out
    assert "p99.9" in printed.out
    assert printed.err == ""
    assert {file.name for file in tmp_path.iterdir()} == {
        "load.json", "load.hgrm", "load.hlog", "load.png"
    }  # fmt: skip
    said = json.loads((tmp_path / "load.json").read_text())
    assert said["loop"] == "open"
    assert said["answers"] + said["unsent"] == 200


def test_errors_are_named(shop: tuple[Path, ReleaseSpec], tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "rows.json").write_text('[{"visits": "many", "age": 41, "plan": "basic"}]')
    rows = ["--rows", str(tmp_path / "rows.json"), "--requests", "5"]
    assert run(["load", "--project", str(shop[0]), *rows]) == 1
    printed = capsys.readouterr().out
    assert "5 errors (100.00%)" in printed
    assert "HTTP 400" in printed
    assert "visits" in printed  # the field to blame, as the endpoint says it


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--duration", "11m"], "duration is 0:11:00"),
        (["--duration", "soon"], "not a duration"),
        (["--header", "X-User"], "no header"),
        (["--rows", "a.csv", "--entities", "b.csv"], "not both"),
        (["--rows", "nowhere.csv"], "does not exist"),
        (["--entities", "a.csv", "--protocol", "v2"], "takes rows only"),
        (["--url", "http://192.0.2.7:80"], "is not this machine"),
        (["--url", "localhost"], "no address"),
    ],
)
def test_wrong_use_is_refused(loaded: Printed, arguments: list[str], said: str) -> None:
    answer = loaded(*arguments, status=2)
    assert answer["error"] == "UsageError"
    assert said in answer["message"]


def test_an_endpoint_that_is_not_running(loaded: Printed) -> None:
    answer = loaded("--endpoint", "production", status=1)
    assert answer["message"] == "the endpoint production is not running"
    assert loaded("--url", "http://127.0.0.1:9", status=1)["error"] == "ServingError"


def test_several_processes_begin_together_and_their_counts_add(live: Any) -> None:
    plan = LoadPlan(
        f"{live.url}/predict", (BODY,), connections=5, processes=2, rate=400.0,
        duration=timedelta(seconds=1), headers=(("X-Request-Id", "n{n}"),),
    )  # fmt: skip
    seen: list[Any] = []
    found = report_of(plan, datetime.now(UTC), run_plan(plan, seen.append))
    assert found.errors == 0
    assert found.answers + found.unsent == 400
    assert found.seconds < 2
    assert seen[-1].answers > 100


def test_an_interrupt_ends_the_load_and_tells_what_was_measured(
    shop: tuple[Path, ReleaseSpec],
) -> None:
    """On a terminal, where progress shows."""
    ours, theirs = pty.openpty()
    command = [*ASK, "--project", str(shop[0]), "--duration", "5m"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=theirs, start_new_session=True, text=True
    )
    os.close(theirs)
    shown = b""
    while b" answers, " not in shown:
        assert select.select([ours], [], [], 60)[0], shown
        shown += os.read(ours, 4096)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    assert process.stdout is not None
    printed = process.stdout.read()
    assert process.wait(timeout=60) == 0
    os.close(ours)
    assert "answers/s" in printed
    assert "(stopped)" in printed
