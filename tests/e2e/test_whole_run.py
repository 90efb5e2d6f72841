"""A user's first day: init, run, look around, approve, and run again."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from .conftest import User

pytestmark = pytest.mark.slow

STEPS = [
    "extract_data",
    "validate_data",
    "feature_engineering",
    "train_model",
    "evaluate_model",
    "register_model",
    "deploy_to_staging",
    "run_integration_tests",
    "notify_team",
]


@pytest.fixture(scope="module")
def first(shop: User) -> dict[str, Any]:
    shop.variables["PENSTOCK_NOTIFY_SMTP_PASSWORD"] = "hunter2-never-stored"
    # Who has no key is refused; Penstock's own tests and commands bring one.
    shop.variables["PENSTOCK_SERVING_KEYS"] = "app:predict+pin:hunter2-never-stored"
    return shop.run()


def test_all_nine_steps_succeed_in_order(first: dict[str, Any]) -> None:
    assert first["exit"] == 0
    assert list(first["steps"]) == STEPS
    assert {step["status"] for step in first["steps"].values()} == {"succeeded"}


def test_the_notice_names_model_data_and_the_command_to_type(first: dict[str, Any]) -> None:
    notice = first["steps"]["notify_team"]["record"]
    data = first["steps"]["extract_data"]["record"]
    assert notice["next_command"].startswith("penstock models approve shop@1 --for production")
    for fact in ("shop@1", first["run"], data["dvc_md5"], "auc_roc", "latency_p95_ms"):
        assert fact in notice["body"]


def test_the_dataset_is_tracked_and_pushed_by_dvc(shop: User, first: dict[str, Any]) -> None:
    md5 = first["steps"]["extract_data"]["record"]["dvc_md5"]
    assert md5 in (shop.project / "data" / "rows.parquet.dvc").read_text()
    pushed = shop.project / ".penstock" / "dvc-remote" / "files" / "md5" / md5[:2] / md5[2:]
    assert pushed.is_file()


def test_mlflow_holds_params_metrics_plots_and_digests(shop: User, first: dict[str, Any]) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{shop.project / '.penstock' / 'mlflow' / 'mlflow.db'}"
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    trained = first["steps"]["train_model"]["record"]
    run = client.get_run(trained["mlflow_run_id"])
    assert run.info.status == "FINISHED"
    assert float(run.data.params["C"]) == trained["params"]["C"]
    assert {"validation_auc_roc", "holdout_auc_roc", "staging_latency_p95_ms"} <= set(
        run.data.metrics
    )
    assert run.data.tags["penstock.model"] == trained["digest"]
    plots = {file.path for file in client.list_artifacts(run.info.run_id, "plots")}
    pictures = {"roc", "precision_recall", "calibration", "feature_importance", "latency"}
    assert {f"plots/{name}.png" for name in pictures} <= plots
    version = client.get_model_version_by_alias("shop", "staging")
    assert version.tags["penstock.digest.model"] == trained["digest"]
    files = [file.path for file in client.list_artifacts(run.info.run_id, "model")]
    assert not [file for file in files if file.endswith((".pkl", ".pickle"))]


def test_status_runs_and_doctor_tell_of_it(shop: User, first: dict[str, Any]) -> None:
    status = shop.penstock("status", "--json").json
    assert status["last_run"]["status"] == "succeeded"
    assert status["staging"]["model"] == "shop@1"
    assert shop.penstock("runs", "list", "--json").json[0]["id"] == first["run"]
    shown = shop.penstock("runs", "show", first["run"][:-2])
    assert all(step in shown.out for step in STEPS)
    doctor = shop.penstock("doctor")
    assert doctor.status == 0, doctor.text


def test_predict_asks_the_endpoint(shop: User, first: dict[str, Any]) -> None:
    rows = shop.project / "rows.json"
    rows.write_text(json.dumps([{"usage": 0.5, "age": 50.0}, {"usage": 9.0, "age": 2.0}]))
    answer = shop.penstock("predict", "--rows", str(rows), "--json").json
    likely, unlikely = answer["predictions"]
    assert answer["model"] == "shop@1"
    assert likely > unlikely
    refused = shop.penstock("predict", "id=4")
    assert refused.status == 1
    assert "send rows" in refused.err


def test_what_was_learned_is_compared_with_what_is_asked(
    shop: User, first: dict[str, Any], tmp_path: Path
) -> None:
    report = shop.penstock("monitor", "all", "--json").json
    told = {one["kind"]: one for one in report}
    assert {"data", "features", "predictions"} <= set(told)
    assert {one["model"] for one in report} == {"shop@1"}
    assert told["features"]["rows"] > 0  # what the load test asked
    learned = first["steps"]["feature_engineering"]["record"]["path"]
    page = tmp_path / "look.html"
    alike = shop.penstock("monitor", "features", "--rows", learned, "--html", str(page))
    assert alike.status == 0, alike.text
    assert "0 of" in alike.out
    html = page.read_text()
    assert "<svg" in html
    assert "http" not in html
    unknown = shop.penstock("monitor", "all", "--endpoint", "nowhere")
    assert unknown.status == 2
    assert "no endpoint is called 'nowhere'" in unknown.text


def test_a_second_run_does_no_step_again(shop: User, first: dict[str, Any]) -> None:
    again = shop.run()
    assert {step["status"] for step in again["steps"].values()} == {"cached"}
    actions = {step["step"]: step["action"] for step in shop.penstock("plan", "--json").json}
    assert set(actions.values()) == {"cached"}


def test_why_names_the_parameter_the_code_and_the_file(shop: User, first: dict[str, Any]) -> None:
    shop.edit("params.yaml", "C: 1.0", "C: 2.0")
    shop.edit("expectations/rows.json", '"max_value": 100', '"max_value": 99')
    why_train = shop.penstock("why", "train_model").out
    assert "param train.C changed: 1.0 → 2.0" in why_train
    assert "file expectations/rows.json changed" in shop.penstock("why", "validate_data").out
    assert "nothing changed" in shop.penstock("why", "extract_data").out
    shop.edit("params.yaml", "C: 2.0", "C: 1.0")
    shop.edit("expectations/rows.json", '"max_value": 99', '"max_value": 100')


def test_a_step_that_makes_the_same_again_stops_the_wave(shop: User, first: dict[str, Any]) -> None:
    shop.edit("pipeline.py", "rows = context.params", "rows = int(1) * context.params")
    again = shop.run()
    statuses = {name: step["status"] for name, step in again["steps"].items()}
    assert statuses.pop("extract_data") == "succeeded"
    assert set(statuses.values()) == {"cached"}


def test_an_approved_version_becomes_the_champion_to_beat(
    shop: User, first: dict[str, Any]
) -> None:
    approved = shop.penstock(
        "models", "approve", "shop@1", "--for", "production", "--meaning", "looks right"
    )
    assert approved.status == 0, approved.text
    begun = shop.penstock("rollout", "start", "shop@1", "--json")
    assert begun.status == 0, begun.text
    shop.penstock("serve", "--endpoint", "production", "--stop")
    assert shop.penstock("models", "list", "--json").json[0]["aliases"] == ["champion", "staging"]
    why = shop.penstock("why", "evaluate_model").out
    assert "champion changed: none → shop@1" in why
    again = shop.run("--until", "evaluate_model")
    report = again["steps"]["evaluate_model"]["record"]
    champion = next(check for check in report["checks"] if check["name"] == "champion")
    assert report["champion"] == "shop@1"
    assert champion["passed"]
    assert champion["observed"].startswith("+0.0000")


def test_a_version_that_staging_never_saw_cannot_be_approved(shop: User) -> None:
    refused = shop.penstock(
        "models", "approve", "shop@7", "--for", "production", "--meaning", "hope"
    )
    assert refused.status == 1
    assert "no version 7" in refused.err


def test_no_secret_is_stored_anywhere(shop: User, first: dict[str, Any]) -> None:
    database = sqlite3.connect(shop.project / ".penstock" / "state.db")
    stored = "\n".join(database.iterdump())
    assert "hunter2" not in stored
    for file in (shop.project / ".penstock").rglob("*"):
        if file.is_file() and file.suffix in {".log", ".json", ".txt"}:
            assert "hunter2" not in file.read_text(errors="replace"), file


def test_the_release_names_all_and_the_version_can_be_trained_again(
    shop: User, first: dict[str, Any]
) -> None:
    shown = shop.penstock("release", "show", "shop@1", "--json").json
    records = {name: step["record"] for name, step in first["steps"].items()}
    assert (
        shown["digests"]
        | {
            "model": records["train_model"]["digest"],
            "dataset_dvc_md5": records["extract_data"]["dvc_md5"],
            "training_set": records["feature_engineering"]["digest"],
            "code": records["train_model"]["code"],
        }
        == shown["digests"]
    )
    assert {"environment", "settings", "source", "expectations"} < set(shown["digests"])
    there = {part["name"]: part["there"] for part in shown["parts"]}
    assert there | {"model": True, "dataset": True, "code": True, "training set": True} == there

    # Nobody committed the code, and it is another by now; here, even the archive and the data are
    # gone: both come from where they were sent.
    shop.edit("pipeline.py", "LogisticRegression(C=", "LogisticRegression(max_iter=7, C=")
    for path in (".penstock/artifacts/source", ".dvc/cache"):
        shutil.rmtree(shop.project / path)
    answer = shop.penstock("reproduce", "shop@1", "--json")
    shop.edit("pipeline.py", "LogisticRegression(max_iter=7, C=", "LogisticRegression(C=")
    assert answer.status == 0, answer.text
    assert answer.json["equal"]
    compared = {one["name"]: one for one in answer.json["compared"]}
    assert compared["model"]["now"] == records["train_model"]["digest"]
    assert compared["auc_roc"]["same"]
    entry = shop.penstock("audit", "log", "--action", "release.reproduced", "--json").json[-1]
    assert (entry["subject"], entry["outcome"]) == ("shop@1", "equal")
