"""Two commands in turn, A B A B …, and the ratio of their times pair by pair."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

OUT = Path(__file__).parent / "out"
Run = Callable[[], float]  # does the work once and returns its seconds


@dataclass(frozen=True)
class Row:
    """One line of the table. `aim` is an upper bound of `ratio`."""

    work: str
    ours: float
    peer: float
    ratio: float
    aim: float
    holds: bool


def timed(command: Sequence[str], **options: object) -> float:
    """Wall seconds of a whole process; its output is thrown away unless it fails."""
    begun = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, **options)  # type: ignore[call-overload]
    seconds = time.perf_counter() - begun
    assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
    return seconds


def compare(work: str, ours: Run, peer: Run, *, aim: float, pairs: int, warmup: int = 1) -> Row:
    """Medians of `pairs` runs of each, and the median ratio of the pairs."""
    for _ in range(warmup):
        ours(), peer()
    measured = [(ours(), peer()) for _ in range(pairs)]
    ratio = statistics.median(a / b for a, b in measured)
    return row(
        work,
        statistics.median(a for a, _ in measured),
        statistics.median(b for _, b in measured),
        ratio,
        aim,
    )


def row(work: str, ours: float, peer: float, ratio: float, aim: float) -> Row:
    made = Row(work, round(ours, 4), round(peer, 4), round(ratio, 3), aim, ratio <= aim)
    print(text_of(made), flush=True)
    return made


def text_of(made: Row) -> str:
    verdict = "holds" if made.holds else "MISSED"
    return (
        f"{made.work:<58} ours {made.ours:8.3f} s  peer {made.peer:8.3f} s  "
        f"ratio {made.ratio:6.2f}  aim ≤ {made.aim:g}  {verdict}"
    )


def write(name: str, rows: Sequence[Row]) -> None:
    """`benchmarks/out/NAME.json`, and the machine on the screen."""
    OUT.mkdir(exist_ok=True)
    (OUT / f"{name}.json").write_text(json.dumps([asdict(made) for made in rows], indent=1) + "\n")
    print(machine())


def machine() -> str:
    model = "unknown processor"
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return f"{os.cpu_count()} × {model}, {platform.system()}, Python {platform.python_version()}"
