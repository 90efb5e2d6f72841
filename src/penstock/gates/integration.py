"""Judges an endpoint: by its load test, and by its answers against those of the offline model."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock.errors import ServingError
from penstock.gates.load_test import LoadResult
from penstock.gates.thresholds import judge
from penstock.records import Check, IntegrationReport
from penstock.setting_types import Rule

TIMEOUT = 30.0  # seconds, of one request


def ask(
    url: str, questions: Sequence[Mapping[str, Any]], headers: Mapping[str, str] | None = None
) -> NDArray[np.float64]:
    """The endpoint's prediction for each question of one row, one after the other."""
    sent = {"Content-Type": "application/json", **(headers or {})}
    return np.array([_ask_one(url, question, sent) for question in questions], dtype=np.float64)


def nearest(
    served: NDArray[np.float64], earliest: NDArray[np.float64], latest: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Of the offline predictions before and after the endpoint was asked, the nearer, row by row.

    In between, a time window may have let go of an event.
    """
    return np.where(np.abs(served - earliest) <= np.abs(served - latest), earliest, latest)


def judge_endpoint(
    load: LoadResult,
    served: NDArray[np.float64],
    offline: NDArray[np.float64],
    rules: Mapping[str, Rule],
    *,
    tolerance: float,
    subject: str,
) -> IntegrationReport:
    """One check a threshold, and one for the agreement of served and offline predictions (n,)."""
    metrics = {
        "latency_p50_ms": load.quantile(0.50),
        "latency_p95_ms": load.quantile(0.95),
        "latency_p99_ms": load.quantile(0.99),
        "throughput_qps": load.qps,
        "error_rate": load.errors / load.requests if load.requests else float("nan"),
        "max_difference": float(np.abs(served - offline).max()) if len(offline) else float("nan"),
    }
    checks = [judge(name, metrics, rule) for name, rule in rules.items()]
    checks.append(_agreement(served, offline, tolerance))
    return IntegrationReport(
        subject=subject, checks=tuple(checks), metrics=metrics, requests=load.requests
    )


def _agreement(
    served: NDArray[np.float64], offline: NDArray[np.float64], tolerance: float
) -> Check:
    differing = ~(np.abs(served - offline) <= tolerance)  # NaN agrees with nothing
    count, total = int(differing.sum()), len(offline)
    return Check(
        name="predictions equal the offline model's",
        passed=total > 0 and count == 0,
        observed=f"{count} of {total} differ",
        expected=f"none by more than {tolerance:g}",
        failed_rows=count,
        sample=tuple(
            f"row {index}: served {served[index]:.6f}, offline {offline[index]:.6f}"
            for index in np.flatnonzero(differing)[:5]
        ),
    )


def _ask_one(url: str, question: Mapping[str, Any], headers: Mapping[str, str]) -> float:
    request = urllib.request.Request(url, json.dumps(question).encode(), dict(headers))
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            return float(json.load(answer)["predictions"][0])
    except urllib.error.HTTPError as error:
        raise ServingError(
            f"{url} answered {error.code}: {error.read(500).decode(errors='replace')}"
        ) from error
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise ServingError(f"{url} gave no prediction: {error}") from error
