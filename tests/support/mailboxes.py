"""A real mail server and a webhook on this machine, and what they were sent."""

from __future__ import annotations

import contextlib
import http.server
import json
import socket
import threading
from collections.abc import Iterator
from email.header import decode_header, make_header
from email.message import Message as Mail
from typing import Any

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
def running(port: int = 0) -> Iterator[Mailbox]:
    """On a free port, unless one is given."""
    # Not port 0: aiosmtpd 1.4 tries the port it was given, not the one it got, to see if it is up.
    box = Mailbox(port or closed_port())
    controller = Controller(box, hostname="127.0.0.1", port=box.port)
    controller.start()
    try:
        yield box
    finally:
        controller.stop()


def closed_port() -> int:
    """Where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def subject(message: Mail) -> str:
    return str(make_header(decode_header(message["Subject"])))


def text(message: Mail) -> str:
    part = next(p for p in message.walk() if p.get_content_type() == "text/plain")
    return bytes(part.get_payload(decode=True)).decode()


class Hook(http.server.BaseHTTPRequestHandler):
    received: list[dict[str, Any]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.received.append(json.loads(body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def web_hook() -> Iterator[tuple[list[dict[str, Any]], str]]:
    """The JSON that is posted to it, and its host and port."""
    received: list[dict[str, Any]] = []
    handler = type("Hook", (Hook,), {"received": received})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield received, f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
