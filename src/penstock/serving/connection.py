"""The gateway's connection to one replica."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import cast

from penstock.processes.host import Job
from penstock.serving.frames import Decoder, Frame, FrameError, encode


class ReplicaDiedError(Exception):
    """The replica died before it answered."""


class Replica(asyncio.Protocol):
    """A running replica process, from its readiness to its death."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.gone = asyncio.Event()
        self._transport: asyncio.Transport | None = None
        self._decoder = Decoder()
        self._waiting: dict[int, asyncio.Future[Frame]] = {}
        self._numbers = itertools.count(1)
        self._sign_of_life = 0.0
        self.owed = 0  # requests that it has not answered, those included that nobody waits for

    @property
    def alive(self) -> bool:
        return self._transport is not None and not self.gone.is_set()

    async def ask(self, request_id: str, body: bytes) -> Frame:
        """The answer. Raises `ReplicaDiedError`."""
        if self._transport is None or self.gone.is_set():
            raise ReplicaDiedError
        number = next(self._numbers)
        answer: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        if self.owed == 0:
            self._sign_of_life = time.monotonic()
        self.owed += 1
        self._transport.write(encode(Frame(number, 0, request_id.encode("latin-1"), body)))
        try:
            return await answer
        finally:
            self._waiting.pop(number, None)

    def silent_for(self) -> float:
        """Seconds since it owes an answer and gave none."""
        return time.monotonic() - self._sign_of_life if self.owed else 0.0

    def kill(self) -> None:
        self.job.kill()

    def close(self) -> None:
        """Ends the process: it sees the end of its connections."""
        if self._transport is not None:
            self._transport.close()
        self.job.close()

    # asyncio calls the following.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not isinstance: the transports of uvloop are not of asyncio's class.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._sign_of_life = time.monotonic()
        try:
            frames = self._decoder.feed(data)
        except FrameError:
            self.kill()
            return
        for frame in frames:
            self.owed -= 1
            answer = self._waiting.pop(frame.number, None)
            if answer is not None and not answer.done():
                answer.set_result(frame)

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(ReplicaDiedError())
