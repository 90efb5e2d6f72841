"""What a client was told is what the log holds, whatever happens to the gateway or the disk."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas
import pytest
from gateways import HALF, ROW, ROWS, Answer, Gateway, alive, load, table, until

from penstock.registry.loading import load_model, model_digest
from penstock.serving.feedback import read
from penstock.serving.routing.buckets import hash_of
from penstock.settings import ServingSettings

pytestmark = pytest.mark.slow

SUPPORT = Path(__file__).parent.parent.parent / "support"
UNITS = [f"user-{number}" for number in range(100)]
SETTINGS = ServingSettings(port=0, max_rows=2_000, max_body_mb=1)
DURABLE = SETTINGS.model_copy(
    update={"ack_after_log": True, "request_timeout": timedelta(seconds=2)}
)


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, champion: Path, challenger: Path
) -> Iterator[Gateway]:
    """Two releases and a source of features, for tests that do no harm."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(SUPPORT))
        it = Gateway(tmp_path_factory.mktemp("log"), SETTINGS)
        features = {"module": "misbehaving_features:Sound", "entities": ["customer_id"]}
        first = it.spec("r1", champion, features=features)
        it.serve(table(first, it.spec("r2", challenger, features=features), weights=HALF))
    yield it
    it.stop()


@pytest.fixture
def durable(tmp_path: Path, champion: Path) -> Iterator[Gateway]:
    """Answers wait until their rows are on the disk."""
    it = Gateway(tmp_path / "endpoint", DURABLE)
    it.serve(table(it.spec("r1", champion)))
    yield it
    it.stop()


# A row for each answer


TENSORS = {
    "inputs": [
        {"name": "visits", "datatype": "FP64", "shape": [1], "data": [3.5]},
        {"name": "age", "datatype": "INT64", "shape": [1], "data": [41]},
        {"name": "plan", "datatype": "BYTES", "shape": [1], "data": ["basic"]},
    ]
}
ASKED = [
    pytest.param("/predict", ROWS, id="predict"),
    pytest.param("/invocations", {"dataframe_records": [ROW]}, id="invocations"),
    pytest.param("/v2/models/churn/infer", TENSORS, id="open inference"),
]


@pytest.mark.parametrize(("path", "document"), ASKED)
@pytest.mark.parametrize("unit", ["user-0", "user-3"])  # of either arm
def test_an_answer_is_logged_with_all_that_led_to_it(
    served: Gateway, champion: Path, challenger: Path, path: str, document: Any, unit: str
) -> None:
    begun = datetime.now(UTC)
    raw = json.dumps(document).encode()
    headers = {"X_User": unit, "Content_Type": "application/json"}
    answer = served.ask(path, raw, **headers)
    assert answer.status == 200

    digest = sha256(raw).hexdigest()
    (row,) = until(
        lambda: [
            row
            for row in served.logged(since=begun)
            if row["request_digest"] == digest and row["arrived_at"] >= begun
        ]
    )
    assert row["features"] == ROW
    assert row["output"] == pytest.approx(numbers(answer), abs=0)
    at_canary = hash_of("staging", unit) * 10_000 >> 64 < 5_000
    folder = challenger if at_canary else champion
    release = "r2" if at_canary else "r1"
    assert (
        row["output"]
        == load_model(folder, model_digest(folder)).predict(pandas.DataFrame([ROW])).tolist()
    )
    assert (row["endpoint"], row["status"], row["error"]) == ("staging", 200, "")
    assert (row["release"], row["arm"]) == (release, "canary" if at_canary else "champion")
    assert (row["model"], row["model_digest"]) == (f"churn@{release[1]}", model_digest(folder))
    assert row["unit"] == f"{hash_of('staging', unit):016x}"
    assert (row["row_index"], row["request_rows"], row["rows_left_out"]) == (0, 1, 0)
    assert begun <= row["arrived_at"] <= datetime.now(UTC)
    parts = [row[name] for name in ("parse_us", "features_us", "queue_us", "model_us")]
    assert all(part >= 0 for part in parts)
    assert 0 < row["model_us"] < row["total_us"]


def numbers(answer: Answer) -> list[float]:
    document = answer.body
    found = document["outputs"][0]["data"] if "outputs" in document else document["predictions"]
    return list(found)


def test_every_row_of_a_request_is_logged_in_its_order(served: Gateway) -> None:
    rows = [{"visits": number / 4, "age": number, "plan": None} for number in range(50)]
    answer = served.ask("/predict", {"rows": rows}).body

    def found() -> list[dict[str, Any]]:
        return served.logged(prediction_id=answer["prediction_id"])

    logged = sorted(until(lambda: len(f := found()) == 50 and f), key=lambda r: r["row_index"])
    assert [row["features"] for row in logged] == rows
    assert [row["output"] for row in logged] == [[value] for value in answer["predictions"]]


def test_of_a_huge_request_what_is_left_out_is_told(served: Gateway) -> None:
    answer = served.ask("/predict", {"rows": [ROW] * 1_500}).body
    assert len(answer["predictions"]) == 1_500
    logged = served.rows_of([answer["prediction_id"]])
    assert len(logged) == 1_000
    assert {(row["request_rows"], row["rows_left_out"]) for row in logged} == {(1_500, 500)}


def test_features_that_were_looked_up_are_logged_with_their_entity(served: Gateway) -> None:
    answer = served.ask("/predict", {"entities": {"customer_id": [40, 7]}}).body
    logged = sorted(served.rows_of([answer["prediction_id"]]), key=lambda row: row["row_index"])
    assert [row["entities"] for row in logged] == [{"customer_id": 40}, {"customer_id": 7}]
    assert [row["features"] for row in logged] == [
        {"visits": 4.0, "age": 40, "plan": "basic"},
        {"visits": 0.7, "age": 7, "plan": "basic"},
    ]


def test_a_refusal_is_logged_and_says_of_whom(served: Gateway) -> None:
    begun = datetime.now(UTC)
    answer = served.ask("/predict", {"rows": [{**ROW, "age": "old"}]}, X_User="user-0")
    assert answer.status == 400

    def found() -> list[dict[str, Any]]:
        return [row for row in served.logged(since=begun) if row["status"] == 400]

    (row,) = until(found)
    assert (row["error"], row["output"], row["features"]) == ("request", None, None)
    assert row["unit"] == f"{hash_of('staging', 'user-0'):016x}"


def test_ids_are_never_given_twice_and_every_one_is_logged(served: Gateway) -> None:
    with load(served.url, UNITS, connections=8) as running:
        running.wait_for(1_000)
    ids = [one.prediction_id for one in running.seen]
    assert running.failures == []
    assert len(set(ids)) == len(ids)
    logged = served.rows_of(ids)
    assert sorted(row["prediction_id"] for row in logged) == sorted(ids)


# The gateway is killed


def test_nothing_acknowledged_is_missing_after_a_kill(durable: Gateway, champion: Path) -> None:
    acknowledged: set[str] = set()
    for _ in range(2):
        pid = durable.pid
        with load(durable.url, UNITS, connections=16) as running:
            running.wait_for(300)
            os.kill(pid, signal.SIGKILL)
            until(lambda p=pid: not alive(p))
        acknowledged |= {one.prediction_id for one in running.seen if one.status == 200}
        logged = {row["prediction_id"] for row in durable.logged()}
        assert acknowledged <= logged
        durable.serve(table(durable.spec("r1", champion)))
    assert durable.ask("/predict", ROWS).status == 200


def test_without_that_promise_only_the_open_interval_is_missing(
    tmp_path: Path, champion: Path
) -> None:
    gateway = Gateway(tmp_path / "endpoint", SETTINGS)
    gateway.serve(table(gateway.spec("r1", champion)))
    try:
        with load(gateway.url, UNITS) as running:
            running.wait_for(500)
            # Whatever was answered before some row that is on the disk is on the disk.
            os.kill(gateway.pid, signal.SIGKILL)
        ids = [one.prediction_id for one in running.seen if one.status == 200]
        logged = {row["prediction_id"] for row in gateway.logged()}
        numbered = sorted(ids, key=lambda given: int(given[-8:], 16))
        held = [given in logged for given in numbered]
        assert logged
        assert held == sorted(held, reverse=True)
    finally:
        gateway.stop()


# The disk


@contextmanager
def full_disk(pid: int) -> Iterator[None]:
    """Nothing more can be written by a process: a write fails, as it does on a full disk."""
    _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, most))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, most))


def test_a_full_disk_ends_in_503_and_what_was_promised_holds(durable: Gateway) -> None:
    with load(durable.url, UNITS, connections=8) as running:
        running.wait_for(200)
        with full_disk(durable.pid):
            refused = until(lambda: [one for one in running.seen if one.status == 503])
            # Who was asked before is told after the time that any answer may take, the others now.
            asked = durable.ask("/predict", ROWS)
            assert asked.status == 503
            assert "logged" in asked.body["error"]
            assert asked.headers["Retry-After"]
            assert durable.samples()["penstock_log_healthy",] == 0.0
        until(lambda: durable.ask("/predict", ROWS).status == 200)
        assert durable.samples()["penstock_log_healthy",] == 1.0
        running.wait_for(200)
    assert refused
    assert {one.status for one in running.seen} == {200, 503}
    answered = {one.prediction_id for one in running.seen if one.status == 200}
    rows = durable.rows_of(sorted(answered))
    assert {row["status"] for row in rows} == {200}


def test_a_log_that_has_no_place_ends_in_503_and_recovers(tmp_path: Path, champion: Path) -> None:
    """The folder cannot be made: a file is in its place."""
    gateway = Gateway(tmp_path / "endpoint", SETTINGS)
    gateway.folder.mkdir()
    in_the_way = gateway.folder / "predictions"
    in_the_way.write_text("")
    try:
        gateway.serve(table(gateway.spec("r1", champion)))
        until(lambda: gateway.ask("/predict", ROWS).status == 503)
        in_the_way.unlink()
        until(lambda: gateway.ask("/predict", ROWS).status == 200)
        assert until(gateway.logged)
    finally:
        gateway.stop()


# Feedback


def test_feedback_is_kept_by_prediction_and_row(served: Gateway) -> None:
    first, second = (served.ask("/predict", {"rows": [ROW, ROW]}).body for _ in range(2))
    told = [
        {"prediction_id": first["prediction_id"], "label": 1},
        {"prediction_id": first["prediction_id"], "row": 1, "label": 0.25, "source": "crm"},
        {"prediction_id": second["prediction_id"], "label": "kept", "at": "2026-03-01T00:00:00Z"},
    ]
    one = served.ask("/feedback", told[0])
    more = served.ask("/feedback", told[1:])
    again = served.ask("/feedback", told[0] | {"label": 0})  # the first counts
    assert [a.status for a in (one, more, again)] == [202, 202, 202]
    assert (one.body, more.body) == ({"accepted": 1}, {"accepted": 2})

    found = read(served.folder / "feedback")
    assert found[first["prediction_id"], "label", "0"].value == 1
    assert found[first["prediction_id"], "label", "1"].value == 0.25
    assert found[first["prediction_id"], "label", "1"].source == "crm"
    assert found[second["prediction_id"], "label", "0"].at == datetime(2026, 3, 1, tzinfo=UTC)

    served.ask("/feedback", told[0] | {"label": 0, "replace": True})
    assert read(served.folder / "feedback")[first["prediction_id"], "label", "0"].value == 0
    # And it is about predictions that the log has.
    rows = served.rows_of([first["prediction_id"], second["prediction_id"]])
    there = {(row["prediction_id"], str(row["row_index"])) for row in rows}
    assert there >= {(thing.subject, thing.event) for thing in found}


ID = "0123456789abcdef-" + "0" * 28


@pytest.mark.parametrize(
    ("document", "status"),
    [
        pytest.param({"prediction_id": ID}, 400, id="no label"),
        pytest.param({"prediction_id": ID, "label": None}, 400, id="null"),
        pytest.param({"prediction_id": ID, "label": [1]}, 400, id="a list"),
        pytest.param({"prediction_id": "", "label": 1}, 400, id="no id"),
        pytest.param({"prediction_id": "p", "label": 1}, 400, id="no id of a prediction"),
        pytest.param({"prediction_id": "x" * 129, "label": 1}, 400, id="a long id"),
        pytest.param({"prediction_id": ID, "label": 1, "row": -1}, 400, id="a negative row"),
        pytest.param({"prediction_id": ID, "label": 1, "colour": 1}, 400, id="another field"),
        pytest.param({"prediction_id": ID, "label": 1, "at": "yesterday"}, 400, id="no time"),
        pytest.param({"prediction_id": ID, "label": 1, "at": "2026-03-01"}, 400, id="a day"),
        pytest.param(
            {"prediction_id": ID, "label": 1, "at": "2026-03-01T00:00:00"}, 400, id="no time zone"
        ),
        pytest.param(b'{"unit": "u", "label": NaN}', 400, id="NaN"),
        pytest.param(b'{"unit": "u", "label": 1e999}', 400, id="infinity"),
        pytest.param(b'{"unit": "u", "label": %d}' % 10**300, 400, id="a huge number"),
        pytest.param([], 400, id="an empty list"),
        pytest.param(b"{", 400, id="not JSON"),
        pytest.param([{"prediction_id": ID, "label": 1}] * 10_001, 413, id="too many"),
    ],
)
def test_what_is_no_feedback_is_refused_and_not_kept(
    served: Gateway, document: Any, status: int
) -> None:
    before = read(served.folder / "feedback")
    answer = served.ask("/feedback", document)
    assert answer.status == status
    assert answer.body["error"]
    assert read(served.folder / "feedback") == before


FEEDBACK = """
import os, resource, sys
from pathlib import Path
from penstock.serving.feedback import read
from penstock.serving.feedback_log import FeedbackLog
from penstock.serving.http_server.messages import RequestError

folder = Path(sys.argv[1])
log = FeedbackLog(folder, "staging")

def tell(name):
    body = b'{"unit": "u", "id": "%s", "value": 1}' % name.encode()
    try:
        log.keep(body)
    except RequestError as error:
        return error.status
    return 202

most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
said = {"a": tell("a")}
size = sum(path.stat().st_size for path in folder.iterdir())
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, most))  # 20 bytes are left
said["b"] = tell("b")
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
said["c"] = tell("c")
kept = {thing.event for thing in read(folder)}
assert said == {"a": 202, "b": 503, "c": 202}, said
assert kept == {"a", "c"}, kept
"""


def test_feedback_on_a_disk_that_fills_up_is_not_acknowledged(tmp_path: Path) -> None:
    """A disk takes part of a line before it is full; what comes later must not suffer."""
    done = subprocess.run(
        [sys.executable, "-c", FEEDBACK, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_feedback_survives_a_kill(durable: Gateway) -> None:
    accepted = []
    for number in range(50):
        told = {"unit": "u", "id": f"e{number}", "value": number}
        if durable.ask("/feedback", told).status == 202:
            accepted.append(f"e{number}")
    os.kill(durable.pid, signal.SIGKILL)
    assert len(accepted) == 50
    assert {thing.event for thing in read(durable.folder / "feedback")} == set(accepted)
