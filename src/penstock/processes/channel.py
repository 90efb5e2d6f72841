"""Messages between two processes: JSON objects over a stream socket, a length before each."""

from __future__ import annotations

import json
import select
import socket
import struct
import threading
from typing import Any

HEADER = struct.Struct("!I")


class Channel:
    """One end of a pair. Sending is safe from several threads; receiving belongs to one."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._sending = threading.Lock()

    @classmethod
    def pair(cls) -> tuple[Channel, socket.socket]:
        """A channel for this process, and the bare end for the other."""
        ours, theirs = socket.socketpair()
        return cls(ours), theirs

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, message: dict[str, Any], pass_on: socket.socket | None = None) -> None:
        """Raises `OSError` when the other end is gone. `pass_on` travels with the message."""
        body = json.dumps(message).encode()
        with self._sending:
            self._socket.sendall(HEADER.pack(len(body)))
            if pass_on is not None:
                socket.send_fds(self._socket, [b"+"], [pass_on.fileno()])
            self._socket.sendall(body)

    def receive(self) -> dict[str, Any] | None:
        """The next message; None when the other end is closed."""
        header = self._exactly(HEADER.size)
        body = self._exactly(HEADER.unpack(header)[0]) if header else None
        return None if body is None else dict(json.loads(body))

    def receive_with_socket(self) -> tuple[dict[str, Any], socket.socket] | None:
        """The next message and the socket that was sent with it."""
        header = self._exactly(HEADER.size)
        if header is None:
            return None
        _, descriptors, _, _ = socket.recv_fds(self._socket, 1, 1)
        body = self._exactly(HEADER.unpack(header)[0])
        if body is None or not descriptors:
            return None
        return dict(json.loads(body)), socket.socket(fileno=descriptors[0])

    def has_message(self) -> bool:
        """Whether receiving would not wait."""
        return bool(select.select([self._socket], [], [], 0)[0])

    def close(self) -> None:
        self._socket.close()

    def _exactly(self, size: int) -> bytes | None:
        received = bytearray()
        while len(received) < size:
            try:
                part = self._socket.recv(size - len(received))
            except (ConnectionResetError, BrokenPipeError):
                return None
            if not part:
                return None
            received += part
        return bytes(received)
