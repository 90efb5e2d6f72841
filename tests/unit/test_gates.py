"""The gates' decisions: thresholds, the champion, and an endpoint against the offline model."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from math import inf, nan
from typing import Any, ClassVar

import numpy as np
import pytest

from penstock.errors import ServingError, SettingsError
from penstock.gates.evaluate import Champion, evaluate
from penstock.gates.integration import ask, judge_endpoint
from penstock.gates.load_test import LoadResult
from penstock.gates.thresholds import judge, judge_champion
from penstock.setting_types import Rule, parse_rule
from penstock.settings import ChampionSettings, GateSettings
from penstock.stats.bootstrap import Interval


def rule(text: str) -> Rule:
    return Rule(**parse_rule(text))


@pytest.mark.parametrize(
    ("observed", "threshold", "passed"),
    [
        (0.85, ">= 0.85", True),  # the boundary belongs to <= and >=
        (0.85, "> 0.85", False),
        (50.0, "< 50", False),
        (50.0, "<= 50", True),
        (0.8499, ">= 0.85", False),
        (49.999, "< 50", True),
        (-1.0, "> -2", True),
        (0.0, ">= 0", True),
        (nan, ">= 0", False),
        (nan, "<= 1", False),
        (inf, "> 0", False),  # an infinite latency was not measured, whatever is asked of it
        (-inf, "< 0", False),
    ],
)
def test_a_metric_keeps_to_its_threshold(observed: float, threshold: str, passed: bool) -> None:
    check = judge("m", {"m": observed}, rule(threshold))
    assert check.passed is passed
    assert check.expected == threshold
    assert check.reason


def test_a_miss_says_by_how_much() -> None:
    assert judge("f1", {"f1": 0.25}, rule(">= 0.3")).reason == "0.25 misses >= 0.3 by 0.05"


def test_what_was_not_measured_does_not_pass_and_says_what_was() -> None:
    check = judge("auc", {"f1": 0.5, "auc_roc": 0.9}, rule(">= 0"))
    assert (check.passed, check.observed) == (False, "not measured")
    assert check.reason == "auc was not measured; there are auc_roc, f1"
    assert judge("auc", {}, rule(">= 0")).reason == "auc was not measured; there are none"


def test_what_is_not_a_number_is_said_to_be_that() -> None:
    assert judge("auc", {"auc": nan}, rule(">= 0")).reason == "auc is nan"


CHAMPION = ChampionSettings(margin=0.01)
takes_scikit_learn = pytest.mark.slow  # importing it alone takes seconds


@pytest.mark.parametrize(
    ("low", "estimate", "high", "smaller_is_better", "passed"),
    [
        (0.01, 0.02, 0.03, False, True),  # better
        (-0.009, 0.0, 0.009, False, True),  # no worse than the margin
        (-0.01, 0.0, 0.01, False, True),  # exactly the margin
        (-0.011, 0.02, 0.05, False, False),  # better at a guess, but maybe worse than the margin
        (-0.03, -0.02, -0.011, False, False),  # worse
        (-0.03, -0.02, -0.01, True, True),  # a smaller loss is better
        (-0.05, -0.02, 0.011, True, False),
        (0.02, 0.03, 0.04, True, False),
        (nan, nan, nan, False, False),
        (nan, nan, nan, True, False),
        (nan, 0.5, 0.5, False, False),
        (-0.5, -0.5, nan, True, False),
        (-inf, 0.0, inf, False, False),
    ],
)
def test_the_challenger_must_be_no_worse_than_the_champion(
    low: float, estimate: float, high: float, smaller_is_better: bool, passed: bool
) -> None:
    difference = Interval(estimate, low, high, 500)
    check = judge_champion(difference, "shop@1", CHAMPION, smaller_is_better=smaller_is_better)
    assert check.passed is passed
    assert check.expected == "no worse than shop@1 by more than 0.01"
    assert (check.interval is None) is not all(np.isfinite([low, high]))


@pytest.mark.parametrize(
    ("metric", "smaller_is_better", "said"),
    [
        ("auc_roc", False, "auc_roc is 0.0200 worse than that of shop@1; at worst 0.0300 worse"),
        ("log_loss", True, "log_loss is 0.0200 better than that of shop@1; at worst 0.0100 better"),
    ],
)
def test_the_reason_says_better_or_worse_and_not_more_or_less(
    metric: str, smaller_is_better: bool, said: str
) -> None:
    settings = ChampionSettings(metric=metric)
    difference = Interval(-0.02, -0.03, -0.01, 500)
    check = judge_champion(difference, "shop@1", settings, smaller_is_better=smaller_is_better)
    assert check.reason == f"{said} (95% interval, 500 resamples)"


GENERATOR = np.random.default_rng(3)
LABEL = GENERATOR.integers(0, 2, 300).astype(np.int8)
GOOD = np.clip(0.5 + 0.6 * (LABEL - 0.5) + GENERATOR.normal(0, 0.2, 300), 0, 1)
POOR = GENERATOR.uniform(0, 1, 300)


def judged(probability: Any, gates: GateSettings, **more: Any) -> dict[str, bool]:
    report = evaluate(LABEL, probability, gates, threshold=0.5, subject="d", seed=1, **more)
    assert report.rows == 300
    return {check.name: check.passed for check in report.checks}


def gates(champion: str = "auc_roc", **model: str) -> GateSettings:
    return GateSettings.model_validate({"model": model, "champion": {"metric": champion}})


@takes_scikit_learn
@pytest.mark.parametrize("metric", ["auc_roc", "log_loss", "f1"])
def test_a_model_is_held_against_the_champion_in_the_metric_s_own_direction(metric: str) -> None:
    assert judged(GOOD, gates(metric), champion=Champion("s@1", POOR)) == {"champion": True}
    assert judged(POOR, gates(metric), champion=Champion("s@1", GOOD)) == {"champion": False}
    assert judged(GOOD, gates(metric), champion=Champion("s@1", GOOD)) == {"champion": True}


@takes_scikit_learn
def test_every_threshold_is_a_check_of_its_own_and_own_metrics_count() -> None:
    found = judged(GOOD, gates(auc_roc=">= 0.9", f1="< 0", profit="> 10"), extra={"profit": 11.0})
    assert found == {"auc_roc": True, "f1": False, "profit": True}


@takes_scikit_learn
def test_a_champion_that_cannot_be_asked_does_not_let_pass() -> None:
    champion = Champion("s@1", None, "the champion needs age")
    report = evaluate(LABEL, GOOD, gates(), threshold=0.5, subject="d", seed=1, champion=champion)
    assert not report.passed
    assert "the champion needs age" in report.checks[0].reason


@takes_scikit_learn
def test_without_thresholds_and_champion_the_report_says_so_and_passes() -> None:
    assert judged(GOOD, gates()) == {"no thresholds": True}
    assert judged(GOOD, gates(champion=""), champion=Champion("s@1", POOR)) == {
        "no thresholds": True
    }


@takes_scikit_learn
def test_an_unknown_metric_of_the_champion_is_a_mistake_in_the_settings() -> None:
    with pytest.raises(SettingsError, match=r"\[gates.champion\] metric is 'auc'"):
        judged(GOOD, gates("auc"), champion=Champion("s@1", POOR))


LOAD = LoadResult(100, 1, np.full(99, 5.0), seconds=1.0)


@pytest.mark.parametrize(
    ("served", "offline", "passed"),
    [
        ([0.1, 0.2], [0.1, 0.2], True),
        ([0.1, 0.2 + 1e-7], [0.1, 0.2], True),
        ([0.1, 0.2 + 1e-5], [0.1, 0.2], False),
        ([0.1, nan], [0.1, 0.2], False),
        ([0.1, nan], [0.1, nan], False),
        ([], [], False),  # nothing was compared
    ],
)
def test_the_endpoint_must_answer_as_the_offline_model_does(
    served: list[float], offline: list[float], passed: bool
) -> None:
    report = judge_endpoint(
        LOAD, np.array(served), np.array(offline), {}, tolerance=1e-6, subject="d"
    )
    assert report.passed is passed


def test_the_load_test_is_judged_by_its_thresholds() -> None:
    rules = {
        "latency_p95_ms": rule("< 5"),
        "throughput_qps": rule("> 90"),
        "error_rate": rule("< 0.01"),
    }
    same = np.array([0.5])
    report = judge_endpoint(LOAD, same, same, rules, tolerance=1e-6, subject="d")
    assert {check.name for check in report.failures} == {"latency_p95_ms", "error_rate"}
    assert report.requests == 100


def test_no_requests_are_no_evidence() -> None:
    rules = GateSettings().integration
    nothing = LoadResult(0, 0, np.array([]), seconds=1.0)
    report = judge_endpoint(
        nothing, np.array([0.5]), np.array([0.5]), rules, tolerance=1e-6, subject="d"
    )
    assert {check.name for check in report.failures} == set(rules)


class Endpoint(http.server.BaseHTTPRequestHandler):
    answers: ClassVar[dict[str, tuple[int, Any]]] = {
        "/good": (200, {"predictions": [0.25]}),
        "/null": (200, {"predictions": [None]}),
        "/empty": (200, {"predictions": []}),
        "/list": (200, [1]),
        "/refuses": (422, {"error": "no such key"}),
    }

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        status, answer = self.answers[self.path]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_each_question_is_answered_in_turn(url: str) -> None:
    assert ask(f"{url}/good", [{"rows": [1]}, {"rows": [2]}]).tolist() == [0.25, 0.25]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("null", "gave no prediction"),
        ("empty", "gave no prediction"),
        ("list", "gave no prediction"),
        ("refuses", "answered 422: .*no such key"),
    ],
)
def test_an_answer_without_a_prediction_is_an_error_of_the_endpoint(
    url: str, path: str, said: str
) -> None:
    with pytest.raises(ServingError, match=said):
        ask(f"{url}/{path}", [{}])


def test_an_endpoint_that_is_not_there() -> None:
    with pytest.raises(ServingError, match="gave no prediction"):
        ask("http://127.0.0.1:9/predict", [{}])
