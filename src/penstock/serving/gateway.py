"""The gateway: holds the clients' connections and serves what `release.json` says.

    python -m penstock.serving.gateway --folder .penstock/endpoints/staging --settings '{...}'

A new release is started beside the old one and takes its place when every replica is ready; the
old one answers what it was asked and ends. A release that cannot start changes nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import socket
from dataclasses import dataclass
from pathlib import Path

import uvloop
from filelock import FileLock, Timeout

from penstock.errors import PenstockError, ServingError
from penstock.records import digest_of
from penstock.serving.http import Live, application
from penstock.serving.launcher import Launcher
from penstock.serving.listener import Listener, bind, url_of
from penstock.serving.pool import ReplicaPool
from penstock.serving.release import EndpointFolder, EndpointStatus
from penstock.settings import ServingSettings

log = logging.getLogger(__name__)

WATCH_INTERVAL = 0.1  # seconds between two looks at release.json
LOCK_TIMEOUT = 2.0  # seconds; others hold the lock for an instant, to ask whether a gateway lives


@dataclass(frozen=True)
class Ahead:
    """Why a gateway runs before there is a release for it."""

    revision: int  # of the release file when it was started: only a newer one is served
    modules: tuple[str, ...]  # that the release will need
    owner: int  # the process that will deploy it; without it the gateway ends


class Gateway:
    """One endpoint, from its start to its end."""

    def __init__(
        self,
        folder: EndpointFolder,
        settings: ServingSettings,
        port: socket.socket,
        ahead: Ahead | None = None,
    ) -> None:
        self._folder = folder
        self._ahead = ahead
        self._settings = settings
        self._port = port
        url = url_of(port)
        self._live = Live(url, int(settings.max_body_mb * 1_000_000))
        self._listener = Listener(application(self._live))
        modules = ahead.modules if ahead else ()
        self._launcher = Launcher(folder.replica_log, settings.max_rows, modules)
        self._retiring: set[asyncio.Task[None]] = set()
        self._status = EndpointStatus(
            state="starting", pid=os.getpid(), url=url, settings=settings_digest(settings)
        )

    async def run(self) -> None:
        """Serves until SIGTERM or SIGINT, and answers what was asked before it returns."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        self._say(state="starting", revision=self._folder.revision())
        watcher = asyncio.create_task(self._watch())
        watcher.add_done_callback(
            lambda _: self._stop()
        )  # a gateway that sees nothing must not stay
        try:
            await self._listener.serve(sockets=[self._port])
        finally:
            watcher.cancel()
            await asyncio.wait([watcher, *self._retiring])
            if self._live.pool is not None:
                await self._live.pool.drain()
            self._launcher.close()
            self._say(state="stopped", live="")
        if not watcher.cancelled() and (error := watcher.exception()) is not None:
            raise error

    def _stop(self) -> None:
        self._live.draining = True
        self._listener.should_exit = True

    def _say(self, **changes: object) -> None:
        self._status = self._status.model_copy(update=changes)
        self._folder.write_status(self._status)

    async def _watch(self) -> None:
        seen = self._ahead.revision if self._ahead else 0
        while True:
            revision = self._folder.revision()
            if revision != seen:
                seen, self._ahead = revision, None
                await self._replace(revision)
            elif self._ahead and os.getppid() != self._ahead.owner:
                return  # nothing was deployed, and nobody is left who would
            await asyncio.sleep(WATCH_INTERVAL)

    async def _replace(self, revision: int) -> None:
        """Makes the release of the file the live one, or says why it cannot be."""
        about = ""
        try:
            spec = self._folder.read_release()
            about = spec.id
            self._say(state="starting", release=about, revision=revision, error="", hint="")
            if self._live.pool is None or self._live.pool.spec != spec:
                pool = ReplicaPool(
                    spec,
                    self._launcher,
                    start_timeout=self._settings.start_timeout.total_seconds(),
                    request_timeout=self._settings.request_timeout.total_seconds(),
                )
                await pool.start()
                self._swap(pool)
        except PenstockError as error:
            log.error("release %s failed: %s", about, error)
            self._say(
                state="failed",
                release=about,
                revision=revision,
                error=error.message,
                hint=error.hint,
            )
        else:
            log.info("release %s is live", about)
            self._say(state="live", live=about)

    def _swap(self, pool: ReplicaPool) -> None:
        old, self._live.pool = self._live.pool, pool
        if old is not None:
            task = asyncio.create_task(old.drain())
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)


def settings_digest(settings: ServingSettings) -> str:
    """Names the settings that a gateway keeps for life; replicas are a matter of the release."""
    return digest_of(settings.model_dump(mode="json", exclude={"replicas"}))


def run(folder: EndpointFolder, settings: ServingSettings, ahead: Ahead | None = None) -> None:
    """Runs the gateway in this process until it is told to stop.

    Raises `ServingError` when another gateway serves this folder, or the port is in use.
    """
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
            state="starting", pid=os.getpid(), settings=settings_digest(settings)
        )
        folder.write_status(begun)
        try:
            port = bind(settings.host, settings.port)
        except ServingError as error:
            folder.write_status(
                EndpointStatus(
                    state="failed",
                    revision=folder.revision(),
                    error=error.message,
                    hint=error.hint,
                )
            )
            raise
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(folder, settings, port, ahead))


async def _serve(
    folder: EndpointFolder, settings: ServingSettings, port: socket.socket, ahead: Ahead | None
) -> None:
    await Gateway(folder, settings, port, ahead).run()


def main() -> None:
    """The entry of a detached gateway's process."""
    parser = argparse.ArgumentParser(prog="python -m penstock.serving.gateway")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--settings", type=json.loads, default={})
    parser.add_argument("--ahead", nargs="+", metavar="WORD", help="the revision seen, and modules")
    arguments = parser.parse_args()
    ahead = None
    if arguments.ahead:
        revision, *modules = arguments.ahead
        ahead = Ahead(int(revision), tuple(modules), os.getppid())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    # One thread a replica: they share the machine, and a row is too small to be worth splitting.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        run(EndpointFolder(arguments.folder), ServingSettings(**arguments.settings), ahead)
    except ServingError as error:
        raise SystemExit(f"{error.message} {error.hint}") from error


if __name__ == "__main__":
    main()
