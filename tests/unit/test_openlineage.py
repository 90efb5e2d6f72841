"""OpenLineage: each kind of event is as the standard has it, and sending stands in nobody's way."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openlineage.client.serde import Serde
from openlineage_schemas import facets, faults

from penstock.errors import DataError, GateFailed, SettingsError
from penstock.lineage.openlineage import sender as sending
from penstock.lineage.openlineage.documents import id_of, run_event
from penstock.lineage.openlineage.happenings import Happening, RunOf
from penstock.lineage.openlineage.sender import Sender, sender_of
from penstock.lineage.openlineage.source import CodeLocation, code_location, public_url
from penstock.records import (
    Check,
    Column,
    DataReport,
    DatasetVersion,
    FeatureSet,
    ModelReport,
    ModelVersion,
    Notice,
    Record,
    Release,
    StepDone,
    TrainedModel,
)

NOW = datetime(2026, 11, 23, 2, tzinfo=UTC)
ROOT = Path("/srv/shop")
CODE = CodeLocation("ssh://git.example.com/shop.git", "4f" * 20, "main", "ml")
RUN = RunOf("20261123T020000-4f1c9a", "shop", "production", "local", NOW)
STARTED = Happening("START", NOW, RUN)
SECRET = "jane@example.com"

EVENTS = DatasetVersion(
    name="events", path="data/events.parquet", digest="d1", dvc_md5="m", remote="r", rows=1_203,
    columns=(Column(name="mail", type="string"), Column(name="amount", type="double")),
    first_event=None, last_event=None,
)  # fmt: skip
NULLS = Check(
    name="expect_column_values_to_not_be_null(mail)", passed=False, observed=f"also {SECRET}",
    expected="no nulls", failed_rows=3, sample=(f"row 1: mail={SECRET}",),
)  # fmt: skip
SIZE = Check(name="expect_table_row_count_to_be_between", passed=True, observed="1", expected="1")
REPORT = DataReport(subject="d1", checks=(NULLS, SIZE), suites=("events",))
FEATURES = FeatureSet(
    path="a/t.parquet", digest="d2", rows=9, features=(Column(name="x", type="double"),),
    entity_keys=("id",), timestamp="t", label="y", service="churn", definitions="", dataset="d1",
    online_until=None,
)  # fmt: skip
MODEL = TrainedModel(
    path="a/model", digest="d3", flavor="lightgbm", features=FEATURES.features, params={},
    metrics={}, seed=1, holdout="", mlflow_run_id="r", training_set="d2", code="",
)  # fmt: skip
GATE = ModelReport(subject="d3", checks=(SIZE,), metrics={"auc_roc": 0.9}, rows=9)
VERSION = ModelVersion(
    name="churn", version=3, digest="d3", source="s3://user:pw@x", mlflow_run_id="r", digests={}
)
RELEASE = Release(
    endpoint="staging", id="r1", url="http://127.0.0.1:8600", model="churn@3", digest="d3",
    replicas=2,
)  # fmt: skip
NOTICE = Notice(title="t", body="b", next_command="c", channels=("log",))
RECORDS: list[Record] = [EVENTS, FEATURES, MODEL, GATE, VERSION, RELEASE, NOTICE]
UNREACHABLE = DataError("no such column", hint="name another")


def step(state: Any, *took: Record, made: Record | None = None, **more: Any) -> Happening:
    inputs = {type(record).__name__: record for record in took}
    return Happening(state, NOW, RUN, "a_step", inputs=inputs, output=made, **more)


def event_of(told: Happening, code: CodeLocation | None = CODE) -> dict[str, Any]:
    return Serde.to_dict(run_event(told, ROOT, "ml-team", code))


CASES = {
    "run starts": STARTED,
    "run completes": replace(STARTED, state="COMPLETE"),
    "run fails": replace(STARTED, state="FAIL", error=UNREACHABLE),
    "run is interrupted": replace(STARTED, state="ABORT"),
    "step starts": step("START", EVENTS),
    "step fails": step("FAIL", EVENTS, error=UNREACHABLE, attempt=2),
    "data is refused": step("FAIL", EVENTS, made=REPORT, error=GateFailed(f"also {SECRET}")),
    "data is accepted": step("COMPLETE", EVENTS, made=REPORT),
    "extract": step("COMPLETE", made=EVENTS, sources={"/srv/shop/raw/a b.csv": "d0"}),
    **{
        f"{type(made).__name__} is made": step("COMPLETE", *RECORDS[:number], made=made)
        for number, made in enumerate(RECORDS)
    },
    "nothing is made": step("COMPLETE", made=StepDone(step="a_step"), cached=True),
}


@pytest.mark.parametrize("told", CASES.values(), ids=CASES)
@pytest.mark.parametrize("code", [CODE, None], ids=["git", "no git"])
def test_every_kind_of_event_is_valid(told: Happening, code: CodeLocation | None) -> None:
    event = event_of(told, code)
    assert faults(event) == []
    assert event["eventType"] == told.state
    assert ("parent" in event["run"]["facets"]) == bool(told.step)
    assert {facet["_producer"] for _, facet in facets(event)} == {event["producer"]}
    text = json.dumps(event)
    assert SECRET not in text
    assert "pw@" not in text


def test_what_an_extract_reads_and_writes() -> None:
    event = event_of(CASES["extract"])
    (source,), (made,) = event["inputs"], event["outputs"]
    assert (source["namespace"], source["name"]) == ("file", "/srv/shop/raw/a b.csv")
    assert source["facets"]["dataSource"]["uri"] == "file:///srv/shop/raw/a%20b.csv"
    assert source["facets"]["version"]["datasetVersion"] == "d0"
    assert (made["namespace"], made["name"]) == ("penstock.production", "shop.events")
    fields = [(one["name"], one["type"]) for one in made["facets"]["schema"]["fields"]]
    assert fields == [("mail", "string"), ("amount", "double")]
    assert made["outputFacets"]["outputStatistics"]["rowCount"] == 1_203
    assert event["job"]["facets"]["sourceCodeLocation"]["version"] == CODE.version


def test_what_validation_found_is_said_of_the_dataset() -> None:
    event = event_of(CASES["data is refused"])
    (read,) = event["inputs"]
    found = read["inputFacets"]["dataQualityAssertions"]["assertions"]
    assert [(one["success"], one.get("column")) for one in found] == [(False, "mail"), (True, None)]
    assert read["inputFacets"]["dataQualityMetrics"]["columnMetrics"]["mail"]["nullCount"] == 3
    assert event["outputs"] == []
    message = event["run"]["facets"]["errorMessage"]["message"]
    assert message.startswith("1 of 2 checks failed: expect_column_values_to_not_be_null(mail)")
    # A model's gate is about no rows: its checks are tests of the run.
    (test,) = event_of(CASES["ModelReport is made"])["run"]["facets"]["test"]["tests"]
    assert (test["name"], test["status"]) == (SIZE.name, "pass")


@given(st.lists(st.sampled_from(["shop", "a", "b", "1", "12", ""]), min_size=4, max_size=4))
def test_ids_are_the_same_in_every_process_and_different_for_all_else(words: list[str]) -> None:
    run = RunOf(words[0], words[1], words[2], "local", NOW)
    one = Happening("START", NOW, run, words[3])
    assert id_of(one) == id_of(replace(one, state="FAIL", at=NOW + timedelta(1)))
    assert id_of(one, of_run=True) == id_of(Happening("START", NOW, run))
    others = [
        replace(one, step=f"{one.step}x"),
        replace(one, step="s", attempt=2),
        replace(one, step="s", attempt=1),
        *(replace(one, run=replace(run, **{name: "else"})) for name in ("id", "project")),
    ]
    assert len({id_of(told) for told in (one, *others)}) == len(others) + 1


@pytest.mark.parametrize(
    ("remote", "url"),
    [
        ("git@github.com:org/shop.git", "ssh://github.com/org/shop.git"),
        ("https://user:token@example.com/shop.git", "https://example.com/shop.git"),
        ("https://example.com/shop", "https://example.com/shop"),
        ("/srv/git/shop", "file:///srv/git/shop"),
    ],
)
def test_a_remote_is_told_without_its_password(remote: str, url: str) -> None:
    assert public_url(remote) == url


def test_outside_of_git_no_commit_is_told(tmp_path: Path) -> None:
    assert code_location(tmp_path) is None


class Collector:
    """A collector on a port of its own that answers with `status`."""

    def __init__(self, status: int = 201) -> None:
        self.got: list[tuple[str, str | None, Any]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.got.append((self.path, self.headers["Authorization"], json.loads(body)))
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    with closing(Collector()) as made:
        yield made


def sender_to(make_project: Any, place: str) -> Sender:
    text = f'[project]\nname = "shop"\n[lineage]\nopenlineage = "{place}"\n'
    made = sender_of(make_project(**{"penstock.toml": text}))
    assert made is not None
    return made


def sent(sender: Sender, events: int = 2) -> str:
    for number in range(events):
        sender.send(replace(STARTED, at=NOW + timedelta(seconds=number)))
    return sender.close()


@pytest.mark.parametrize(
    ("path", "asked"), [("", "/api/v1/lineage"), ("/ol/events?team=a", "/ol/events?team=a")]
)
def test_a_collector_receives_all_in_order(
    make_project: Any,
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    asked: str,
) -> None:
    monkeypatch.setenv("PENSTOCK_LINEAGE_KEY", "k1")
    assert sent(sender_to(make_project, collector.url + path)) == ""
    assert [(where, key) for where, key, _ in collector.got] == [(asked, "Bearer k1")] * 2
    first, second = (event for _, _, event in collector.got)
    assert faults(first) == []
    assert first["eventTime"] < second["eventTime"]


def test_only_the_setting_says_where_events_go(
    make_project: Any, collector: Collector, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in {
        "OPENLINEAGE_URL": collector.url,
        "OPENLINEAGE__TRANSPORT__TYPE": "http",
        "OPENLINEAGE__TRANSPORT__URL": collector.url,
        "OPENLINEAGE_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    assert sender_of(make_project()) is None
    assert sent(sender_to(make_project, "file:out/events.jsonl")) == ""
    lines = (tmp_path / "out" / "events.jsonl").read_text().splitlines()
    assert [faults(json.loads(line)) for line in lines] == [[], []]
    assert collector.got == []


def test_what_a_collector_refuses_is_counted_and_said_once(make_project: Any) -> None:
    with closing(Collector(status=503)) as refusing:
        said = sent(sender_to(make_project, refusing.url), events=3)
    assert said == (f"3 of 3 OpenLineage events were not sent to {refusing.url}: it answered 503")
    gone = sent(sender_to(make_project, refusing.url))  # nobody listens there any more
    assert gone.startswith(f"2 of 2 OpenLineage events were not sent to {refusing.url}: it cannot")


def test_a_collector_that_never_answers_holds_nobody_up(
    make_project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "PATIENCE", 0.1)
    monkeypatch.setattr(sending, "ANSWER", 60.0)
    monkeypatch.setattr(sending, "MOST", 5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = f"http://127.0.0.1:{silent.getsockname()[1]}"
        said = sent(sender_to(make_project, place), events=50)
    assert said.startswith("50 of 50 OpenLineage events were not sent")


def test_a_file_that_cannot_be_written_is_said(make_project: Any, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    said = sent(sender_to(make_project, "file:taken/events.jsonl"))
    assert said.startswith("2 of 2 OpenLineage events were not sent to file:taken/events.jsonl: ")


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("kafka://x", "is neither file:PATH nor an http"),
        ("http://", "is neither file:PATH nor an http"),
        ("https://me:pw@host/", "PENSTOCK_LINEAGE_KEY"),
    ],
)
def test_what_is_no_place_is_refused(make_project: Any, place: str, why: str) -> None:
    with pytest.raises(SettingsError) as raised:
        sender_to(make_project, place)
    assert why in raised.value.message
