"""What a client sees, over a real port."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas
import pytest

from penstock.registry.loading import load_model, model_digest

pytestmark = pytest.mark.slow

ROW = {"visits": 3.5, "age": 41, "plan": "basic"}


def test_rows_are_answered_with_what_the_model_gives(live: Any, champion: Path) -> None:
    rows = [ROW, {"visits": None, "age": None, "plan": None}, {**ROW, "plan": "never seen"}]

    answer = live.predict({"rows": rows})

    model = load_model(champion, model_digest(champion))
    assert answer.status == 200
    assert answer.body["predictions"] == model.predict(pandas.DataFrame(rows)).tolist()
    assert answer.body["model"] == "churn@1"
    assert answer.body["release"] == "r1"
    assert answer.body["request_id"] == answer.headers["X-Request-Id"]


def test_entities_are_looked_up_in_the_order_asked_for(live: Any, champion: Path) -> None:
    answer = live.predict({"entities": {"customer_id": [40, 7]}})

    frame = pandas.DataFrame({"visits": [4.0, 0.7], "age": [40, 7], "plan": ["basic", "basic"]})
    expected = load_model(champion, model_digest(champion)).predict(frame)
    assert answer.body["predictions"] == pytest.approx(expected.tolist(), abs=1e-12)


def test_an_entity_of_which_nothing_is_known_is_not_guessed_at(live: Any) -> None:
    answer = live.predict({"entities": {"customer_id": [7, 12345]}})

    assert answer.status == 404
    assert answer.body["field"] == "customer_id"
    assert "customer_id=12345" in answer.body["error"]


def test_a_request_id_is_echoed(live: Any) -> None:
    answer = live.predict({"rows": [ROW]}, **{"X-Request-Id": "order-17"})
    assert answer.headers["X-Request-Id"] == answer.body["request_id"] == "order-17"


def test_a_request_id_that_cannot_be_echoed_is_replaced(live: Any) -> None:
    answer = live.predict({"rows": [ROW]}, **{"X-Request-Id": "x" * 500})
    assert answer.headers["X-Request-Id"] == answer.body["request_id"]
    assert answer.body["request_id"] == answer.body["prediction_id"]


@pytest.mark.parametrize("media_type", ["application/json", "text/plain", "application/x-junk"])
def test_the_media_type_does_not_matter(live: Any, media_type: str) -> None:
    assert live.predict({"rows": [ROW]}, **{"Content-Type": media_type}).status == 200


@pytest.mark.parametrize(
    ("document", "status", "field"),
    [
        pytest.param(b"{rows", 400, None, id="not JSON"),
        pytest.param(b"\xff\xfe", 400, None, id="not UTF-8"),
        pytest.param(b"", 400, None, id="nothing"),
        pytest.param(b"[" * 90_000, 400, None, id="nested too deeply"),
        pytest.param(b'{"rows": [{"visits": NaN}]}', 400, None, id="NaN"),
        pytest.param({"rows": [{**ROW, "colour": 1}]}, 400, "colour", id="unknown feature"),
        pytest.param({"rows": [{"visits": 1.0, "age": 1}]}, 400, "plan", id="missing feature"),
        pytest.param({"rows": [{**ROW, "age": "old"}]}, 400, "age", id="wrong type"),
        pytest.param({"rows": []}, 400, "rows", id="empty"),
        pytest.param({"rows": [ROW] * 101}, 413, "rows", id="too many rows"),
        pytest.param(b" " * 100_001, 413, None, id="too large a body"),
        pytest.param(b" " * 3_000_000, 413, None, id="far too large a body"),
        pytest.param({"entities": {"shop": [1]}}, 400, "shop", id="unknown entity key"),
        pytest.param({"entities": {"customer_id": [None]}}, 400, "customer_id", id="null entity"),
        pytest.param({"entities": {"customer_id": []}}, 400, "entities", id="no entity"),
        pytest.param({"entities": {"customer_id": [666]}}, 503, None, id="store is gone"),
    ],
)
def test_a_bad_request_names_its_field(
    live: Any, document: Any, status: int, field: str | None
) -> None:
    answer = live.predict(document)

    assert (answer.status, answer.body["field"]) == (status, field)
    assert "Traceback" not in answer.body["error"]
    assert answer.headers["X-Request-Id"]
    assert live.predict({"rows": [ROW]}).status == 200


def test_unknown_paths_and_methods(live: Any) -> None:
    assert live.get("/nothing").status == 404
    assert "no /nothing here" in live.get("/nothing").body["error"]
    assert live.get("/predict").status == 405


def test_the_release_and_its_replicas_are_told(live: Any, champion: Path) -> None:
    release = live.get("/release").body

    assert release["id"] == "r1"
    assert release["digest"] == model_digest(champion)
    assert release["url"] == live.url
    assert len(set(release["pids"])) == 2
    assert live.get("/health/live").status == live.get("/health/ready").status == 200


def test_entities_need_a_source_of_features(staging: Any, champion: Path) -> None:
    staging.deploy(champion)

    answer = staging.predict({"entities": {"customer_id": [1]}})

    assert (answer.status, answer.body["field"]) == (400, "entities")
    assert "send rows" in answer.body["error"]
