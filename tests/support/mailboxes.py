"""A real mail server on this machine, and what it was sent."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from email.message import Message as Mail

from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message


class Mailbox(Message):
    """Keeps what arrives, the earliest first."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.port = port
        self.mails: list[Mail] = []

    def handle_message(self, message: Mail) -> None:
        self.mails.append(message)


@contextlib.contextmanager
def running() -> Iterator[Mailbox]:
    """On a free port."""
    # Not port 0: aiosmtpd 1.4 tries the port it was given, not the one it got, to see if it is up.
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        box = Mailbox(probe.getsockname()[1])
    controller = Controller(box, hostname="127.0.0.1", port=box.port)
    controller.start()
    try:
        yield box
    finally:
        controller.stop()
