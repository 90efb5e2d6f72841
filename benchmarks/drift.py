"""`make bench-drift`: how often does monitoring cry wolf, and what does it miss?

False alarms: two samples of one distribution, again and again. `ours` is the share that is called
different; for p-values alone at 5 % it must be within the binomial's 99.9 % bounds of that (below
them only where values are so few that no test can be exact); for what is called drift, which takes
an effect too, and for the gates on the data, below the upper one. `peer` is what another rule
calls drift on the same samples, or the first of them: the naive one (Kolmogorov-Smirnov p < 0.05
each, PSI > 0.1), and Evidently (its defaults as documented where it cannot be installed). Power: a
change of the world, and the share that neither drift nor a gate reports; a twentieth may be missed.

BENCH_DRIFT_LARGEST (default 1000000) is the size of the largest samples. As many processes work as
there are processors to run on (`taskset -c 0 make bench-drift`: one).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from drift_worlds import (
    SAME,
    Values,
    as_table,
    by_evidently,
    is_words,
    naive,
    ours,
    psi_over_deciles,
)
from rollouts import made
from scipy.stats import binom
from serving_peers import FILES, VENVS, install
from side_by_side import Row, write

from penstock.monitoring_settings import MonitoringSettings

SEED = 20261129
ALPHA = 0.05
# Size of both samples → how often they are drawn; how many of these the others judge, who sort
# them anew; and how many columns of each distribution Evidently itself is given.
REPEATS = {50: 1000, 200: 1000, 1000: 1000, 10_000: 400, 100_000: 200, 1_000_000: 40}
JUDGED = {10_000: 200, 100_000: 20, 1_000_000: 2}
COLUMNS = {50: 100, 200: 100, 1000: 100, 10_000: 50, 100_000: 10, 1_000_000: 1}
SETTINGS = MonitoringSettings(alpha=ALPHA, min_rows=20)


def false_alarms(name: str, size: int) -> list[Row]:
    """One distribution at one size: the p-value alone, what is called drift, and the gates."""
    repeats, judged = REPEATS[size], JUDGED.get(size, REPEATS[size])
    draw, generator = SAME[name], generator_of(name, size)
    found, others = [], []
    for number in range(repeats):
        before, now = draw(generator, size), draw(generator, size)
        found.append(ours(before, now, SETTINGS))
        if number < judged:
            others.append((naive(before, now), psi(before, now)))
    rate = float(np.mean([one.p <= ALPHA for one in found]))
    least = float(binom.ppf(0.001, repeats, ALPHA)) / repeats
    note = "few values: too rarely" if rate < least else ""
    ks, deciles = (float(np.mean(each)) for each in zip(*others, strict=True))
    drift, gates = (
        float(np.mean([getattr(one, what) for one in found])) for what in ("drift", "gates")
    )
    work, most = f"same {name}, {size:,}", upper(repeats)
    return [
        made(f"{work}: p ≤ 5 %; naive", rate, ks, ALPHA, most=most, note=note),
        made(f"{work}: drift; PSI > 0.1", drift, deciles, ALPHA, most=most),
        made(f"{work}: gates on the data", gates, 0.0, ALPHA, most=most),
    ]


def psi(before: Values, now: Values) -> bool:
    """Of categories it is what `naive` is."""
    return naive(before, now) if is_words(before) else psi_over_deciles(before, now)


def against_evidently(size: int) -> list[Row]:
    """A table of independent columns that stayed as they are; one run of Evidently judges it."""
    columns, generator = COLUMNS[size], generator_of("Evidently", size)
    before, now = (
        {
            f"{name} {i}": draw(generator, size)
            for name, draw in SAME.items()
            for i in range(columns)
        }
        for _ in range(2)
    )
    if (VENVS / "evidently" / "installed.txt").is_file():
        who, drifted = "Evidently", evidently_on(as_table(before), as_table(now))["drifted"]
    else:
        who, drifted = "Evidently's rule", {k: by_evidently(before[k], now[k]) for k in before}
    rows = []
    for name in SAME:
        keys = [f"{name} {i}" for i in range(columns)]
        called = float(np.mean([ours(before[key], now[key], SETTINGS).drift for key in keys]))
        theirs = float(np.mean([drifted[key] for key in keys]))
        work = f"same {name}, {size:,}: drift; {who}"
        rows.append(made(work, called, theirs, ALPHA, most=upper(columns)))
    return rows


def evidently_on(before: pa.Table, now: pa.Table) -> dict[str, dict[str, bool]]:
    with tempfile.TemporaryDirectory() as desk:
        files = [Path(desk) / f"{name}.parquet" for name in ("before", "now")]
        for file, table in zip(files, (before, now), strict=True):
            pq.write_table(table, file)
        python = VENVS / "evidently" / "bin" / "python"
        done = subprocess.run(
            [python, FILES / "evidently_drift.py", *files],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, bool]] = json.loads(done.stdout.splitlines()[-1])
    return found


def changes() -> dict[str, Callable[[np.random.Generator, Values], Values]]:
    """Ways in which a window differs from what was learned; each takes a like sample."""
    return {
        "mean + 0.3 deviations": lambda g, x: x + 0.3,
        "twice the deviation": lambda g, x: x * 2,
        "lognormal, half of it 0": lambda g, x: np.where(g.random(len(x)) < 0.5, 0.0, np.exp(x)),
        "60 % null": lambda g, x: np.where(g.random(len(x)) < 0.6, np.nan, x),
        "a new category in 5 %": lambda g, x: np.where(g.random(len(x)) < 0.05, 5, named(x)),
        "swapped with a column of deviation 3": lambda g, x: g.normal(1.0, 3.0, len(x)),
    }


def power(change: str, size: int) -> list[Row]:
    """The share of changed windows that neither gate nor drift reports."""
    generator, alter = generator_of(change, size), changes()[change]
    missed = {"ours": 0, "Evidently's rule": 0, "naive": 0}
    repeats = 200
    for _ in range(repeats):
        before, now = generator.normal(size=10_000), generator.normal(size=size)
        now = alter(generator, now)
        if "lognormal" in change:
            before = np.exp(before)
        elif is_words(now):
            before = named(before)
        missed["ours"] += not ours(before, now, SETTINGS).reported
        missed["Evidently's rule"] += not by_evidently(before, now)
        missed["naive"] += not naive(before, now)
    shares = {name: count / repeats for name, count in missed.items()}
    work = f"{change}, {size:,} against 10,000: missed"
    return [
        made(f"{work}; {name}", shares["ours"], shares[name], 0.05)
        for name in ("Evidently's rule", "naive")
    ]


def named(values: Values) -> Values:
    """Numbers as five categories."""
    return np.searchsorted([-1, -0.3, 0.3, 1], values)


def generator_of(name: str, size: int) -> np.random.Generator:
    return np.random.default_rng([SEED, size, crc32(name.encode())])


def upper(repeats: int) -> float:
    """As many false alarms as chance makes once in a thousand."""
    return float(binom.ppf(0.999, repeats, ALPHA)) / repeats


LARGEST = int(os.environ.get("BENCH_DRIFT_LARGEST", "1000000"))
PARTS: dict[str, list[tuple[Callable[..., list[Row]], tuple[object, ...]]]] = {
    "same": [(false_alarms, (name, size)) for size in REPEATS for name in SAME if size <= LARGEST],
    "power": [(power, (name, size)) for name in changes() for size in (200, 1000)],
    "evidently": [(against_evidently, (size,)) for size in COLUMNS if size <= LARGEST],
}


def main(names: list[str]) -> int:
    """All parts, or those that are named."""
    if fault := install("evidently"):
        print(f"Evidently cannot be installed: {fault.splitlines()[-1]}", flush=True)
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        jobs = [job for name in names or PARTS for job in PARTS[name]]
        done = [pool.submit(work, *given) for work, given in jobs]
        rows = [row for one in done for row in one.result()]
    write("drift", rows)
    return 0 if all(row.holds for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
