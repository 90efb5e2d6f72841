"""Runs a load test: in this process, or in several that begin at the same moment."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import multiprocessing
import signal
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from time import perf_counter_ns
from typing import Any

import uvloop

from penstock.errors import PenstockError, ResourceError
from penstock.gates.load.engine import Load
from penstock.gates.load.plan import LoadPlan
from penstock.gates.load.tally import Seen, Tally

AHEAD = 50_000_000  # nanoseconds between the word to begin and the beginning

Progress = Callable[[Seen], None]


def run(
    plan: LoadPlan, on_progress: Progress | None = None, *, stop_on_interrupt: bool = False
) -> tuple[Tally, ...]:
    """Carries a plan out; one tally a process. Calls `on_progress` ten times a second.

    With `on_progress`, the test runs in processes of its own, so that what is drawn of it does not
    delay what is measured. `stop_on_interrupt`: SIGINT ends the sending, and what was measured is
    returned. Raises `ResourceError` when a process ended without a result.
    """
    if plan.processes > 1 or on_progress is not None:
        return _in_processes(plan, on_progress, stop_on_interrupt=stop_on_interrupt)
    with _nothing_to_collect():
        return (_drive(Load(plan), stop_on_interrupt=stop_on_interrupt),)


def _drive(load: Load, *, stop_on_interrupt: bool) -> Tally:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(load.run(stop_on_interrupt=stop_on_interrupt))


@contextlib.contextmanager
def _nothing_to_collect() -> Iterator[None]:
    """What is there already is not traversed while latencies are measured."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _in_processes(
    plan: LoadPlan, on_progress: Progress | None, *, stop_on_interrupt: bool
) -> tuple[Tally, ...]:
    spawn = multiprocessing.get_context("spawn")
    pipes: list[Connection] = []
    processes = []
    try:
        for part in range(plan.processes):
            ours, theirs = spawn.Pipe()
            process = spawn.Process(target=_part, args=(plan, part, theirs), daemon=True)
            process.start()
            theirs.close()
            pipes.append(ours)
            processes.append(process)
        for pipe in pipes:
            _received(pipe)  # connected
        start = perf_counter_ns() + AHEAD
        for pipe in pipes:
            pipe.send(start)
        with _interrupted_once(enabled=stop_on_interrupt):
            return _collected(pipes, on_progress)
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _collected(pipes: list[Connection], on_progress: Progress | None) -> tuple[Tally, ...]:
    seen: dict[Connection, Seen] = {}
    tallies: dict[Connection, Tally] = {}
    while len(tallies) < len(pipes):
        for pipe in wait([pipe for pipe in pipes if pipe not in tallies]):
            assert isinstance(pipe, Connection)
            message = _received(pipe)
            if isinstance(message, Tally):
                tallies[pipe] = message
                continue
            seen[pipe] = message
        if on_progress is not None and seen:
            seconds = max(one.seconds for one in seen.values())
            answers, errors = (sum(column) for column in list(zip(*seen.values(), strict=True))[1:])
            on_progress(Seen(seconds, answers, errors))
    return tuple(tallies[pipe] for pipe in pipes)


def _received(pipe: Connection) -> Any:
    try:
        message = pipe.recv()
    except (EOFError, OSError) as error:
        raise ResourceError(
            "a process of the load generator ended without a result",
            hint="try fewer --processes, or look for what killed it",
        ) from error
    if isinstance(message, PenstockError):
        raise message
    return message


@contextlib.contextmanager
def _interrupted_once(*, enabled: bool) -> Iterator[None]:
    """SIGINT goes to all processes of a terminal: the others stop, this one collects."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN) if enabled else None
    try:
        yield
    finally:
        if enabled:
            signal.signal(signal.SIGINT, before)


def _part(plan: LoadPlan, part: int, pipe: Connection) -> None:
    """The whole life of one of several processes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # until the event loop takes it

    def start() -> int:
        pipe.send("connected")
        return int(pipe.recv())

    try:
        with _nothing_to_collect():
            load = Load(plan, part, on_tick=pipe.send, wait_for_start=start)
            pipe.send(_drive(load, stop_on_interrupt=True))
    except PenstockError as error:
        pipe.send(error)
