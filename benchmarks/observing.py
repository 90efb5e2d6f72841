"""The gateway's row of `make bench-monitor`: requests/s while it observes and while it does not.

One gateway under load by `wrk`, whose model has bins of reference for all its features: it counts
requests, latencies, predictions and features, and writes them to the state database each second,
which is all that `penstock monitor --live` reads. No setting turns that off; here a file does
(`switched/sitecustomize.py`), so that both are the same process, on, off, off, on …

    observing.py [--quick]
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from processes import members, processor_seconds
from scipy.stats import binom
from serving_bench import USUAL, Bench, Running, Span
from serving_load import load
from side_by_side import Row, text_of, write

HERE = Path(__file__).parent
AIM = 1.02
PAIRS = 16
SECONDS = 2.0  # of one measurement
SETTLE = 0.15  # until the gateway has seen the switch


class Measured(NamedTuple):
    rate: float  # requests/s
    cpu_us: float  # of gateway, host and model process together, for a request

    def __str__(self) -> str:
        return f"{self.rate:6.0f}/s {self.cpu_us:6.1f} µs"


def rows(pairs: int = PAIRS) -> list[Row]:
    """One; how sure it is stands in its name (95 % interval of the median ratio)."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        desk = Path(folder)
        switch = desk / "off"
        here = [str(HERE / "switched"), os.environ.get("PYTHONPATH", "")]
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, here))
        os.environ["BENCH_SWITCH"] = str(switch)
        bench = Bench(desk, Span(1, SECONDS, SECONDS), None)
        with bench.gateway("observed") as running:
            load(running.url, running.questions, USUAL, 2.0)
            found = [pair(running, switch, on_first=n % 2 == 0) for n in range(pairs)]
    ratios = sorted(off.rate / on.rate for on, off in found)
    low, high = interval(ratios)
    on, off = (statistics.median(both[n].rate for both in found) for n in (0, 1))
    cost = statistics.median(on.cpu_us - off.cpu_us for on, off in found)
    print(f"  observing takes {cost:.1f} µs of processors a request")
    work = f"requests/s, not observed / observed, {USUAL} connections ({low:.3f} to {high:.3f})"
    ratio = statistics.median(ratios)
    row = Row(work, round(on, 1), round(off, 1), round(ratio, 4), AIM, ratio <= AIM)
    print(text_of(row), flush=True)
    return [row]


def pair(running: Running, switch: Path, *, on_first: bool) -> tuple[Measured, Measured]:
    """Observed, and not."""
    found = {}
    for on in (on_first, not on_first):
        switch.unlink(missing_ok=True) if on else switch.touch()
        time.sleep(SETTLE)
        found[on] = measured(running)
    print(f"  observed {found[True]}, not {found[False]}", flush=True)
    return found[True], found[False]


def measured(running: Running) -> Measured:
    processes = members(running.pid)
    before = processor_seconds(processes)
    seen = load(running.url, running.questions, USUAL, SECONDS)
    assert seen.valid, f"{seen.errors} requests had no answer"
    taken = processor_seconds(processes) - before
    return Measured(seen.requests_s, taken / (seen.requests_s * round(SECONDS)) * 1e6)


def interval(ordered: list[float]) -> tuple[float, float]:
    """95 % of the median, whatever the distribution: between two of the values."""
    beyond = int(binom.ppf(0.025, len(ordered), 0.5))
    return ordered[max(beyond - 1, 0)], ordered[min(len(ordered) - beyond, len(ordered) - 1)]


if __name__ == "__main__":
    write("observing", rows(2 if "--quick" in sys.argv else PAIRS))
