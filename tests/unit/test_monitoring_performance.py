"""Performance of a served version: a log and labels in, measures out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from penstock.errors import UsageError
from penstock.monitoring.looking import Look, looked
from penstock.monitoring.report import Measure, Verdict
from penstock.monitoring.window import window_of_file, window_of_log
from penstock.profiles.completing import completed
from penstock.profiles.counting import profile_of
from penstock.profiles.keeping import keep_profile
from penstock.project import Project
from penstock.registry.versions import DIGEST, Found
from penstock.serving.prediction_log.columns import SCHEMA
from penstock.state.database import open_database
from penstock.state.outcomes import LABEL, Outcome, write

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAY, HORIZON = timedelta(days=1), timedelta(days=7)
SETTINGS = """
[project]
name = "shop"
[training]
gap = "7d"
"""
Floats = NDArray[np.float64]


def calibrated_rows(size: int, seed: int) -> tuple[Floats, NDArray[np.int8]]:
    """Scores that mean what they say."""
    generator = np.random.default_rng(seed)
    score = generator.beta(0.7, 1.3, size)
    return score, (generator.random(size) < score).astype(np.int8)


@dataclass
class Shop:
    """An endpoint with a log, whose version was judged on held-out rows."""

    look: Look
    log: Path
    written: int = field(default=0)

    def answers(self, score: Floats, *, at: datetime = NOW - DAY / 2, **columns: Any) -> list[str]:
        """Logs answers, and gives their ids; `columns` are features."""
        self.written += 1
        ids = [f"{number:016x}-{self.written:028x}" for number in range(len(score))]
        names = list(columns)
        rows = [
            {
                "arrived_at": at,
                "endpoint": "staging",
                "prediction_id": name,
                "row_index": 0,
                "request_rows": 1,
                "model": "shop@1",
                "arm": "champion",
                "status": 200,
                "entities": json.dumps({"customer": number}),
                "features": json.dumps({k: columns[k][number] for k in names}),
                "output": [float(score[number])],
            }
            for number, name in enumerate(ids)
        ]
        folder = self.log / "parquet" / f"date={at:%Y-%m-%d}" / "endpoint=staging"
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), folder / f"{self.written}.parquet")
        return ids

    def told(self, ids: list[str], label: Any, at: datetime = NOW - DAY) -> None:
        write(
            self.look.engine,
            [
                Outcome(
                    "staging", name, LABEL, "0", "", None if isinstance(value, str) else value,
                    value if isinstance(value, str) else None, int(at.timestamp()), at, "", False,
                )
                for name, value in zip(ids, label, strict=True)
            ],
        )  # fmt: skip

    def measures(self, **changed: Any) -> dict[str, Measure]:
        window = window_of_log(self.look.project, "staging", NOW - DAY, NOW)  # as the log is now
        (report,) = looked(replace(self.look, **({"window": window} | changed)), ["performance"])
        return {f"{one.name} {one.subject}".strip(): one for one in report.measures}


@pytest.fixture
def shop(make_project: Callable[..., Project]) -> Shop:
    project = make_project(**{"penstock.toml": SETTINGS})
    score, label = calibrated_rows(20_000, 1)
    rows = profile_of(pa.table({"plan": ["a", "b"] * 10_000}), ["plan"])
    profile = completed(rows, rows, score, label, threshold=0.5, importance={}, model="")
    kept = keep_profile(project, profile)
    found = Found("shop", 1, "", "", (), {f"{DIGEST}profile": kept.digest}, 0)
    window = window_of_log(project, "staging", NOW - DAY, NOW)
    look = Look(project, open_database(project), found, "staging", window, NOW)
    return Shop(look, project.endpoint("staging") / "predictions")


def test_a_window_without_predictions_is_said_and_never_called_fine(shop: Shop) -> None:
    found = shop.measures()

    assert found["estimated_auc_roc"].verdict is Verdict.INSUFFICIENT
    assert found["estimated_auc_roc"].reason == "no prediction of shop@1 in the window"
    assert found["realised_f1"].reason == "no prediction of shop@1 matured in the window"
    assert {one.verdict for one in found.values()} == {Verdict.INSUFFICIENT}


def test_healthy_predictions_are_fine_estimated_and_realised(shop: Shop) -> None:
    score, label = calibrated_rows(4_000, 2)
    shop.answers(calibrated_rows(4_000, 3)[0])
    shop.told(shop.answers(score, at=NOW - HORIZON - DAY / 2)[:3_000], label[:3_000].astype(float))

    found = shop.measures()

    assert {one.verdict for one in found.values()} == {Verdict.FINE}
    assert found["label_coverage"].value == pytest.approx(0.75)
    assert found["realised_accuracy"].rows == 3_000
    for name in ("auc_roc", "accuracy", "log_loss"):
        assert found[f"estimation_error {name}"].verdict is Verdict.FINE
    assert found["retraining_gain log_loss"].details["slope"] == pytest.approx(1, abs=0.1)


def test_another_meaning_of_the_scores_shows_when_labels_come(shop: Shop) -> None:
    """Half of those who were expected to buy do: no estimate can know, and labels tell."""
    score, label = calibrated_rows(6_000, 4)
    fewer = label * (np.random.default_rng(5).random(6_000) < 0.5)
    shop.told(shop.answers(score, at=NOW - HORIZON - DAY / 2), fewer.astype(float))

    found = shop.measures()

    for name in ("realised_precision", "realised_log_loss", "realised_positive_rate",
                 "realised_calibration_error", "estimation_error precision",
                 "retraining_gain log_loss"):  # fmt: skip
        assert found[name].verdict is Verdict.FOUND, found[name]
    assert "retraining pays" in found["retraining_gain log_loss"].reason


def test_unsure_scores_show_in_the_estimates_at_once(shop: Shop) -> None:
    unsure = 0.5 + (calibrated_rows(4_000, 6)[0] - 0.5) / 4
    shop.answers(unsure)

    found = shop.measures()

    assert found["estimated_accuracy"].verdict is Verdict.FOUND
    assert found["estimated_auc_roc"].verdict is Verdict.FOUND
    assert (found["estimated_accuracy"].value or 1) < 0.65


def test_only_predictions_whose_horizon_has_passed_are_counted(shop: Shop) -> None:
    score, label = calibrated_rows(500, 7)
    shop.told(shop.answers(score, at=NOW - HORIZON + DAY), label.astype(float))

    assert shop.measures()["realised_f1"].verdict is Verdict.INSUFFICIENT


def test_labels_that_cannot_be_are_counted_and_said(shop: Shop) -> None:
    score, label = calibrated_rows(1_000, 8)
    at = NOW - HORIZON - DAY / 2
    ids = shop.answers(score, at=at)
    given = label.astype(float)
    shop.told(ids[:700], given[:700])
    shop.told(ids[700:720], given[700:720], at - timedelta(hours=1))  # before their prediction
    shop.told(ids[720:724], given[720:724], at - timedelta(minutes=1))  # as clocks may differ
    shop.told(ids[724:754], ["yes"] * 30)
    shop.told([f"{7:016x}-{number:028x}" for number in range(40, 45)], [1.0] * 5)
    feedback = shop.log.parent / "feedback"
    feedback.mkdir()
    lines = [
        {
            "subject": ids[0],
            "event": "0",
            "unit": "",
            "value": value,
            "told_at": str(at),
            "at": str(at),
        }
        for value in (1, 0, 1)
    ]
    (feedback / "1.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines) + '{"half')

    found = shop.measures()

    values = {name: one.value for name, one in found.items() if name.startswith("labels_")}
    assert values == {
        "labels_before_prediction": 20,
        "labels_of_no_class": 30,
        "labels_of_no_prediction": 5,
        "labels_disagreeing": 1,
    }
    assert found["labels_disagreeing"].details["sample"] == [ids[0]]
    assert found["label_coverage"].value == pytest.approx(0.704)


def test_constant_scores_and_outputs_that_are_no_probabilities_are_found(shop: Shop) -> None:
    shop.answers(np.full(500, 0.3))
    found = shop.measures()
    assert found["distinct_scores"].verdict is Verdict.FOUND
    assert found["estimated_precision"].reason == "no score reaches the threshold of 0.5"
    assert found["estimated_auc_roc"].value == pytest.approx(0.5)

    shop.answers(np.linspace(1.1, 9, 300))
    assert shop.measures()["improbable_outputs"].value == 300


def test_labels_of_one_class_have_no_ranking(shop: Shop) -> None:
    score, _ = calibrated_rows(400, 9)
    shop.told(shop.answers(score, at=NOW - HORIZON - DAY / 2), np.zeros(400))

    found = shop.measures()

    assert found["realised_auc_roc"].reason == "all 400 rows are of one class"
    assert found["realised_recall"].verdict is Verdict.INSUFFICIENT
    assert found["realised_positive_rate"].verdict is Verdict.FOUND
    assert found["retraining_gain"].verdict is Verdict.INSUFFICIENT


def test_the_slice_that_breaks_its_promise_is_named(shop: Shop) -> None:
    """In one plan of four the model has its answers the wrong way round."""
    score, label = calibrated_rows(3_000, 10)
    plan = np.random.default_rng(11).choice(list("abcd"), 3_000)
    age = np.random.default_rng(12).normal(40, 12, 3_000)
    turned = np.where(plan == "c", 1 - label, label).astype(float)
    shop.told(
        shop.answers(score, at=NOW - HORIZON - DAY / 2, plan=plan.tolist(), age=age.tolist()),
        turned,
    )

    found = shop.measures(by="plan")
    assert found["worst_slice plan=c"].verdict is Verdict.FOUND
    assert next(one for one in found.values() if one.name == "realised_auc_roc" and one.subject)
    good = [f"realised_auc_roc plan={name}" for name in "abd"]
    assert {found[name].verdict for name in good} == {Verdict.FINE}

    parts = [name for name in shop.measures(by="age") if name.startswith("realised_auc_roc age=")]
    assert len(parts) == 5
    with pytest.raises(UsageError, match="has a column 'height'"):
        shop.measures(by="height")


def test_slices_without_labels_are_judged_against_the_other_rows(shop: Shop) -> None:
    """Of plan b the model is unsure; a value may be called as the rows without one are."""
    score = calibrated_rows(4_000, 13)[0]
    plan = np.array(["a", "o'b", "missing", None, "rare"])[np.arange(4_000) % 5]
    plan[4::25] = "rarest"
    score = np.where(plan == "o'b", 0.5 + (score - 0.5) / 8, score)
    plan[(plan == "rare") & (np.arange(4_000) >= 200)] = "a"
    shop.answers(score, plan=plan.tolist())

    found = shop.measures(by="plan")

    slices = {name: one for name, one in found.items() if name.startswith("estimated_auc_roc plan")}
    names = ("o'b", "a", "missing", "(missing)", "rare", "rarest")
    assert set(slices) == {f"estimated_auc_roc plan={name}" for name in names}
    worst = found["worst_slice plan=o'b"]
    assert (worst.verdict, worst.details) == (Verdict.FOUND, {"metric": "estimated_auc_roc"})
    assert "of the other rows is estimated 0.8" in worst.reason
    assert "of 6 slices, 1 of which cannot be told (32 rows)" in worst.reason
    assert slices["estimated_auc_roc plan=rare"].reason == "32 rows; 100 are needed to tell"
    assert slices["estimated_auc_roc plan=(missing)"].verdict is Verdict.FINE


def test_slices_that_can_say_nothing_are_said(shop: Shop) -> None:
    score = calibrated_rows(1_000, 17)[0]
    shop.answers(score, one=[1] * 1_000, own=[f"c{number}" for number in range(1_000)])

    alone = shop.measures(by="one")["worst_slice one"]
    assert alone.verdict is Verdict.INSUFFICIENT
    assert "of the largest: only 0 rows are in other slices" in alone.reason
    own = shop.measures(by="own")["worst_slice own"]
    assert own.verdict is Verdict.INSUFFICIENT
    assert "none of 21 slices by own can be told; of the largest: only 20 rows" in own.reason


def test_one_bad_window_is_no_alarm_and_what_was_counted_is(shop: Shop) -> None:
    said = []
    for day in (2, 1, 0):
        now = NOW - day * DAY
        unsure = 0.5 + (calibrated_rows(2_000, 20 + day)[0] - 0.5) / 4
        shop.answers(unsure if day < 2 else calibrated_rows(2_000, 6)[0], at=now - DAY / 2)
        shop.answers(np.array([2.0]), at=now - DAY / 2)
        window = window_of_log(shop.look.project, "staging", now - DAY, now)
        said.append(shop.measures(window=window, now=now, regular=True))

    judged = [one["estimated_accuracy"] for one in said]
    assert [one.verdict for one in judged] == [Verdict.FINE, Verdict.FINE, Verdict.FOUND]
    assert "in 1 of the last 3 windows, 2 are needed" in judged[1].reason
    assert "in 2 of the last 3 windows" in judged[2].reason
    assert {one["improbable_outputs"].verdict for one in said} == {Verdict.FOUND}


def test_rows_of_a_file_are_estimated_and_have_no_labels(shop: Shop, tmp_path: Path) -> None:
    score, _ = calibrated_rows(1_000, 14)
    pq.write_table(pa.table({"prediction": score}), tmp_path / "rows.parquet")

    found = shop.measures(window=window_of_file(tmp_path / "rows.parquet"), endpoint="")

    assert found["estimated_auc_roc"].verdict is Verdict.FINE
    assert found["realised_auc_roc"].verdict is Verdict.INSUFFICIENT


def test_answers_about_one_entity_are_hardly_more_than_one(shop: Shop) -> None:
    score, _ = calibrated_rows(400, 15)
    shop.answers(score)
    once = shop.measures()["estimated_accuracy"].interval
    for _ in range(9):
        shop.answers(score)
    again = shop.measures()["estimated_accuracy"].interval

    assert once is not None
    assert again is not None
    assert again[1] - again[0] > 0.8 * (once[1] - once[0])


def test_answers_that_are_no_number_are_counted_and_leave_the_estimate_as_it_is(
    shop: Shop, tmp_path: Path
) -> None:
    score, _ = calibrated_rows(900, 16)
    shop.answers(score)
    before = shop.measures()
    shop.answers(np.full(100, np.nan))
    after = shop.measures()
    pq.write_table(
        pa.table({"prediction": pa.array([*score, *[None] * 50, *[np.nan] * 50])}),
        tmp_path / "rows.parquet",
    )
    of_file = shop.measures(window=window_of_file(tmp_path / "rows.parquet"), endpoint="")

    for found in (after, of_file):
        assert found["unusable_outputs"].value == 100
        for name in ("accuracy", "auc_roc", "log_loss"):
            now, was = found[f"estimated_{name}"], before[f"estimated_{name}"]
            assert now.value == pytest.approx(was.value)
            assert now.rows == 900
