"""A TCP proxy that may stop in the middle of an answer, as a server does that is overloaded, or
break off, as one that is shut down."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self


class StallingProxy:
    """Forwards to a port of this machine until `let_through` bytes of answers have passed.

    What comes after is held back until `resume`; or, where it is to break, everybody's connection
    ends there, and new ones end at once.
    """

    def __init__(self, port: int) -> None:
        self._server = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._left: int | None = None  # bytes; none: no limit
        self._changed = threading.Condition()
        self._closed = False
        self._breaks = False
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        _end(self._listener, *self._sockets)

    def let_through(self, count: int, *, then_break: bool = False) -> None:
        with self._changed:
            self._left, self._breaks = count, then_break
            if then_break and not count:
                _end(*self._sockets)

    def resume(self) -> None:
        with self._changed:
            self._left, self._breaks = None, False
            self._changed.notify_all()

    def _start(self, work: object, *arguments: object) -> None:
        threading.Thread(target=work, args=arguments, daemon=True).start()  # type: ignore[arg-type]

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                if self._breaks and self._left == 0:
                    _end(client)
                    continue
                server = socket.create_connection(self._server)
                self._sockets += [client, server]
                self._start(self._forward, client, server)
                self._start(self._answer, server, client)

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65_536):
                server.sendall(data)

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65_536):
                while data:
                    data = data[self._pass_on(data, client) :]

    def _pass_on(self, data: bytes, client: socket.socket) -> int:
        """Sends as much as may pass now, and says how much that was."""
        with self._changed:
            if self._breaks and self._left == 0:
                _end(*self._sockets)
            while self._left == 0 and not self._closed and not self._breaks:
                self._changed.wait()
            count = len(data) if self._left is None else min(self._left, len(data))
            if self._left is not None:
                self._left -= count
        client.sendall(data[:count])
        return count


def _end(*opened: socket.socket) -> None:
    for one in opened:
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()
