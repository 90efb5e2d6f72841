"""The HTTP listener: uvicorn, with an end that loses no request."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette

from penstock.errors import ServingError

KEEP_ALIVE = 75  # seconds that an idle connection is kept
GOODBYE = 1.0  # seconds in which kept connections are told, with an answer, that they end
TICK = 0.02


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes any free one. Raises `ServingError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ServingError(
                f"port {port} is in use by another process",
                hint="stop that process, or set [serving] port or PENSTOCK_SERVING_PORT",
            ) from error
        raise ServingError(
            f"cannot listen on {host}:{port}: {error.strerror}",
            hint="set [serving] host and port",
        ) from error
    return listener


def url_of(listener: socket.socket) -> str:
    """Where this machine reaches the socket."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Listener(uvicorn.Server):
    """Ends when `should_exit` is set; signals are the gateway's affair."""

    def __init__(self, app: Starlette) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http="httptools",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """uvicorn closes kept connections at once; a request just sent on one would be lost.

        First every answer says `Connection: close`, so that busy clients leave by themselves.
        """
        for server in self.servers:
            server.close()
        self.server_state.default_headers = [
            *self.server_state.default_headers,
            (b"connection", b"close"),
        ]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE):
                while self.server_state.connections:
                    await asyncio.sleep(TICK)
        await super().shutdown(sockets)
