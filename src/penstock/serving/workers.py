"""Further gateway processes of one endpoint, which share its port: `[serving] workers`.

The lead holds the endpoint's folder, speaks gRPC and keeps the log in order; a worker does the
rest: it follows the same routing table with replicas of its own, and listens once it is live. The
kernel spreads connections over all that listen (SO_REUSEPORT). A worker that dies is started again
with growing delays; when the lead is gone, workers answer what they were asked, and end.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
import time

from penstock.serving.config import GatewayConfig
from penstock.serving.release import EndpointFolder
from penstock.serving.replicas.pool import STABLE, restart_delay

log = logging.getLogger(__name__)

LOOK = 0.05  # seconds between two looks at what workers say


class Workers:
    """Owned by the lead; without any where `[serving] workers` is 1."""

    def __init__(self, config: GatewayConfig, port: int) -> None:
        settings = config.settings.model_copy(update={"port": port})
        self._config = config.model_copy(update={"settings": settings, "ahead": None})
        self._folder = EndpointFolder(config.folder)
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._ending = False

    def start(self) -> None:
        """Does nothing where they run already."""
        if self._keepers or self._config.settings.workers == 1:
            return
        self._folder.workers.mkdir(parents=True, exist_ok=True)
        for old in self._folder.workers.iterdir():
            old.unlink(missing_ok=True)
        numbers = range(1, self._config.settings.workers)
        self._keepers = [asyncio.create_task(self._keep(number)) for number in numbers]

    async def follow(self, revision: int, patience: float) -> str:
        """Returns when all serve a revision, or say that they cannot; gives what is wrong."""
        deadline = time.monotonic() + patience
        waiting = set(range(1, self._config.settings.workers))
        while waiting and time.monotonic() < deadline:
            for number in [*waiting]:
                said = self._folder.of_worker(number).read_status()
                if said.revision >= revision and said.state == "live":
                    waiting.discard(number)
                elif said.revision == revision and said.state == "failed":
                    return f"worker {number}: {said.error}"
            await asyncio.sleep(LOOK)
        if waiting:
            return f"worker {min(waiting)} does not serve it after {patience:g} s"
        return ""

    async def stop(self, patience: float) -> None:
        """Ends all, each after it has answered what it was asked."""
        self._ending = True
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        if self._keepers:
            await asyncio.wait(self._keepers, timeout=patience)
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        for keeper in self._keepers:
            keeper.cancel()

    async def _keep(self, number: int) -> None:
        failures = 0
        while not self._ending:
            begun = time.monotonic()
            status = await self._run(number)
            if self._ending:
                return
            failures = 0 if time.monotonic() - begun > STABLE else failures + 1
            log.error("worker %d ended with status %d; it is started again", number, status)
            await asyncio.sleep(restart_delay(failures))

    async def _run(self, number: int) -> int:
        """The whole life of one process."""
        config = self._config.model_copy(update={"worker": number, "lead": os.getpid()})
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "penstock.serving.main", stdin=asyncio.subprocess.PIPE
        )
        self._processes[number] = process
        if self._ending:
            process.terminate()
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            process.stdin.write(json.dumps(config.plain()).encode())
            process.stdin.close()
        return await process.wait()
