"""Asks an endpoint as fast as a few clients can, and measures what they see.

A closed loop: every connection sends its next request when the last is answered, so that the load
is bounded by the endpoint itself. Latencies under a closed loop leave out the wait of requests
that would have come meanwhile (coordinated omission); they say what these clients waited.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.errors import UsageError

if TYPE_CHECKING:
    import aiohttp
    import numpy

REQUEST_TIMEOUT = 30.0  # seconds; an endpoint that hangs ends the test all the same
QUANTILES = (0.5, 0.95, 0.99)
KEPT_FAILURES = 5


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


@dataclass
class _Tally:
    """What the connections of one test have seen so far."""

    latencies: list[float] = field(default_factory=list)
    errors: int = 0
    failures: list[str] = field(default_factory=list)

    def fail(self, reason: str) -> None:
        self.errors += 1
        if len(self.failures) < KEPT_FAILURES:
            self.failures.append(reason)


def run_load(
    url: str,
    bodies: Sequence[bytes],
    connections: int,
    duration: timedelta,
    warmup: timedelta = timedelta(0),
) -> LoadResult:
    """Posts the bodies in turn for `duration`, after a `warmup` that is not counted.

    Raises `UsageError` when there is nothing to send.
    """
    if not bodies or connections < 1 or duration <= timedelta(0):
        raise UsageError("a load test needs a body, a connection and a duration above zero")
    return asyncio.run(_run(url, bodies, connections, duration, warmup))


async def _run(
    url: str, bodies: Sequence[bytes], connections: int, duration: timedelta, warmup: timedelta
) -> LoadResult:
    import aiohttp
    import numpy

    turn = itertools.cycle(bodies)
    timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT)
    connector = aiohttp.TCPConnector(limit=connections)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        await _together(session, url, turn, connections, warmup)
        began = time.perf_counter()
        tally = await _together(session, url, turn, connections, duration)
        seconds = time.perf_counter() - began
    return LoadResult(
        requests=len(tally.latencies) + tally.errors,
        errors=tally.errors,
        latencies=numpy.array(tally.latencies),
        seconds=seconds,
        failures=tuple(tally.failures),
    )


async def _together(
    session: aiohttp.ClientSession,
    url: str,
    turn: Iterator[bytes],
    connections: int,
    duration: timedelta,
) -> _Tally:
    tally = _Tally()
    end = time.perf_counter() + duration.total_seconds()
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(_one_connection(session, url, turn, end, tally))
    return tally


async def _one_connection(
    session: aiohttp.ClientSession, url: str, turn: Iterator[bytes], end: float, tally: _Tally
) -> None:
    import aiohttp

    headers = {"Content-Type": "application/json"}
    while (asked := time.perf_counter()) < end:
        try:
            async with session.post(url, data=next(turn), headers=headers) as answer:
                content = await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            tally.fail(f"{type(error).__name__}: {error}")
            await asyncio.sleep(0.01)  # a refused connection fails at once, and would spin
            continue
        if answer.status == 200:
            tally.latencies.append((time.perf_counter() - asked) * 1000.0)
        else:
            tally.fail(f"{answer.status}: {content[:200].decode(errors='replace')}")


def latency_plot(result: LoadResult, file: Path) -> None:
    """The distribution of latencies, with the quantiles that gates look at."""
    import numpy
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel("latency (ms)")
    axes.set_ylabel("requests")
    axes.set_title(f"{result.requests} requests, {result.qps:.0f}/s, {result.errors} errors")
    if len(result.latencies):
        low = max(float(result.latencies.min()), 1e-3)
        high = max(float(result.latencies.max()), low * 1.01)
        axes.hist(result.latencies, bins=numpy.geomspace(low, high, 60).tolist(), color="#8fb3d9")
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("{x:g}")
        for q, colour in zip(QUANTILES, ("#2c7a3f", "#c77700", "#b3261e"), strict=True):
            label = f"p{q * 100:g} {result.quantile(q):.1f} ms"
            axes.axvline(result.quantile(q), color=colour, label=label)
        axes.legend()
    figure.savefig(file, dpi=120)
