"""The releases of a gateway: started before they are needed, ended when they have answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from penstock.serving.compatibility import check_arms
from penstock.serving.gate import Gate
from penstock.serving.live import LiveRelease
from penstock.serving.observations.bins import bins_of
from penstock.serving.release import EndpointFolder, ReleaseSpec
from penstock.serving.replicas.launcher import Launcher
from penstock.serving.replicas.pool import AnyLauncher, PoolLimits, ReplicaPool
from penstock.serving.routing.table import RoutingTable
from penstock.settings import ServingSettings


class Releases:
    """Owns the replica processes."""

    def __init__(
        self,
        folder: EndpointFolder,
        settings: ServingSettings,
        modules: tuple[str, ...],
        described: Callable[[LiveRelease], None],
        gate: Gate,
    ) -> None:
        self._gate = gate
        self._launcher = _launcher(folder, settings, modules)
        self._max_rows = settings.max_rows
        self._described = described
        self._limits = PoolLimits(
            settings.start_timeout.total_seconds(),
            settings.request_timeout.total_seconds(),
            settings.hang_timeout.total_seconds(),
            settings.max_open,
        )
        self._live: dict[str, LiveRelease] = {}
        self._retiring: set[asyncio.Task[None]] = set()

    async def prepared(self, table: RoutingTable) -> dict[str, LiveRelease]:
        """All releases of a table, each with its replicas ready; those that run already are kept.

        Raises `PenstockError` when one does not start, or does not fit the others; then none was
        started.
        """
        started: list[LiveRelease] = []
        try:
            for spec in table.releases.values():
                running = self._live.get(spec.id)
                if running is None or running.spec != spec:
                    started.append(await self._started(spec))
            fresh = {one.spec.id: one for one in started}
            found = {name: fresh.get(name) or self._live[name] for name in table.releases}
            check_arms(table, found)
        except BaseException:
            for one in started:
                await one.pool.close()
            raise
        for one in started:
            self._described(one)
        return found

    async def _started(self, spec: ReleaseSpec) -> LiveRelease:
        self._launcher.warm(spec)  # imports take longer than the check
        await asyncio.to_thread(self._gate.admit, spec)
        pool = ReplicaPool(spec, self._launcher, self._limits)
        await pool.start()
        bins = await asyncio.to_thread(bins_of, spec.path, spec.profile, spec.profile_digest)
        return LiveRelease.of(pool, self._max_rows, bins)

    def retire_others(self, ready: Mapping[str, LiveRelease]) -> None:
        """Ends what is no longer served, once it has answered what it was asked."""
        kept = {id(one) for one in ready.values()}
        for one in self._live.values():
            if id(one) not in kept:
                task = asyncio.create_task(one.pool.drain())
                self._retiring.add(task)
                task.add_done_callback(self._retiring.discard)
        self._live = dict(ready)

    async def close(self) -> None:
        """Answers what was asked, and ends all processes."""
        if self._retiring:
            await asyncio.wait(self._retiring)
        await asyncio.gather(*(one.pool.drain() for one in self._live.values()))
        self._launcher.close()


def _launcher(
    folder: EndpointFolder, settings: ServingSettings, modules: tuple[str, ...]
) -> AnyLauncher:
    if settings.engine == "local":
        return Launcher(folder.replica_log, modules)
    from penstock.serving.replicas.ray_launcher import RayLauncher

    return RayLauncher(settings.ray_address)
