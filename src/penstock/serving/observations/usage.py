"""What a release's replica processes take of the machine, as Linux tells it in /proc."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
TICK_US = 1_000_000 // os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Usage(NamedTuple):
    """Of one process since it began, or of several over some time."""

    cpu_us: int
    memory_bytes: int  # resident


def usage_of(stat: str, statm: str) -> Usage:
    """From /proc/PID/stat and /proc/PID/statm; see proc(5)."""
    fields = stat.rpartition(")")[2].split()  # from field 3 on; the name before may hold blanks
    user, system = int(fields[11]), int(fields[12])
    return Usage((user + system) * TICK_US, int(statm.split()[1]) * PAGE_BYTES)


class Meter:
    """Measures the processes of each release again and again, and gives what was added."""

    def __init__(self, proc: Path = PROC) -> None:
        self._proc = proc
        self._seen: dict[tuple[str, int], int] = {}  # release, process -> µs

    def read(self, processes: Mapping[str, Iterable[int]]) -> dict[str, Usage]:
        """By release: CPU time since the last reading, and memory now.

        What a process used before it was first seen, such as its start, is not counted. Processes
        that cannot be read (gone; another machine's; not on Linux) are left out.
        """
        seen: dict[tuple[str, int], int] = {}
        found: dict[str, Usage] = {}
        for release, pids in processes.items():
            cpu = memory = 0
            for pid in pids:
                try:
                    folder = self._proc / str(pid)
                    usage = usage_of((folder / "stat").read_text(), (folder / "statm").read_text())
                except (OSError, ValueError, IndexError):
                    continue
                before = self._seen.get((release, pid), usage.cpu_us)
                seen[release, pid] = usage.cpu_us
                cpu += max(usage.cpu_us - before, 0)  # the number may be another process's by now
                memory += usage.memory_bytes
            if memory:
                found[release] = Usage(cpu, memory)
        self._seen = seen
        return found
