"""The replicas of one release: which one answers, and what happens when one dies."""

from __future__ import annotations

import asyncio
import logging
import time

from penstock.errors import PenstockError, ServingError
from penstock.serving.connection import Replica, ReplicaDiedError
from penstock.serving.frames import Frame
from penstock.serving.launcher import Launcher
from penstock.serving.release import ReleaseSpec

log = logging.getLogger(__name__)

ATTEMPTS = 2  # a prediction changes nothing, so that a sibling may answer it
FIRST_DELAY = 0.1  # seconds until a dead replica is started again; doubles
LONGEST_DELAY = 30.0
STABLE = 60.0  # a replica that lived that long starts the delays anew
HUNG = 0.9  # of the time-out; a request reaches its replica a moment after it was asked


def restart_delay(failures: int) -> float:
    """Seconds to wait before a start that follows that many failures.

    >>> [restart_delay(n) for n in (0, 1, 2, 20)]
    [0.1, 0.2, 0.4, 30.0]
    """
    return min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(failures, 16))


class ReplicaPool:
    """Lives from the start of a release until its last request is answered."""

    def __init__(
        self, spec: ReleaseSpec, launcher: Launcher, *, start_timeout: float, request_timeout: float
    ) -> None:
        self.spec = spec
        self._launcher = launcher
        self._start_timeout = start_timeout
        self._request_timeout = request_timeout
        self._replicas: set[Replica] = set()
        self._keepers: list[asyncio.Task[None]] = []
        self._arrived = asyncio.Event()
        self._open = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def ready(self) -> list[Replica]:
        return [replica for replica in self._replicas if replica.alive]

    async def start(self) -> None:
        """Returns when every replica is ready. Raises `PenstockError` and leaves none behind."""
        self._launcher.warm(self.spec)
        try:
            async with asyncio.timeout(self._start_timeout):
                # One alone first: a release that cannot start costs one process only.
                first = await self._launch()
                others = (self._launch() for _ in range(self.spec.replicas - 1))
                # Waits for all, so that none becomes ready after the others were closed.
                launched = [first, *await asyncio.gather(*others, return_exceptions=True)]
                replicas = [_or_raise(one) for one in launched]
        except TimeoutError as error:
            await self.close()
            raise ServingError(
                f"the replicas of {self.spec.model} were not ready in {self._start_timeout:g} s",
                hint="set [serving] start_timeout",
            ) from error
        except (PenstockError, asyncio.CancelledError):
            await self.close()
            raise
        self._keepers = [asyncio.create_task(self._keep(replica)) for replica in replicas]

    async def ask(self, request_id: str, body: bytes) -> Frame:
        """The answer of the replica with the fewest requests; a sibling's when that one dies.

        Raises `TimeoutError` after the request time-out, `ServingError` when two replicas died.
        """
        self._open += 1
        self._idle.clear()
        try:
            async with asyncio.timeout(self._request_timeout):
                for _ in range(ATTEMPTS):
                    replica = await self._least_busy()
                    try:
                        return await replica.ask(request_id, body)
                    except ReplicaDiedError:
                        log.warning("replica %d died with requests in flight", replica.job.pid)
            raise ServingError(f"{ATTEMPTS} replicas died on this request")
        except TimeoutError:
            self._kill_the_hung()
            raise
        finally:
            self._open -= 1
            if self._open == 0:
                self._idle.set()

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

    async def _least_busy(self) -> Replica:
        while not (ready := self.ready):
            self._arrived.clear()
            await self._arrived.wait()
        return min(ready, key=lambda replica: replica.owed)

    def _kill_the_hung(self) -> None:
        """A replica that owes answers and gave none for the whole time-out will not recover."""
        for replica in self.ready:
            if replica.silent_for() >= HUNG * self._request_timeout:
                log.error("replica %d hangs; it is killed", replica.job.pid)
                replica.kill()

    async def _launch(self) -> Replica:
        replica = await self._launcher.launch(self.spec)
        self._replicas.add(replica)
        self._arrived.set()
        return replica

    async def _keep(self, replica: Replica) -> None:
        """Waits for the replica's death and puts another in its place, again and again."""
        failures = 0
        while True:
            born = time.monotonic()
            await replica.gone.wait()
            self._replicas.discard(replica)
            replica.close()
            failures = 0 if time.monotonic() - born > STABLE else failures
            log.warning("replica %d is gone; starting another", replica.job.pid)
            replica, failures = await self._launch_again(failures)

    async def _launch_again(self, failures: int) -> tuple[Replica, int]:
        while True:
            await asyncio.sleep(restart_delay(failures))
            failures += 1
            try:
                async with asyncio.timeout(self._start_timeout):
                    return await self._launch(), failures
            except (PenstockError, TimeoutError, OSError) as error:
                log.error("a replica could not be started again: %s", error)


def _or_raise(launched: Replica | BaseException) -> Replica:
    if isinstance(launched, BaseException):
        raise launched
    return launched
