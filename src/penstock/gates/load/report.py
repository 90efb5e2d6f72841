"""What a load test measured, put together from its processes; and the files that keep it."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from penstock.digests import written_whole
from penstock.gates.load.hdr import PER_MS, Histogram, distribution_text, log_text
from penstock.gates.load.plan import LoadPlan
from penstock.gates.load.tally import KEPT_EXAMPLES, TICK, Tally

PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)
INTERVALS = 120  # that a test is cut into at most


@dataclass(frozen=True)
class LoadReport:
    """Latencies are of the answers with 200 only."""

    plan: LoadPlan
    began: datetime  # UTC
    seconds: float  # from the first request to the last answer
    interval: float  # seconds that each of `intervals` covers, by the time of the answer
    intervals: tuple[Histogram, ...]
    interval_errors: tuple[int, ...]
    statuses: dict[int, int]  # other than 200
    failures: dict[str, int]  # requests without an answer, by what became of them
    examples: tuple[str, ...]  # the first few errors
    unsent: int  # of an open loop: were due, and found no connection free until the end
    stopped: bool  # by the user

    @cached_property
    def latency(self) -> Histogram:
        """Of the whole test, in microseconds."""
        whole = Histogram()
        for part in self.intervals:
            whole.add(part)
        return whole

    @property
    def answers(self) -> int:
        return self.latency.total

    @property
    def errors(self) -> int:
        """Answers other than 200, and requests without an answer."""
        return sum(self.statuses.values()) + sum(self.failures.values())

    @property
    def requests(self) -> int:
        return self.answers + self.errors

    @property
    def error_rate(self) -> float:
        """1 when nothing was asked: no evidence is not a good result."""
        return self.errors / self.requests if self.requests else 1.0

    @property
    def requests_per_second(self) -> float:
        """Answers with 200 a second."""
        return self.answers / self.seconds

    def latency_ms(self) -> dict[str, float | None]:
        """By name, such as `p99`; None where nothing was answered."""
        found = {f"p{p:g}": self.latency.percentile(p) for p in PERCENTILES}
        found |= {"max": float(self.latency.max), "mean": self.latency.mean}
        return {name: value / PER_MS if self.answers else None for name, value in found.items()}

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        plan = self.plan
        return {
            "url": plan.url,
            "began": self.began.isoformat(),
            "loop": "closed" if plan.rate is None else "open",
            "connections": plan.connections,
            "processes": plan.processes,
            "rate": plan.rate,
            "seconds": round(self.seconds, 6),
            "requests": self.requests,
            "answers": self.answers,
            "errors": self.errors,
            "error_rate": self.error_rate,
            "statuses": {str(status): count for status, count in sorted(self._statuses().items())},
            "failures": self.failures,
            "examples": list(self.examples),
            "requests_per_second": round(self.requests_per_second, 3),
            "latency_ms": self.latency_ms(),
            "unsent": self.unsent,
            "stopped": self.stopped,
        }

    def _statuses(self) -> dict[int, int]:
        return self.statuses | ({200: self.answers} if self.answers else {})


def report_of(plan: LoadPlan, began: datetime, tallies: Sequence[Tally]) -> LoadReport:
    """Adds up what the processes saw."""
    ticks = 1 + max((tick for t in tallies for tick in (*t.latencies, *t.errors)), default=0)
    each = math.ceil(ticks / INTERVALS)
    intervals = [Histogram() for _ in range(math.ceil(ticks / each))]
    errors = [0] * len(intervals)
    for tally in tallies:
        for tick, latencies in tally.latencies.items():
            intervals[tick // each].record(np.frombuffer(latencies, dtype=np.uint32))
        for tick, count in tally.errors.items():
            errors[tick // each] += count
    statuses: Counter[int] = Counter()
    failures: Counter[str] = Counter()
    for tally in tallies:
        statuses.update(tally.statuses)
        failures.update(tally.failures)
    return LoadReport(
        plan=plan,
        began=began,
        seconds=max(tally.seconds for tally in tallies),
        interval=each * TICK,
        intervals=tuple(intervals),
        interval_errors=tuple(errors),
        statuses=dict(statuses),
        failures=dict(failures),
        examples=tuple(text for tally in tallies for text in tally.examples)[:KEPT_EXAMPLES],
        unsent=sum(tally.unsent for tally in tallies),
        stopped=any(tally.stopped for tally in tallies),
    )


def write_files(report: LoadReport, folder: Path) -> tuple[Path, ...]:
    """`load.json`, `load.hgrm`, `load.hlog` and `load.png`; each appears whole or not at all."""
    from penstock.gates.load.plot import draw

    texts = {
        "load.json": json.dumps(report.plain(), indent=2) + "\n",
        "load.hgrm": distribution_text(report.latency),
        "load.hlog": log_text(report.began, report.interval, report.intervals),
    }
    for name, text in texts.items():
        with written_whole(folder / name) as part:
            part.write_text(text, encoding="utf-8")
    with written_whole(folder / "load.png") as part:
        draw(report, part)
    return (*(folder / name for name in texts), folder / "load.png")
