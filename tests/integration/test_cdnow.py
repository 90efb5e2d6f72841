"""A whole run on real purchases (CDNOW, Fader and Hardie's public research data), checked against
plain SQL on the published file: will a customer buy again within 90 days?"""

from __future__ import annotations

import json
import os
import shutil
import struct
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
import yaml
from warm_commands import typed

from penstock.registry.loading import load_model
from penstock.serving.prediction_log.reading import predictions

ROOT = Path(__file__).parents[2]
PROJECT = ROOT / "tests" / "projects" / "cdnow"
CSV = Path(os.environ.get("CDNOW_CSV") or ROOT.parent / "shared/data/cdnow/purchases.csv")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not CSV.is_file(), reason="the CDNOW purchases are not here; CDNOW_CSV may name the file"
    ),
]

# 90 days after the last of them is the last day of the data.
LABEL_DATES = [date(1997, month, 1) for month in range(4, 13)]
LABEL_DATES += [date(1998, month, 1) for month in range(1, 5)]
DATA_END = date(1998, 6, 30)
CUSTOMERS = 23_544
HELD_OUT = 4 * CUSTOMERS  # at every label date all have bought before
ASKED = [1, 2, 3, 45, 678, 9_012, 14_048, 23_570]  # 14,048 bought 217 times, more than any other


def by_then(what: str, since: str = "") -> str:
    """A question to the raw purchases of one customer, as of one day."""
    window = f"AND bought.day > asked.day - {since}" if since else ""
    return (
        f"(SELECT {what} FROM purchases AS bought WHERE bought.customer_id = asked.customer_id "
        f"AND bought.day <= asked.day {window})"
    )


COUNT = "count(*)"
QUANTITY, AMOUNT = "coalesce(sum(quantity), 0)::BIGINT", "coalesce(sum(amount_usd), 0)::DOUBLE"
FEATURES = {
    "purchases_30d": by_then(COUNT, "30"),
    "quantity_30d": by_then(QUANTITY, "30"),
    "amount_usd_30d": by_then(AMOUNT, "30"),
    "purchases_90d": by_then(COUNT, "90"),
    "quantity_90d": by_then(QUANTITY, "90"),
    "amount_usd_90d": by_then(AMOUNT, "90"),
    "purchases": by_then(COUNT),
    "quantity": by_then(QUANTITY),
    "amount_usd": by_then(AMOUNT),
    "recency_days": by_then("asked.day - max(bought.day)"),
    "tenure_days": by_then("asked.day - min(bought.day)"),
}
TRAINING_SET = f"""
SELECT customer_id, day::TIMESTAMP AS event_timestamp,
       EXISTS (FROM purchases AS next WHERE next.customer_id = asked.customer_id
               AND next.day > asked.day AND next.day <= asked.day + 90)::TINYINT AS buys_again,
       {", ".join(f"{sql} AS {name}" for name, sql in FEATURES.items())}
FROM (SELECT DISTINCT customer_id, days.day FROM purchases, days
      WHERE purchases.day <= days.day) AS asked
ORDER BY day, customer_id
"""


def plain_sql(days: list[date]) -> pd.DataFrame:
    """The training set of these label dates, from the published file alone."""
    with duckdb.connect() as database:
        database.execute(
            "CREATE TABLE purchases AS SELECT customer_id, purchase_date AS day, quantity, "
            "amount_usd FROM read_csv(?, types = {'amount_usd': 'DECIMAL(12, 2)'})",
            [str(CSV)],
        )
        database.execute("CREATE TABLE days AS SELECT unnest(?::DATE[]) AS day", [days])
        found = database.sql(TRAINING_SET).df()
    return found.assign(event_timestamp=found.event_timestamp.dt.tz_localize("UTC"))


@dataclass(frozen=True)
class Trial:
    """The project in a folder of its own, and the real command line."""

    folder: Path

    def penstock(self, *arguments: str, status: int = 0) -> Any:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PENSTOCK_")}
        environment |= {"CDNOW_CSV": str(CSV), "PENSTOCK_SERVING_PORT": "0"}
        done = typed([*arguments, "--json"], self.folder, environment)
        assert done.status == status, done.out + done.err
        return json.loads(done.out)

    @cached_property
    def run(self) -> Any:
        return self.penstock("run")

    def record(self, step: str) -> Any:
        return next(done["record"] for done in self.run["steps"] if done["step"] == step)

    def frame(self, step: str) -> pd.DataFrame:
        return pd.read_parquet(self.folder / self.record(step)["path"])


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    folder = tmp_path_factory.mktemp("run") / "cdnow"
    shutil.copytree(PROJECT, folder, ignore=shutil.ignore_patterns("__pycache__"))
    trial = Trial(folder)
    try:
        yield trial
    finally:
        trial.penstock("serve", "--stop")


def test_every_step_succeeds(trial: Trial) -> None:
    assert trial.run["status"] == "succeeded"
    assert {step["status"] for step in trial.run["steps"]} == {"succeeded"}
    assert len(trial.run["steps"]) == 9


def test_the_dataset_is_the_published_one(trial: Trial) -> None:
    purchases = trial.frame("extract_data")

    assert trial.record("extract_data")["rows"] == len(purchases) == 69_659
    assert purchases.customer_id.nunique() == CUSTOMERS
    assert purchases.quantity.sum() == 167_881
    cents = purchases.amount_usd.map(lambda amount: Decimal(f"{amount:.2f}"))
    assert cents.sum() == Decimal("2500315.63")
    assert str(purchases.purchased_at.min()) == "1997-01-01 00:00:00+00:00"
    assert str(purchases.purchased_at.max()) == "1998-06-30 00:00:00+00:00"


def test_the_training_set_is_what_plain_sql_says_value_for_value_and_row_for_row(
    trial: Trial,
) -> None:
    training_set, expected = trial.frame("feature_engineering"), plain_sql(LABEL_DATES)

    assert trial.record("feature_engineering")["rows"] == len(training_set) == 13 * CUSTOMERS
    pd.testing.assert_frame_equal(
        training_set.astype({"event_timestamp": expected.event_timestamp.dtype}),
        expected,
        check_exact=True,
    )


def test_the_model_ranks_the_held_out_quarter_as_expected(trial: Trial) -> None:
    report = trial.record("evaluate_model")

    assert trial.record("train_model")["holdout"] == "1998-01-01T00:00:00+00:00"
    assert report["rows"] == HELD_OUT
    assert 0.79 <= report["metrics"]["auc_roc"] <= 0.83


def test_the_endpoint_answers_as_the_offline_model_on_plain_sql(trial: Trial) -> None:
    trained, release = trial.record("train_model"), trial.record("deploy_to_staging")
    now = plain_sql([DATA_END]).set_index("customer_id").loc[ASKED]
    model = load_model(trial.folder / trained["path"], trained["digest"])

    question = json.dumps({"entities": {"customer_id": ASKED}}).encode()
    request = urllib.request.Request(
        f"{release['url']}/predict", question, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        answer = json.load(response)

    assert answer["predictions"] == pytest.approx(model.predict(now).tolist(), abs=1e-12)
    assert len(set(answer["predictions"])) > 3
    told = trial.penstock("predict", *(f"customer_id={key}" for key in ASKED))
    assert told["predictions"] == answer["predictions"]


def test_a_prediction_is_traced_to_the_purchases_that_it_rests_on(trial: Trial) -> None:
    assert trial.run["status"] == "succeeded"
    customer = ASKED[3]
    trial.penstock("predict", f"customer_id={customer}")
    latest = trial.penstock("predictions", "list", "--limit", "1")[0]
    traced = trial.penstock("trace", latest["prediction_id"], "--rows")

    kinds = {node["kind"] for node in traced["lineage"]["nodes"]}
    assert {"model", "training set", "definitions", "dataset", "code", "run"} <= kinds
    gates = {node["kind"] for node in traced["gates"]["nodes"]}
    assert gates == {"data report", "model report", "integration report"}
    assert {"model.registered", "release.deployed"} <= {e["action"] for e in traced["ledger"]}
    purchases = trial.frame("extract_data").query("customer_id == @customer")
    (behind,) = [one for one in traced["rows"] if one["view"] == "purchases"]
    assert sorted(row["purchase_id"] for row in behind["rows"]) == sorted(purchases.purchase_id)

    felt = trial.penstock("impact", trial.record("extract_data")["path"])
    assert [(one["endpoint"], one["part"]) for one in felt["serving"]] == [("staging", "champion")]


def test_a_second_run_does_nothing(trial: Trial) -> None:
    assert trial.run["status"] == "succeeded"

    again = trial.penstock("run")

    assert {step["status"] for step in again["steps"]} == {"cached"}
    assert [step["record"] for step in again["steps"]] == [
        step["record"] for step in trial.run["steps"]
    ]


def test_a_changed_parameter_is_named(trial: Trial) -> None:
    assert trial.run["status"] == "succeeded"
    file = trial.folder / "params.yaml"
    written = file.read_text()
    params = yaml.safe_load(written)
    before = params["train"]["num_leaves"]
    params["train"]["num_leaves"] = before + 1
    file.write_text(yaml.safe_dump(params))
    try:
        why = trial.penstock("why", "train_model")
        plan = {step["step"]: step["action"] for step in trial.penstock("plan")}
    finally:
        file.write_text(written)

    assert why["reasons"] == [f"param train.num_leaves changed: {before} → {before + 1}"]
    assert plan["train_model"] == "runs"
    assert {plan[name] for name in ("extract_data", "validate_data", "feature_engineering")} == {
        "cached"
    }


def test_a_customer_is_erased_and_everything_else_stays(trial: Trial) -> None:
    """Last: it ends the endpoint. 14,048 bought most; what they spent is nobody else's sum."""
    trained = trial.record("train_model")
    trial.penstock("predict", "customer_id=14048", "customer_id=2")
    trial.penstock("predict", "customer_id=2")
    trial.penstock("serve", "--stop")
    others = "entities->>'customer_id' <> '14048'"
    log = trial.folder / ".penstock" / "endpoints" / "staging" / "predictions"
    before = predictions([log]).filter(others).order("arrived_at, row_index").fetchall()
    asked = predictions([log]).filter("entities->>'customer_id' = '14048'").fetchall()
    lifetime = pd.read_parquet(trial.folder / "data" / "features" / "lifetime.parquet")
    spent = lifetime[lifetime.customer_id == 14048].amount_usd.iloc[-1]
    texts = [repr(float(spent)).encode(), struct.pack("<d", spent), struct.pack(">d", spent)]
    assert any(found_in(trial.folder / ".penstock" / "feast", text) for text in texts)

    trial.penstock("audit", "hold", "case-7", "--reason", "court", "--person", "customer_id=14048")
    trial.penstock("audit", "erase", "customer_id=14048", "--reason", "asked", status=1)
    trial.penstock("audit", "hold", "case-7", "--release", "--reason", "over")
    assert predictions([log]).filter(others).order("arrived_at, row_index").fetchall() == before
    done = trial.penstock("audit", "erase", "customer_id=14048", "--reason", "request of 3 March")

    assert done["destroyed"]["predictions"] == len(asked) >= 1
    assert done["destroyed"]["online_rows"] == 2
    assert (done["open_rows"], done["views_left"]) == (0, [])
    after = predictions([log]).filter("erased IS NULL").order("arrived_at, row_index").fetchall()
    assert after == before
    entry = trial.penstock("audit", "show", str(done["entry"]))
    assert entry["details"]["also"]["predictions"] == len(asked)
    assert "14048" not in json.dumps(entry)
    assert trial.penstock("audit", "verify")["holds"]
    assert load_model(trial.folder / trained["path"], trained["digest"])
    version, *files = done["holdings"]
    assert (version["path"], version["rows"]) == ("data/purchases.parquet", 217)
    assert version["revision"]
    held = {trial.folder / one["path"] for one in files}
    for text in texts:
        assert found_in(trial.folder, text) <= held
    trial.penstock("audit", "erase", "customer_id=14048", "--reason", "again")
    assert trial.penstock("audit", "log")[0]["sequence"] == done["entry"]


def found_in(folder: Path, text: bytes) -> set[Path]:
    """The files with these bytes, but for DVC's own objects."""
    files = (path for path in folder.rglob("*") if path.is_file() and "dvc" not in str(path))
    return {path for path in files if text in path.read_bytes()}
