"""The process of a gateway: what it must hold before it may serve, and how it ends.

python -m penstock.serving.main < config.json
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from typing import Any

import uvloop
from filelock import FileLock, Timeout

from penstock.errors import PenstockError, ServingError
from penstock.serving.access import require_keys
from penstock.serving.config import GatewayConfig, settings_digest
from penstock.serving.gateway import Gateway
from penstock.serving.release import EndpointFolder, EndpointStatus
from penstock.serving.sockets import bind

LOCK_TIMEOUT = 2.0  # seconds; others hold the lock for an instant, to ask whether a gateway lives
# A thread that wants CPython's lock waits so long for one that computes (5 ms is the default), and
# the loop wants it back from the log's thread a hundred times a second: measured, half of the p99.
SWITCH_INTERVAL = 0.0005  # seconds


def run(config: GatewayConfig) -> None:
    """Runs the gateway in this process until it is told to stop.

    Raises `ServingError` when another gateway serves this folder, or the port is in use;
    `SettingsError` when it would be open to the network.
    """
    require_keys(config.settings)
    if config.worker:  # the lead holds the folder
        _serve(config, _bound(config))
        return
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
            state="starting",
            pid=os.getpid(),
            settings=settings_digest(config.settings, config.trust),
        )
        folder.write_status(begun)
        try:
            port = _bound(config)
        except ServingError as error:
            said = {"state": "failed", "pid": 0, "error": error.message, "hint": error.hint}
            folder.write_status(begun.model_copy(update=said))
            raise
        _serve(config, port)


def _bound(config: GatewayConfig) -> socket.socket:
    settings = config.settings
    return bind(settings.host, settings.port, shared=settings.workers > 1)


def _serve(config: GatewayConfig, port: socket.socket) -> None:
    async def serve() -> None:
        await Gateway(config, port).run()

    sys.setswitchinterval(SWITCH_INTERVAL)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


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
