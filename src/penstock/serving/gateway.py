"""The gateway of an endpoint: one process that holds its connections and follows its routing table.

A release that a new table names is started beside those that answer, and the table takes effect
when all of its releases are ready: then everything is swapped between two requests, and releases
that are no longer named end when they have answered what they were asked. A table that cannot be
served changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import time
from datetime import UTC, datetime
from functools import partial

from penstock.errors import PenstockError, ServingError
from penstock.serving.access import Access, Admission, RateLimit
from penstock.serving.background import in_background
from penstock.serving.business_events import BusinessEvents
from penstock.serving.config import GatewayConfig, settings_digest
from penstock.serving.dispatch import Dispatcher
from penstock.serving.feedback_log import FeedbackLog
from penstock.serving.gate import Gate
from penstock.serving.grpc_front import serve_grpc
from penstock.serving.http_server.connection import Limits, Server, protocol
from penstock.serving.live import Live, LiveRelease
from penstock.serving.lookups import Lookups
from penstock.serving.metrics import Metrics
from penstock.serving.observations.counts import ArmKey
from penstock.serving.observations.usage import Meter
from penstock.serving.observations.writer import Observer, Report
from penstock.serving.outcome_sender import OutcomeSender
from penstock.serving.prediction_log.upkeep import keep_up
from penstock.serving.prediction_log.writer import LogWriter
from penstock.serving.release import EndpointFolder, EndpointStatus
from penstock.serving.releases import Releases
from penstock.serving.routing.routes import Router
from penstock.serving.routing.source import TableSource, Versioned
from penstock.serving.shared_metrics import SharedMetrics
from penstock.serving.sockets import BACKLOG, tls_context, url_of
from penstock.serving.surface import Surface
from penstock.serving.tracing import Tracing
from penstock.serving.workers import Workers
from penstock.state import first_events, observations, outcomes, routes
from penstock.state.database import open_state

log = logging.getLogger(__name__)

WATCH_INTERVAL = 0.1  # seconds between two looks at the routing table
SWEEP_INTERVAL = 1.0  # between two looks for idle and slow connections
SAY_INTERVAL = 2.0  # between two words to the state database
FAREWELL = 5.0  # seconds in which the last observations are written, or are lost
GOODBYE = 1.0  # seconds in which busy connections are told, with an answer, that they end
MEASURE_INTERVAL = 2.0  # between two looks at what the replicas take
MIRROR_OPEN = 200  # copies on their way to a shadow; more are dropped


class Gateway:
    """One endpoint, from its start to its end."""

    def __init__(self, config: GatewayConfig, port: socket.socket) -> None:
        settings = config.settings
        self._config = config
        self._folder = EndpointFolder(config.folder, config.worker)
        self._port = port
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._state = partial(open_state, config.state, config.folder)
        self._tls = tls_context(settings)
        self._live = Live(config.endpoint, url_of(port, tls=self._tls is not None))
        self._observer = Observer(config.endpoint, self._name, self._report)
        self._meter = Meter()
        self._lease: routes.Lease | None = None  # as it was seen last
        self._log = LogWriter(
            self._folder.predictions,
            config.endpoint,
            fsync_interval=settings.log_interval.total_seconds(),
            ack_after_log=settings.ack_after_log,
            on_batch=self._observer.counted_rows,
        )
        modules = config.ahead.modules if config.ahead else ()
        self._source = TableSource(self._state, config.endpoint, self._folder.table_file)
        gate = Gate(config, self._source.kept_digests)
        self._releases = Releases(self._folder, settings, modules, self._described, gate)
        self._access = Access(key.get_secret_value() for key in settings.keys)
        limit = RateLimit(settings.rate_limit, settings.rate_burst)
        self._admission = Admission(self._access, limit)
        self._tracing = (
            Tracing(settings.otlp_endpoint, f"penstock-{config.endpoint}")
            if settings.otlp_endpoint
            else None
        )
        self._dispatcher = Dispatcher(
            self._live,
            self._access,
            self._log,
            self._observer,
            ack_after_log=settings.ack_after_log,
            mirror_open=MIRROR_OPEN,
            patience=settings.request_timeout.total_seconds(),
            tracing=self._tracing,
        )
        events = BusinessEvents(self._live, self._observer.first_events)
        self._feedback = FeedbackLog(self._folder.feedback, config.endpoint, events.kept)
        self._outcomes = None if config.worker else self._sender()
        self._shared = (
            SharedMetrics(self._folder.workers, config.worker) if settings.workers > 1 else None
        )
        self._metrics, self._server = self._assembled()
        self._workers = Workers(config, port.getsockname()[1])
        self._said = asyncio.Event()  # something that the state database should hear of now
        self._stopping = asyncio.Event()
        self._status = EndpointStatus(
            state="starting",
            pid=os.getpid(),
            url=self._live.url,
            settings=settings_digest(settings, config.trust),
        )

    def _assembled(self) -> tuple[Metrics, Server]:
        settings = self._config.settings
        limits = Limits(
            int(settings.max_body_mb * 1_000_000),
            settings.read_timeout.total_seconds(),
            settings.keep_alive.total_seconds(),
        )
        server = Server(lambda request: surface.handle(request), limits)
        metrics = Metrics(
            self._live,
            self._observer,
            self._dispatcher.mirrored,
            self._log,
            server,
            self._shared,
        )
        surface = Surface(
            self._dispatcher,
            self._admission,
            self._feedback,
            Lookups(self._live),
            metrics,
        )
        return metrics, server

    def _sender(self) -> OutcomeSender:
        return OutcomeSender(
            self._folder.feedback,
            self._config.endpoint,
            lambda told: outcomes.write(self._state(), told),
        )

    def _report(self, report: Report) -> None:
        """Raises what the database's driver raises, or `PenstockError`."""
        engine = self._state()
        observations.write(engine, report.seconds, report.sums)
        first_events.write(engine, report.first)

    def _described(self, release: LiveRelease) -> None:
        """Before the first row of a release is logged."""
        schema = release.target.schema
        self._log.describe(release.spec.id, schema.names, release.spec.model, release.spec.digest)
        self._observer.describe(release.spec.id, schema.names, release.reference)

    async def run(self) -> None:
        """Serves until SIGTERM or SIGINT, and answers what was asked before it returns."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        lead = not self._config.worker
        grpc = None
        if lead:
            grpc = await serve_grpc(self._config.settings, self._dispatcher, self._admission)
        reached = f"{self._config.settings.host}:{grpc.port}" if grpc else ""
        self._say(state="starting", grpc=reached)
        watcher = asyncio.create_task(self._watch())
        watcher.add_done_callback(lambda _: self._stopping.set())  # one that sees nothing must end
        background = [self._sweep(), self._keep_saying(), self._keep_measuring()]
        if lead:
            background.append(keep_up(self._folder.predictions, self._config.settings))
        others = [asyncio.create_task(one) for one in background]
        limit = self._config.settings.request_timeout.total_seconds()
        try:
            listener = await self._listening(loop)
            await self._stopping.wait()
            if grpc is not None:
                await grpc.server.stop(limit)
            if listener is not None:
                await asyncio.gather(self._leave(listener), self._workers.stop(limit + GOODBYE))
        finally:
            for task in (watcher, *others):
                task.cancel()
            await asyncio.gather(watcher, *others, return_exceptions=True)
            await self._releases.close()
            await asyncio.to_thread(self._log.close)
            await asyncio.to_thread(self._feedback.close)
            for last in (self._outcomes, self._observer, self._tracing):
                if last is not None:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(in_background(last.close), FAREWELL)
            self._say(state="stopped", live="")
        if not watcher.cancelled() and (error := watcher.exception()) is not None:
            raise error

    async def _listening(self, loop: asyncio.AbstractEventLoop) -> asyncio.Server | None:
        """A worker is sent no connection before it can answer; None where it was stopped first."""
        if self._config.worker:
            stopped = asyncio.create_task(self._stopping.wait())
            while not self._live.ready and not stopped.done():
                await asyncio.wait({stopped}, timeout=WATCH_INTERVAL)
            if stopped.done():
                return None
            stopped.cancel()
        return await loop.create_server(
            protocol(self._server), sock=self._port, ssl=self._tls, backlog=BACKLOG
        )

    async def _leave(self, listener: asyncio.Server) -> None:
        """A request just sent on a kept connection must not be lost: each is told by an answer."""
        self._live.draining = True
        listener.close()
        self._server.closing = True
        deadline = time.monotonic() + GOODBYE
        while self._server.connections and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        limit = self._config.settings.request_timeout.total_seconds()
        while not all(connection.idle for connection in self._server.connections):
            if time.monotonic() > deadline + limit:
                break
            await asyncio.sleep(0.02)
        self._server.sweep()

    def _say(self, **changes: object) -> None:
        self._status = self._status.model_copy(update=changes)
        with contextlib.suppress(OSError):  # a full disk must not end what still answers
            self._folder.write_status(self._status)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_INTERVAL)
            self._server.sweep()
            if self._shared is not None:
                self._shared.keep(self._metrics.own())
            if self._config.lead and os.getppid() != self._config.lead:
                self._stopping.set()

    async def _keep_saying(self) -> None:
        """Tells the state database that this gateway lives, and what it serves."""
        while True:
            with contextlib.suppress(Exception):  # the database may be away; the table says so
                await in_background(self._say_to_state)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._said.wait(), SAY_INTERVAL)
            self._said.clear()

    def _say_to_state(self) -> None:
        said = routes.Gateway(
            self._live.endpoint,
            self._name,
            self._live.url,
            self._status.state,
            self._live.revision,
            self._status.error,
            datetime.now(UTC),
        )
        routes.say(self._state(), said)

    async def _keep_measuring(self) -> None:
        """What the replicas take of the machine is evidence in a rollout."""
        while True:
            await asyncio.sleep(MEASURE_INTERVAL)
            await self._measure()

    async def _measure(self) -> None:
        router = self._live.router
        if router is None or not router.table.epoch:
            return
        releases = self._live.releases.items()
        processes = {name: [r.pid for r in one.pool.ready if r.pid] for name, one in releases}
        used = await asyncio.to_thread(self._meter.read, processes)
        for arm, release in router.table.served().items():
            if release in used:
                key = ArmKey(release, arm, router.table.epoch)
                self._observer.used(key, *used.pop(release))

    # The routing table.

    async def _watch(self) -> None:
        """Follows the table. A newer one ends the preparations for an older."""
        ahead = self._config.ahead
        seen, changing = (ahead.revision if ahead else 0), None
        while True:
            try:
                found = await in_background(self._source.look, seen)
            except ServingError as error:
                self._say(state="failed", error=error.message, hint=error.hint)
                found = None
            if found is not None:
                await self._renew(found)
            if isinstance(found, Versioned):
                seen, ahead = found.revision, None
                if changing is not None and not changing.done():
                    changing.cancel()
                    await asyncio.gather(changing, return_exceptions=True)
                changing = asyncio.create_task(self._change(found))
            elif ahead and os.getppid() != ahead.owner:
                return  # nothing was deployed, and nobody is left who would
            await asyncio.sleep(WATCH_INTERVAL)

    async def _renew(self, found: Versioned | routes.Lease) -> None:
        """A lease says that the controller lives; the table stays the same object."""
        lease = found.lease if isinstance(found, Versioned) else found
        if lease == self._lease:
            return
        self._lease, router = lease, self._live.router
        if router is None or not lease.revision:
            return
        if lease.revision == self._live.revision:
            router.renew(lease.until)
            if not self._config.worker:
                kept = Versioned(lease.revision, router.table, lease.until)
                await in_background(self._source.keep_lease, kept)
        elif lease.until is not None and router.lease_until is not None:
            # Of a table that is being prepared, or that cannot be served here: until then, the
            # arms of the present one hold. One without a lease says nothing about them.
            router.renew(max(lease.until, router.lease_until))

    async def _change(self, found: Versioned) -> None:
        """Makes a table the one that is served, or says why it cannot be."""
        table, about = found.table, {"release": found.table.champion, "revision": found.revision}
        try:
            self._say(state="starting", error="", hint="", **about)
            ready = await self._releases.prepared(table)
        except PenstockError as error:
            log.error("revision %d cannot be served: %s", found.revision, error)
            self._say(state="failed", error=error.message, hint=error.hint, **about)
            return
        await self._measure()
        lease = self._lease  # it may have been renewed since
        if lease is not None and lease.revision == found.revision:
            found = found._replace(lease_until=lease.until)
        self._observer.follow(table.epoch, table.slow_us)
        self._live.swap(found.revision, Router(table, found.lease_until), ready)
        self._releases.retire_others(ready)
        self._said.set()
        lagging = ""
        if not self._config.worker:
            self._source.keep(found)
            patience = self._config.settings.start_timeout.total_seconds()
            self._workers.start()
            lagging = await self._workers.follow(found.revision, patience)
        log.info("revision %d is live, champion %s%s", found.revision, table.champion, lagging)
        self._say(state="live", live=table.champion, error=lagging)
        gc.collect()
        gc.freeze()  # what was set up stays; a full collection would hold all requests up
