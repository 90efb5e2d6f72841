"""A file that tests those rules: each fires when it should, and else does not. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from penstock.gates.thresholds import HOLDS
from penstock.monitoring.alerts.prometheus import (
    FOUND,
    LOOK,
    MEASURE,
    MISSED,
    STUCK,
    WAITING,
    alert_name,
    quoted,
    seconds,
)
from penstock.monitoring_settings import AlertRule
from penstock.settings import Settings

STEP = timedelta(minutes=5)  # between two evaluations


def tests_document(settings: Settings, rules_file: str) -> dict[str, Any]:
    """What `promtool test rules` reads."""
    tests = [
        test
        for name, rule in settings.alerts.items()
        if rule.enabled and rule.metric != "monitoring.silent"
        for test in _tests_of(name, rule, settings)
    ]
    return {
        "rule_files": [rules_file],
        "evaluation_interval": "5m",
        "tests": [*tests, *_tests_of_itself(settings)],
    }


def _tests_of(name: str, rule: AlertRule, settings: Settings) -> Iterator[dict[str, Any]]:
    """It fires on what is beyond its threshold, and not on what is within."""
    wait = max(rule.lasts, rule.looks * settings.monitoring.every) + 3 * STEP
    for beyond in (True, False):
        yield _test(_series(rule, beyond), alert_name(name), wait, int(beyond))


def _series(rule: AlertRule, beyond: bool) -> dict[str, str]:
    """Samples a minute apart, as promtool writes them: start+step, or a value."""
    endpoint = quoted(_example(rule.endpoint))
    if rule.metric == "endpoint.error_rate":
        failed = 100 if _is_beyond(rule, 1.0) == beyond else 0
        labels = f'{{endpoint="{endpoint}"}}'
        return {
            f"penstock_errors_total{labels}": f"0+{failed}",
            f"penstock_requests_total{labels}": "0+100",
        }
    if rule.metric == "endpoint.latency_p95_ms":
        slow = _is_beyond(rule, 9_750.0) == beyond  # all between 5 and 10 s; else below 1 ms
        edges = {"0.001": 0 if slow else 100, "5": 0 if slow else 100, "10": 100, "+Inf": 100}
        bucket = "penstock_request_duration_seconds_bucket"
        return {
            f'{bucket}{{endpoint="{endpoint}",le="{edge}"}}': f"0+{count}"
            for edge, count in edges.items()
        }
    given = {
        "measure": _example(rule.metric),
        "subject": quoted(_example(rule.subject)),
        "endpoint": endpoint,
        "model": "shop@3",
    }
    labels = "{" + ",".join(f'{name}="{value}"' for name, value in given.items()) + "}"
    if rule.when is None:
        return {f"{FOUND}{labels}": f"{int(beyond)}+0"}
    step = 1.0 if (rule.when.op in (">", ">=")) == beyond else -1.0
    return {f"{MEASURE}{labels}": f"{rule.when.value + step:.15g}+0"}


def _is_beyond(rule: AlertRule, value: float) -> bool:
    return value > 0 if rule.when is None else bool(HOLDS[rule.when.op](value, rule.when.value))


def _example(glob: str) -> str:
    """Something that a glob matches."""
    return glob.replace("*", "a").replace("?", "a")


def _tests_of_itself(settings: Settings) -> Iterator[dict[str, Any]]:
    late = MISSED * settings.monitoring.every
    look, little = {f'{LOOK}{{kind="data"}}': "0+0"}, 2 * STEP
    since = {'penstock_rollout_since_timestamp_seconds{rollout="r",status="baking"}': "0+0"}
    oldest = {'penstock_messages_oldest_timestamp_seconds{channel="email-1"}': "0+0"}
    silent = settings.alerts["monitoring_silent"].enabled
    for series, name, at, fires in (
        (look, "MonitoringSilent", late + little, int(silent)),
        (look, "MonitoringSilent", late - little, 0),
        ({}, "MonitoringAbsent", late + little, int(silent)),
        (look, "MonitoringAbsent", late + little, 0),
        (since, "RolloutStuck", STUCK + little, 1),
        (since, "RolloutStuck", STUCK - little, 0),
        (oldest, "MessagesWaiting", WAITING + little, 1),
        (oldest, "MessagesWaiting", WAITING - little, 0),
        ({}, "Watchdog", little, 1),
    ):
        yield _test(series, f"Penstock{name}", at, fires)


def _test(series: Mapping[str, str], alert: str, at: timedelta, fires: int) -> dict[str, Any]:
    query = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)'
    minutes = round(at / timedelta(minutes=1)) + 5
    return {
        "interval": "1m",
        "input_series": [
            {"series": one, "values": f"{values}x{minutes}"} for one, values in series.items()
        ],
        "promql_expr_test": [
            {
                "expr": query,
                "eval_time": f"{seconds(at)}s",
                "exp_samples": [{"labels": "{}", "value": fires}],
            }
        ],
    }
