"""The gateway of an endpoint: one process that holds its connections and follows its routing table.

    python -m penstock.serving.gateway < config.json

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
import sys
import time
from datetime import UTC, datetime
from functools import partial
from typing import Any

import uvloop
from filelock import FileLock, Timeout

from penstock.errors import PenstockError, ServingError
from penstock.serving.access import Access, RateLimit, require_keys
from penstock.serving.background import in_background
from penstock.serving.config import GatewayConfig, settings_digest
from penstock.serving.dispatch import Dispatcher
from penstock.serving.feedback import FeedbackLog
from penstock.serving.grpc_front import serve_grpc
from penstock.serving.http_server.connection import Limits, Server, protocol
from penstock.serving.live import Live, LiveRelease
from penstock.serving.lookups import Lookups
from penstock.serving.metrics import Metrics
from penstock.serving.observations.writer import Observer
from penstock.serving.prediction_log.upkeep import keep_up
from penstock.serving.prediction_log.writer import LogWriter
from penstock.serving.release import EndpointFolder, EndpointStatus
from penstock.serving.releases import Releases
from penstock.serving.routing.routes import Router
from penstock.serving.routing.source import TableSource, Versioned
from penstock.serving.sockets import bind, tls_context, url_of
from penstock.serving.surface import Surface
from penstock.serving.tracing import Tracing
from penstock.state import observations, routes
from penstock.state.database import open_state

log = logging.getLogger(__name__)

WATCH_INTERVAL = 0.1  # seconds between two looks at the routing table
SWEEP_INTERVAL = 1.0  # between two looks for idle and slow connections
SAY_INTERVAL = 2.0  # between two words to the state database
FAREWELL = 5.0  # seconds in which the last observations are written, or are lost
GOODBYE = 1.0  # seconds in which busy connections are told, with an answer, that they end
LOCK_TIMEOUT = 2.0  # seconds; others hold the lock for an instant, to ask whether a gateway lives
MIRROR_OPEN = 200  # copies on their way to a shadow; more are dropped


class Gateway:
    """One endpoint, from its start to its end."""

    def __init__(self, config: GatewayConfig, port: socket.socket) -> None:
        settings = config.settings
        self._config = config
        self._folder = EndpointFolder(config.folder)
        self._port = port
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._state = partial(open_state, config.state, config.folder)
        self._tls = tls_context(settings)
        self._live = Live(config.endpoint, url_of(port, tls=self._tls is not None))
        self._observer = Observer(
            config.endpoint, self._name, lambda seen: observations.write(self._state(), seen)
        )
        self._log = LogWriter(
            self._folder.predictions,
            config.endpoint,
            fsync_interval=settings.log_interval.total_seconds(),
            ack_after_log=settings.ack_after_log,
            on_batch=self._observer.counted_rows,
        )
        modules = config.ahead.modules if config.ahead else ()
        self._releases = Releases(self._folder, settings, modules, self._described)
        self._source = TableSource(self._state, config.endpoint, self._folder.table_file)
        self._access = Access(key.get_secret_value() for key in settings.keys)
        self._tracing = (
            Tracing(settings.otlp_endpoint, f"penstock-{config.endpoint}")
            if settings.otlp_endpoint
            else None
        )
        self._dispatcher = Dispatcher(
            self._live,
            self._access,
            self._log,
            ack_after_log=settings.ack_after_log,
            mirror_open=MIRROR_OPEN,
            patience=settings.request_timeout.total_seconds(),
            tracing=self._tracing,
        )
        self._server = self._assembled()
        self._stopping = asyncio.Event()
        self._status = EndpointStatus(
            state="starting",
            pid=os.getpid(),
            url=self._live.url,
            settings=settings_digest(settings),
        )

    def _assembled(self) -> Server:
        settings = self._config.settings
        limits = Limits(
            int(settings.max_body_mb * 1_000_000),
            settings.read_timeout.total_seconds(),
            settings.keep_alive.total_seconds(),
        )
        server = Server(lambda request: surface.handle(request), limits)
        surface = Surface(
            self._dispatcher,
            self._access,
            RateLimit(settings.rate_limit, settings.rate_burst),
            FeedbackLog(self._folder.feedback),
            Lookups(self._live),
            Metrics(
                self._live, self._observer.totals, self._dispatcher.mirrored, self._log, server
            ),
        )
        return server

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
        grpc = await serve_grpc(self._config.settings, self._dispatcher, self._access)
        reached = f"{self._config.settings.host}:{grpc.port}" if grpc else ""
        self._say(state="starting", grpc=reached)
        listener = await loop.create_server(protocol(self._server), sock=self._port, ssl=self._tls)
        watcher = asyncio.create_task(self._watch())
        watcher.add_done_callback(lambda _: self._stopping.set())  # one that sees nothing must end
        background = (
            self._sweep(),
            self._keep_saying(),
            keep_up(self._folder.predictions, self._config.settings),
        )
        others = [asyncio.create_task(one) for one in background]
        try:
            await self._stopping.wait()
            if grpc is not None:
                await grpc.server.stop(self._config.settings.request_timeout.total_seconds())
            await self._leave(listener)
        finally:
            for task in (watcher, *others):
                task.cancel()
            await asyncio.gather(watcher, *others, return_exceptions=True)
            await self._releases.close()
            await asyncio.to_thread(self._log.close)
            for last in (self._observer, self._tracing):
                if last is not None:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(in_background(last.close), FAREWELL)
            self._say(state="stopped", live="")
        if not watcher.cancelled() and (error := watcher.exception()) is not None:
            raise error

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

    async def _keep_saying(self) -> None:
        """Tells the state database that this gateway lives, and what it serves."""
        while True:
            with contextlib.suppress(Exception):  # the database may be away; the table says so
                await in_background(self._say_to_state)
            await asyncio.sleep(SAY_INTERVAL)

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

    # The routing table.

    async def _watch(self) -> None:
        """Follows the table. A newer one ends the preparations for an older."""
        ahead = self._config.ahead
        seen, changing = (ahead.revision if ahead else 0), None
        while True:
            try:
                found = await in_background(self._source.newer, seen)
            except ServingError as error:
                self._say(state="failed", error=error.message, hint=error.hint)
                found = None
            if found is not None:
                seen, ahead = found.revision, None
                if changing is not None and not changing.done():
                    changing.cancel()
                    await asyncio.gather(changing, return_exceptions=True)
                changing = asyncio.create_task(self._change(found))
            elif ahead and os.getppid() != ahead.owner:
                return  # nothing was deployed, and nobody is left who would
            await asyncio.sleep(WATCH_INTERVAL)

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
        self._live.swap(found.revision, Router(table), ready)
        self._releases.retire_others(ready)
        self._source.keep(found)
        log.info("revision %d is live, champion %s", found.revision, table.champion)
        self._say(state="live", live=table.champion)
        gc.collect()
        gc.freeze()  # what was set up stays; a full collection would hold all requests up


def run(config: GatewayConfig) -> None:
    """Runs the gateway in this process until it is told to stop.

    Raises `ServingError` when another gateway serves this folder, or the port is in use;
    `SettingsError` when it would be open to the network.
    """
    require_keys(config.settings)
    folder = EndpointFolder(config.folder)
    folder.path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.lock_file, timeout=LOCK_TIMEOUT)
    try:
        lock.acquire()
    except Timeout as error:
        raise ServingError(
            f"another gateway already serves {folder.path}",
            hint=f"its process id and address are in {folder.status_file}",
        ) from error
    with lock:
        # Before anything that takes time: what a killed gateway said last is no longer true.
        begun = EndpointStatus(
            state="starting", pid=os.getpid(), settings=settings_digest(config.settings)
        )
        folder.write_status(begun)
        try:
            port = bind(config.settings.host, config.settings.port)
        except ServingError as error:
            said = {"state": "failed", "pid": 0, "error": error.message, "hint": error.hint}
            folder.write_status(begun.model_copy(update=said))
            raise
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(config, port))


async def _serve(config: GatewayConfig, port: socket.socket) -> None:
    await Gateway(config, port).run()


def main() -> None:
    """The entry of a detached gateway's process."""
    config: Any = GatewayConfig.model_validate_json(sys.stdin.buffer.read())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        run(config)
    except PenstockError as error:
        raise SystemExit(f"{error.message} {error.hint}") from error


if __name__ == "__main__":
    main()
