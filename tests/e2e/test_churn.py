"""The example project, smaller: the whole plan with Feast, and questions by entity key."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from .conftest import User, new_churn

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def churn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    user = new_churn(tmp_path_factory.mktemp("example"))
    user.variables["PENSTOCK_LOAD_TEST_DURATION"] = "2s"
    yield user
    user.penstock("serve", "--stop")


@pytest.fixture(scope="module")
def outcome(churn: User) -> dict[str, Any]:
    return churn.run()


def test_a_sensible_model_passes_every_gate(outcome: dict[str, Any]) -> None:
    assert outcome["exit"] == 0, outcome["error"]
    metrics = outcome["steps"]["evaluate_model"]["record"]["metrics"]
    assert metrics["auc_roc"] >= 0.85
    assert metrics["precision"] >= 0.80


def test_a_careless_model_does_not(churn: User, outcome: dict[str, Any]) -> None:
    churn.edit(
        "features.py",
        'FeatureService("churn_v1", features=[activity, account])',
        'FeatureService("churn_v1", features=[account])',
    )
    careless = churn.run("--until", "register_model")
    assert careless["exit"] == 1
    assert "precision" in careless["error"]["message"]
    assert careless["steps"]["register_model"]["status"] == "skipped"
    churn.edit(
        "features.py",
        'FeatureService("churn_v1", features=[account])',
        'FeatureService("churn_v1", features=[activity, account])',
    )
    assert churn.run("--until", "register_model")["exit"] == 0


def test_one_training_row_per_label_row(churn: User, outcome: dict[str, Any]) -> None:
    record = outcome["steps"]["feature_engineering"]["record"]
    training = duckdb.read_parquet(str(churn.project / record["path"]))
    asked = training.project("customer_id, event_timestamp").distinct()
    assert training.shape[0] == record["rows"] == asked.shape[0]


def test_customers_are_asked_about_by_key(churn: User, outcome: dict[str, Any]) -> None:
    dataset = churn.project / outcome["steps"]["extract_data"]["record"]["path"]
    known = duckdb.sql(
        f"SELECT DISTINCT customer_id FROM '{dataset}' ORDER BY 1 LIMIT 3"
    ).fetchall()
    answer = churn.penstock("predict", *[f"customer_id={c}" for (c,) in known], "--json").json
    assert len(answer["predictions"]) == 3
    assert all(0 <= p <= 1 for p in answer["predictions"])
    new = churn.penstock("predict", "customer_id=987654321", "--json").json  # never seen before
    assert 0 <= new["predictions"][0] <= 1


def test_a_suite_can_be_drafted_from_the_data(churn: User, outcome: dict[str, Any]) -> None:
    drafted = churn.penstock("validate", "--suggest")
    assert drafted.status == 0, drafted.text
    assert (churn.project / "expectations" / "events.suggested.json").is_file()
    checked = churn.penstock("validate", "--json")
    assert checked.status == 0, checked.text
    assert checked.json["passed"]
    (churn.project / "expectations" / "events.suggested.json").unlink()


def test_feast_itself_reads_the_registry(churn: User, outcome: dict[str, Any]) -> None:
    from penstock.features.store import open_store

    store = open_store(Path(churn.project))
    assert [service.name for service in store.list_feature_services()] == ["churn_v1"]
    assert {"activity", "account"} <= {view.name for view in store.list_feature_views()}


def post(url: str, document: Any) -> Any:
    request = urllib.request.Request(url, json.dumps(document).encode())
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


@pytest.fixture(scope="module")
def answered(churn: User, outcome: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What monitoring says of answers by the gateway to 400 questions whose labels have come, some
    of which cannot be: the measures of each kind of report, by name and subject.
    """
    dataset = churn.project / outcome["steps"]["extract_data"]["record"]["path"]
    asked = f"SELECT DISTINCT customer_id FROM '{dataset}' ORDER BY 1 LIMIT 400"
    known = [customer for (customer,) in duckdb.sql(asked).fetchall()]
    began = datetime.now(UTC)
    url = churn.penstock("status", "--json").json["staging"]["url"]
    answer = post(f"{url}/predict", {"entities": {"customer_id": known}})
    prediction, random = answer["prediction_id"], np.random.default_rng(1)
    told: list[dict[str, Any]] = [
        {"prediction_id": prediction, "row": row, "label": int(random.random() < p)}
        for row, p in enumerate(answer["predictions"])
    ]
    for one in told[:10]:  # before their prediction
        one["at"] = (began - timedelta(hours=2)).isoformat()
    for one in told[10:13]:
        one["label"] = "yes"
    told.append(told[20] | {"label": 1 - told[20]["label"]})  # another one says otherwise
    told.append(
        told[20] | {"prediction_id": prediction[:-1] + ("0" if prediction[-1] != "0" else "1")}
    )
    post(f"{url}/feedback", told)
    churn.variables["PENSTOCK_MONITORING_PERFORMANCE_HORIZON"] = "1s"
    shown = ("monitor", "all", "--since", began.isoformat(), "--by", "plan")
    deadline = time.monotonic() + 60
    while True:
        reports = churn.penstock(*shown, "--json").json
        found = {
            report["kind"]: {f"{m['name']} {m['subject']}".strip(): m for m in report["measures"]}
            for report in reports
        }
        if found["performance"].get("label_coverage", {}).get("rows") == 400:
            return found
        assert time.monotonic() < deadline, found["performance"]


def test_what_is_served_is_judged_by_what_became_of_it(
    churn: User, answered: dict[str, dict[str, Any]]
) -> None:
    assert answered.keys() == {
        "data", "features", "predictions", "performance", "skew", "freshness",
    }  # fmt: skip
    performance = answered["performance"]
    assert performance["realised_auc_roc"]["rows"] == 387
    assert performance["estimated_auc_roc"]["rows"] == 400
    assert performance["label_coverage"]["value"] == pytest.approx(387 / 400)
    assert answered["predictions"]["drift prediction"]["rows"] == 400
    assert "skew" in answered["skew"]


def test_labels_that_cannot_be_are_counted_and_none_is_lost(
    answered: dict[str, dict[str, Any]],
) -> None:
    counted = {n: m["value"] for n, m in answered["performance"].items() if n.startswith("labels_")}
    assert counted == {
        "labels_before_prediction": 10,
        "labels_of_no_class": 3,
        "labels_of_no_prediction": 1,
        "labels_disagreeing": 1,
    }
