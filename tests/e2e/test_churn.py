"""The example project, smaller: the whole plan with Feast, and questions by entity key."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

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


class Looked(NamedTuple):
    since: str
    reports: dict[str, dict[str, Any]]  # by kind: measures by name and subject


def post(url: str, document: Any) -> Any:
    request = urllib.request.Request(url, json.dumps(document).encode())
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def look(user: User, *options: str) -> dict[str, dict[str, Any]]:
    return {
        one["kind"]: {f"{m['name']} {m['subject']}".strip(): m for m in one["measures"]}
        for one in user.penstock("monitor", "all", *options, "--json").json
    }


@pytest.fixture(scope="module")
def answered(churn: User, outcome: dict[str, Any]) -> Looked:
    """What monitoring says of 400 answers of the gateway whose labels came; some cannot be."""
    dataset = churn.project / outcome["steps"]["extract_data"]["record"]["path"]
    asked = f"SELECT DISTINCT customer_id FROM '{dataset}' ORDER BY 1 LIMIT 400"
    known = [customer for (customer,) in duckdb.sql(asked).fetchall()]
    began = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=1)
    time.sleep((began - datetime.now(UTC)).total_seconds())  # gateways count by seconds
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
    other = "0" if prediction[0] != "0" else "1"
    told += [
        told[20] | {"label": 1 - told[20]["label"]},  # another one says otherwise
        told[20] | {"prediction_id": other + prediction[1:]},
    ]
    post(f"{url}/feedback", told)
    churn.variables["PENSTOCK_MONITORING_PERFORMANCE_HORIZON"] = "1s"
    deadline = time.monotonic() + 300
    while True:
        found = look(churn, "--since", began.isoformat())
        if found["performance"].get("realised_auc_roc", {}).get("rows") == 387:
            return Looked(began.isoformat(), found)
        assert time.monotonic() < deadline, found["performance"]


def test_what_is_served_is_judged_by_what_became_of_it(churn: User, answered: Looked) -> None:
    found = answered.reports
    kinds = ("data", "features", "predictions", "performance", "skew", "freshness")
    assert tuple(found) == kinds
    assert found["performance"]["estimated_auc_roc"]["rows"] == 400
    assert found["performance"]["label_coverage"]["value"] == pytest.approx(387 / 400)
    assert found["predictions"]["drift prediction"]["rows"] == 400
    assert any(name.startswith("event_age_s") for name in found["freshness"])
    page = churn.project / "look.html"
    shown = churn.penstock("monitor", "all", "--since", answered.since, "--html", str(page))
    assert shown.status in (0, 3), shown.text
    for kind in kinds:
        assert f"{kind} of churn@1: " in shown.out
    html = page.read_text()
    assert html.count("<svg") > 15  # features, metrics over windows, calibration
    assert not re.search(r"https?://|<script", html)


def test_labels_that_cannot_be_are_counted_and_none_is_lost(answered: Looked) -> None:
    found = answered.reports["performance"]
    assert {name: m["value"] for name, m in found.items() if name.startswith("labels_")} == {
        "labels_before_prediction": 10,
        "labels_of_no_class": 3,
        "labels_of_no_prediction": 1,
        "labels_disagreeing": 1,
    }


def test_what_the_gateways_counted_says_the_same_as_the_log(churn: User, answered: Looked) -> None:
    live, logged = look(churn, "--since", answered.since, "--live"), answered.reports
    for name, measure in logged["features"].items():
        if measure["value"] is not None and name.startswith("drift "):
            assert live["features"][name]["value"] == pytest.approx(measure["value"]), name
            assert live["features"][name]["rows"] == measure["rows"]
    assert live["data"]["range_share"]["verdict"] == "insufficient"
    assert "not judged live, because" in live["data"]["range_share"]["reason"]


def test_a_window_without_data_is_never_called_fine(churn: User, answered: Looked) -> None:
    for more in ((), ("--live",)):
        found = look(churn, "--since", "2020-01-01", "--until", "2020-01-02", *more)
        told = [m for kind in ("data", "features", "predictions") for m in found[kind].values()]
        told += [m for n, m in found["performance"].items() if n.startswith(("estim", "real"))]
        assert {one["verdict"] for one in told} == {"insufficient"}
        assert all(one["reason"] for one in told)


def test_columns_that_say_nothing_and_clocks_that_are_wrong_are_named(
    churn: User, answered: Looked, outcome: dict[str, Any], tmp_path: Path
) -> None:
    learned = churn.project / outcome["steps"]["feature_engineering"]["record"]["path"]
    features = list(answered.reports["features"])[1:4]
    constant, null, mixed = (name.removeprefix("drift ") for name in features)
    odd = tmp_path / "odd.parquet"
    duckdb.sql(
        f"COPY (SELECT * REPLACE (1 AS {constant}, NULL AS {null}, 'many' AS {mixed}) "
        f"FROM '{learned}') TO '{odd}'"
    )
    found = look(churn, "--rows", str(odd))["data"]
    assert "all null" in found[f"null_share {null}"]["reason"]
    assert found[f"constant {constant}"]["verdict"] == "found"
    assert "are of another type than" in found[f"null_share {mixed}"]["reason"]

    log = churn.project / ".penstock/endpoints/staging/predictions"
    ahead = datetime.now(UTC) + timedelta(hours=3)
    part = log / f"parquet/date={ahead:%Y-%m-%d}/endpoint=staging/other-host.parquet"
    part.parent.mkdir(parents=True, exist_ok=True)
    export = tmp_path / "log.parquet"
    assert churn.penstock("predictions", "export", "--output", str(export)).status == 0
    duckdb.sql(
        f"COPY (SELECT * REPLACE (TIMESTAMPTZ '{ahead.isoformat()}' AS arrived_at) "
        f"FROM '{export}' LIMIT 2) TO '{part}'"
    )
    clocks = churn.penstock("monitor", "freshness")
    assert clocks.status == 3
    assert "2 answers have not been given yet: the clock of a host is wrong" in clocks.out
    part.unlink()


def test_a_rule_about_nothing_that_is_measured_is_refused(churn: User, answered: Looked) -> None:
    settings = churn.project / "penstock.toml"
    before = settings.read_text()
    settings.write_text(before + '\n[alerts.odd]\nmetric = "drifts"\n')
    refused = churn.penstock("alerts", "check")
    settings.write_text(before)
    assert refused.status in (1, 2)
    assert "nothing measures 'drifts'; did you mean 'drift'?" in refused.err
