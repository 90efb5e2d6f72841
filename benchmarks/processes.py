"""The processes of a server: found by descent, measured, and ended by their ids."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

PATIENCE = 5.0  # seconds that a server may take to end after SIGTERM


class Process(NamedTuple):
    pid: int
    started: int  # in ticks since the machine did: tells a process from a later one with its id


def members(root: int) -> set[Process]:
    """A process, its descendants, and what else is in its session."""
    table = dict(_table())
    found = {root}
    found |= {pid for pid, (_, session, _) in table.items() if session == root}
    while more := {p for p, (parent, _, _) in table.items() if parent in found} - found:
        found |= more
    return {Process(pid, table[pid][2]) for pid in found if pid in table}


def proportional_bytes(processes: Iterable[Process]) -> int:
    """What they hold together: memory shared with others counts by its share (PSS)."""
    total = 0
    for process in processes:
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total * 1024


def processor_seconds(processes: Iterable[Process]) -> float:
    """What they took since they began, in steps of 10 ms."""
    total = 0
    for process in processes:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def end(processes: set[Process], root: int) -> None:
    """SIGTERM to the first of them; then to those that are left, which are killed in the end."""
    _signal({one for one in processes if one.pid == root}, signal.SIGTERM)
    for number in (signal.SIGTERM, signal.SIGKILL):
        if ended(processes):
            return
        _signal(alive(processes), number)
    ended(processes)


def _signal(processes: Iterable[Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


def ended(processes: set[Process]) -> bool:
    """Waits for their end; False when some did not."""
    deadline = time.monotonic() + PATIENCE
    while (left := alive(processes)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not left


def alive(processes: set[Process]) -> set[Process]:
    return processes & {Process(pid, started) for pid, (_, _, started) in _table()}


@contextlib.contextmanager
def redis_server() -> Iterator[int]:
    """The port of a Redis of our own, which keeps nothing; 0 where it is not installed."""
    binary = shutil.which("redis-server")
    if binary is None:
        yield 0
        return
    port = free_port()
    options = f"--port {port} --bind 127.0.0.1 --save".split()
    server = subprocess.Popen([binary, *options, ""], stdout=subprocess.DEVNULL)
    try:
        while not listening(port):
            assert server.poll() is None, "redis-server ended"
            time.sleep(0.02)
        yield port
    finally:
        server.terminate()
        server.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _table() -> Iterator[tuple[int, tuple[int, int, int]]]:
    """Parent, session and start of each process that has not ended."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                # The name, in brackets, may hold anything.
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                if fields[0] != "Z":
                    yield int(folder.name), (int(fields[1]), int(fields[3]), int(fields[19]))
