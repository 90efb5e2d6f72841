"""The gateway's connection to one replica."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from typing import Any

from penstock.processes.host import Job
from penstock.serving.replicas.frames import Decoder, Frame, FrameError, encode

Answer = Callable[[Frame], None]


class Waiting:
    """A question on its way, from the pool's acceptance to its end."""

    __slots__ = ("asked", "attempts", "body", "done", "flags", "kind", "patient")

    def __init__(
        self,
        kind: int,
        flags: int,
        body: bytes,
        done: Callable[[Any], None],
        patient: bool = True,
    ) -> None:
        self.kind = kind
        self.flags = flags
        self.body = body
        self.done: Callable[[Any], None] | None = done  # with a Frame or a Failure; None: ended
        self.asked = time.perf_counter()
        self.attempts = 0
        self.patient = patient  # waits while no replica is ready


class Replica(asyncio.Protocol):
    """A running replica process, from its readiness to its death."""

    def __init__(
        self,
        job: Job,
        answered: Callable[[Waiting, Frame], None],
        orphaned: Callable[[list[Waiting]], None],
    ) -> None:
        self.job = job
        self.pid = job.pid
        self.gone = asyncio.Event()
        self._answered = answered
        self._orphaned = orphaned
        self._transport: Any = None  # not asyncio.Transport: uvloop's are not of asyncio's class
        self._decoder = Decoder()
        self._waiting: dict[int, Waiting] = {}
        self._unsent: list[bytes] = []
        self._numbers = itertools.count(1)
        self._sign_of_life = 0.0

    @property
    def alive(self) -> bool:
        return self._transport is not None and not self.gone.is_set()

    @property
    def owed(self) -> int:
        """Questions that it has not answered, those included that nobody waits for."""
        return len(self._waiting)

    def ask(self, waiting: Waiting) -> None:
        """Sends a question; the answer goes to `answered`, or the question to `orphaned`."""
        number = next(self._numbers)
        if not self._waiting:
            self._sign_of_life = time.perf_counter()
        self._waiting[number] = waiting
        frame = encode(number, waiting.kind, waiting.flags, 0, waiting.body)
        if not self._unsent:  # one write for all that comes in this turn of the loop
            asyncio.get_running_loop().call_soon(self._send)
        self._unsent.append(frame)

    def _send(self) -> None:
        frames, self._unsent = self._unsent, []
        if self.alive:
            self._transport.write(b"".join(frames))

    def silent_for(self, now: float) -> float:
        """Seconds since it owes an answer and gave none."""
        return now - self._sign_of_life if self._waiting else 0.0

    def kill(self) -> None:
        self.job.kill()

    def close(self) -> None:
        """Ends the process: it sees the end of its connections."""
        if self._transport is not None:
            self._transport.close()
        self.job.close()

    # asyncio calls the following.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._sign_of_life = time.perf_counter()
        try:
            frames = self._decoder.feed(data)
        except FrameError:
            self.kill()
            return
        for frame in frames:
            waiting = self._waiting.pop(frame.number, None)
            if waiting is not None:
                self._answered(waiting, frame)

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set()
        orphans = [*self._waiting.values()]
        self._waiting.clear()
        self._orphaned(orphans)
