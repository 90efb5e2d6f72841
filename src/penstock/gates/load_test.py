"""The load test of the integration gate: what a few clients that ask without pause would see.

A closed loop on the engine of `penstock.gates.load`. Latencies under a closed loop leave out the
wait of requests that would have come meanwhile (coordinated omission); they say what these
clients waited.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.errors import UsageError

if TYPE_CHECKING:
    import numpy

    from penstock.gates.load.report import LoadReport


@dataclass(frozen=True)
class LoadResult:
    """What was measured after the warm-up."""

    requests: int
    errors: int  # answers other than 200, and requests without an answer
    latencies: numpy.ndarray[Any, Any]  # milliseconds, of the answers with 200
    seconds: float
    failures: tuple[str, ...] = ()  # the first few errors

    @property
    def qps(self) -> float:
        """Answers with 200 a second."""
        return len(self.latencies) / self.seconds

    @property
    def error_rate(self) -> float:
        """1 when nothing was asked: no evidence is not a good result."""
        return self.errors / self.requests if self.requests else 1.0

    def quantile(self, q: float) -> float:
        """Milliseconds that a share `q` of the answers stayed within; infinite without answers."""
        import numpy

        return float(numpy.quantile(self.latencies, q)) if len(self.latencies) else float("inf")


def run_load(
    url: str,
    bodies: Sequence[bytes],
    connections: int,
    duration: timedelta,
    warmup: timedelta = timedelta(0),
    headers: Mapping[str, str] | None = None,
) -> LoadResult:
    """Posts the bodies in turn for `duration`, after a `warmup` that is not counted.

    The address is the caller's own, wherever it is. Latencies have three significant digits.
    Raises `UsageError` when there is nothing to send, or no end to it.
    """
    from penstock.gates.load.plan import LoadPlan
    from penstock.gates.load.report import report_of
    from penstock.gates.load.run import run

    if not bodies or connections < 1 or duration <= timedelta(0):
        raise UsageError("a load test needs a body, a connection and a duration above zero")
    sent = tuple((headers or {}).items())
    plan = LoadPlan(url, tuple(bodies), connections, duration, headers=sent, owned=True)
    if warmup > timedelta(0):
        run(replace(plan, duration=warmup))
    began = datetime.now(UTC)
    return _result(report_of(plan, began, run(plan)))


def _result(report: LoadReport) -> LoadResult:
    from penstock.gates.load.hdr import PER_MS

    return LoadResult(
        requests=report.requests,
        errors=report.errors,
        latencies=report.latency.values() / PER_MS,
        seconds=report.seconds,
        failures=report.examples,
    )


def latency_plot(result: LoadResult, file: Path) -> None:
    """The distribution of latencies, with the quantiles that gates look at."""
    from penstock.gates.load.plot import histogram

    title = f"{result.requests} requests, {result.qps:.0f}/s, {result.errors} errors"
    histogram(result.latencies, title, file)
