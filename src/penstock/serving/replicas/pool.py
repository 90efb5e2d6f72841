"""The replicas of one release: which one answers, and what happens when one dies or hangs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from penstock.errors import PenstockError, ServingError
from penstock.serving.release import ReleaseSpec
from penstock.serving.replicas.connection import Waiting
from penstock.serving.replicas.frames import ALONE, Frame
from penstock.serving.replicas.launcher import Launched
from penstock.serving.schema import InputSchema

log = logging.getLogger(__name__)

ATTEMPTS = 2  # a prediction changes nothing, so that a sibling may answer it
FIRST_DELAY = 0.1  # seconds until a dead replica is started again; doubles
LONGEST_DELAY = 30.0
STABLE = 60.0  # a replica that lived that long starts the delays anew
BROKEN = 3  # failures in a row after which requests no longer wait for a replica
LOOK = 0.05  # seconds between two looks for what takes too long


def restart_delay(failures: int) -> float:
    """Seconds to wait before a start that follows that many failures.

    >>> [restart_delay(n) for n in (0, 1, 2, 20)]
    [0.1, 0.2, 0.4, 30.0]
    """
    return min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(failures, 16))


class Failure(NamedTuple):
    """Why a question has no answer."""

    status: int  # HTTP
    error: str  # timeout, died, overloaded, unavailable
    message: str


class AnyReplica(Protocol):
    """What the pool needs of a replica, wherever it runs."""

    gone: asyncio.Event  # set when it is dead, or useless
    pid: int

    @property
    def alive(self) -> bool: ...

    @property
    def owed(self) -> int: ...

    def ask(self, waiting: Waiting, /) -> None: ...

    def silent_for(self, now: float, /) -> float: ...

    def kill(self) -> None: ...

    def close(self) -> None: ...


class AnyLauncher(Protocol):
    """What starts replicas."""

    def warm(self, spec: ReleaseSpec, /) -> None: ...

    def processes(self, spec: ReleaseSpec, /) -> int: ...

    async def launch(
        self,
        spec: ReleaseSpec,
        answered: Callable[[Waiting, Frame], None],
        orphaned: Callable[[list[Waiting]], None],
    ) -> Launched: ...

    def close(self) -> None: ...


class PoolLimits(NamedTuple):
    """Times in seconds."""

    start: float
    request: float
    hang: float  # a replica that owes answers and gives none for so long is killed
    queue: int  # questions that may be on their way


class ReplicaPool:
    """Lives from the start of a release until its last request is answered."""

    def __init__(self, spec: ReleaseSpec, launcher: AnyLauncher, limits: PoolLimits) -> None:
        self.spec = spec
        self.schema = InputSchema(())  # known when the first replica is ready
        self.flavor = ""
        self.restarts = 0
        self._launcher = launcher
        self._limits = limits
        self._replicas: list[AnyReplica] = []
        self._keepers: list[asyncio.Task[None]] = []
        self._open: dict[int, Waiting] = {}  # in the order asked
        self._parked: list[Waiting] = []  # while no replica is ready
        self._failures = 0  # of starts, in a row
        self._idle = asyncio.Event()
        self._idle.set()
        self._looking = False

    @property
    def ready(self) -> list[AnyReplica]:
        return [replica for replica in self._replicas if replica.alive]

    @property
    def open(self) -> int:
        """Questions on their way."""
        return len(self._open)

    async def start(self) -> None:
        """Returns when every replica is ready. Raises `PenstockError` and leaves none behind."""
        self._launcher.warm(self.spec)
        try:
            async with asyncio.timeout(self._limits.start):
                # One alone first: a release that cannot start costs one process only.
                first = await self._launch()
                others = (self._launch() for _ in range(self._launcher.processes(self.spec) - 1))
                # Waits for all, so that none becomes ready after the others were closed.
                launched = [first, *await asyncio.gather(*others, return_exceptions=True)]
                replicas = [_or_raise(one) for one in launched]
        except TimeoutError as error:
            await self.close()
            raise ServingError(
                f"the replicas of {self.spec.model} were not ready in {self._limits.start:g} s",
                hint="set [serving] start_timeout",
            ) from error
        except (PenstockError, asyncio.CancelledError):
            await self.close()
            raise
        self._keepers = [asyncio.create_task(self._keep(replica)) for replica in replicas]

    def ask(
        self,
        kind: int,
        flags: int,
        body: bytes,
        done: Callable[[Any], None],
        *,
        patient: bool = True,
    ) -> None:
        """Calls `done` once: with the `Frame` of the answer, or with a `Failure`.

        While no replica is ready, the patient wait for one; others are told at once.
        """
        if len(self._open) >= self._limits.queue:
            done(Failure(503, "overloaded", f"{self.spec.model} has {self.open} open requests"))
            return
        waiting = Waiting(kind, flags, body, done, patient)
        self._open[id(waiting)] = waiting
        self._idle.clear()
        if not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_later(LOOK, self._look)
        self._send(waiting)

    def _send(self, waiting: Waiting) -> None:
        best: AnyReplica | None = None
        for replica in self._replicas:
            if replica.alive and (best is None or replica.owed < best.owed):
                best = replica
        if best is not None:
            waiting.attempts += 1
            best.ask(waiting)
        elif self._failures >= BROKEN or not waiting.patient:
            message = f"no replica of {self.spec.model} is running"
            self._end(waiting, Failure(503, "unavailable", message))
        else:
            self._parked.append(waiting)

    def _answered(self, waiting: Waiting, frame: Frame) -> None:
        self._end(waiting, frame)

    def _orphaned(self, orphans: list[Waiting]) -> None:
        """A replica died: what it owed is asked once more, each alone, for one may be the cause."""
        for waiting in orphans:
            if waiting.done is None:
                continue
            if waiting.attempts < ATTEMPTS:
                waiting.flags |= ALONE
                self._send(waiting)
            else:
                message = f"{waiting.attempts} replicas died on this request"
                self._end(waiting, Failure(503, "died", message))

    def _end(self, waiting: Waiting, outcome: Frame | Failure) -> None:
        done, waiting.done = waiting.done, None
        if done is None:
            return  # it was given up before
        del self._open[id(waiting)]
        if not self._open:
            self._idle.set()
        done(outcome)

    def _look(self) -> None:
        """Gives up what takes too long, and kills replicas that hang."""
        now = time.perf_counter()
        for replica in self.ready:
            if replica.silent_for(now) > min(self._limits.hang, self._limits.request):
                log.error("replica %d hangs; it is killed", replica.pid)
                replica.kill()
        late = []
        for waiting in self._open.values():
            if now - waiting.asked < self._limits.request:
                break
            late.append(waiting)
        for waiting in late:
            self._end(waiting, Failure(504, "timeout", "no replica answered in time"))
        self._parked = [waiting for waiting in self._parked if waiting.done is not None]
        self._looking = bool(self._open) or any(replica.owed for replica in self.ready)
        if self._looking:
            asyncio.get_running_loop().call_later(LOOK, self._look)

    async def drain(self) -> None:
        """Returns when every request that was asked is answered, and the replicas are ended."""
        await self._idle.wait()
        await self.close()

    async def close(self) -> None:
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for replica in self._replicas:
            replica.close()
        self._replicas.clear()

    async def _launch(self) -> AnyReplica:
        launched: Launched = await self._launcher.launch(self.spec, self._answered, self._orphaned)
        self.schema, self.flavor = launched.schema, launched.flavor
        self._replicas.append(launched.replica)
        self._failures = 0
        parked, self._parked = self._parked, []
        for waiting in parked:
            if waiting.done is not None:
                self._send(waiting)
        replica: AnyReplica = launched.replica
        return replica

    async def _keep(self, replica: AnyReplica) -> None:
        """Waits for the replica's death and puts another in its place, again and again."""
        failures = 0
        while True:
            born = time.monotonic()
            await replica.gone.wait()
            self._replicas.remove(replica)
            replica.close()
            self.restarts += 1
            failures = 0 if time.monotonic() - born > STABLE else failures
            log.warning("replica %d is gone; starting another", replica.pid)
            replica, failures = await self._launch_again(failures)

    async def _launch_again(self, failures: int) -> tuple[AnyReplica, int]:
        while True:
            await asyncio.sleep(restart_delay(failures))
            failures += 1
            try:
                async with asyncio.timeout(self._limits.start):
                    return await self._launch(), failures
            except (PenstockError, TimeoutError, OSError) as error:
                self._failures += 1
                if self._failures == BROKEN:
                    self._give_up_the_parked()
                log.error("a replica could not be started again: %s", error)

    def _give_up_the_parked(self) -> None:
        parked, self._parked = self._parked, []
        for waiting in parked:
            self._send(waiting)


def _or_raise(launched: AnyReplica | BaseException) -> AnyReplica:
    if isinstance(launched, BaseException):
        raise launched
    return launched
