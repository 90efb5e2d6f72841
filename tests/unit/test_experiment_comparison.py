"""Runs side by side: what is marked as different, and what as best."""

from __future__ import annotations

import csv
import io
import json
import math

import pytest

from penstock.training.comparison import (
    Comparison,
    Direction,
    ExperimentRun,
    as_csv,
    as_json,
    as_markdown,
    compare,
    direction_of,
)


def run(number: int, params: dict[str, str], **metrics: float) -> ExperimentRun:
    digest = {"penstock.dataset": f"{number}" * 64}
    return ExperimentRun(f"{number}" * 32, f"run {number}", "FINISHED", None, 2.0, params, metrics,
                         digest)  # fmt: skip


@pytest.fixture
def found() -> Comparison:
    return compare(
        [
            run(1, {"C": "1.0", "seed": "7"}, auc_roc=0.8, log_loss=0.5, churned=3.0),
            run(2, {"C": "0.1", "seed": "7"}, auc_roc=0.9, log_loss=0.6, churned=4.0),
            run(3, {"C": "0.1", "seed": "7", "depth": "4|5"}, auc_roc=0.9, log_loss=math.nan),
        ]
    )


def row(found: Comparison, name: str) -> tuple[bool, Direction | None, tuple[int, ...]]:
    (one,) = [row for row in found.rows if row.name == name]
    return one.differs, one.direction, one.best


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dataset", (True, None, ())),
        ("seed", (False, None, ())),
        ("C", (True, None, ())),
        ("depth", (True, None, ())),  # only one run has it
        ("auc_roc", (True, "higher", (1, 2))),  # both that are equally good
        ("log_loss", (True, "lower", (0,))),  # NaN is never best
        ("churned", (True, None, ())),  # nobody knows whether more is better
    ],
)
def test_what_differs_and_what_is_best(
    found: Comparison, name: str, expected: tuple[bool, Direction | None, tuple[int, ...]]
) -> None:
    assert row(found, name) == expected


def test_where_all_are_equal_none_is_best() -> None:
    found = compare([run(1, {}, auc_roc=0.8), run(2, {}, auc_roc=0.8)])
    assert row(found, "auc_roc") == (False, "higher", ())
    assert [r.name for r in found.differing().rows] == ["dataset"]


@pytest.mark.parametrize(
    ("metric", "said", "direction"),
    [
        ("holdout_auc_roc", {}, "higher"),
        ("validation_brier", {}, "lower"),
        ("staging_latency_p95_ms", {}, "lower"),
        ("staging_throughput_qps", {}, "higher"),
        ("holdout_profit", {}, None),
        ("holdout_profit", {"profit": "higher"}, "higher"),
        ("precision_loss", {}, None),  # its words disagree
        ("holdout_auc_roc", {"auc_roc": "lower"}, "lower"),  # what is said goes first
        ("nonprofit", {"profit": "higher"}, None),  # another metric
    ],
)
def test_direction_of_a_metric(
    metric: str, said: dict[str, Direction], direction: Direction | None
) -> None:
    assert direction_of(metric, said) == direction


def test_markdown_marks_both(found: Comparison) -> None:
    lines = as_markdown(found).splitlines()
    assert lines[0] == "|  |  | 11111111 run 1 | 22222222 run 2 | 33333333 run 3 |"
    assert "| ≠ | auc_roc | 0.8 | **0.9** | **0.9** |" in lines
    assert "|  | seed | 7 | 7 | 7 |" in lines
    assert r"| ≠ | depth |  |  | 4\|5 |" in lines
    assert "| ≠ | dataset | 111111111111 | 222222222222 | 333333333333 |" in lines


def test_csv_and_json_hold_all_in_full_precision() -> None:
    found = compare([run(1, {"note": 'a, "b"\nc'}, auc_roc=1 / 3), run(2, {}, auc_roc=math.inf)])
    heads, *rows = csv.reader(io.StringIO(as_csv(found)))
    assert heads == ["kind", "name", "1" * 32, "2" * 32, "differs", "best"]
    assert ["param", "note", 'a, "b"\nc', "", "true", ""] in rows
    assert ["metric", "auc_roc", str(1 / 3), "inf", "true", "2" * 32] in rows
    answer = json.loads(json.dumps(as_json(found), allow_nan=False))
    (auc,) = [one for one in answer["rows"] if one["name"] == "auc_roc"]
    assert auc["values"] == {"1" * 32: 1 / 3, "2" * 32: "inf"}
    assert auc["best"] == ["2" * 32]
