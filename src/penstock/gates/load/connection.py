"""One keep-alive connection to the endpoint: one request at a time, no coroutine for it."""

from __future__ import annotations

import asyncio
from time import perf_counter_ns
from typing import Any, Protocol

import httptools

SHOWN = 200  # bytes of an answer that is not 200

# What can become of a request without an answer, as the report says it.
REFUSED = "connection refused"
UNREACHED = "no connection"  # for any other reason
LOST = "connection lost"
TIMEOUT = "no answer in time"
NOT_HTTP = "not HTTP"


class Home(Protocol):
    """What a connection tells its load test."""

    def opened(self, connection: Connection) -> None: ...

    def answered(self, connection: Connection, microseconds: int, now: int) -> None:
        """With 200. Latency counts from the time that `send` was given."""

    def refused(self, connection: Connection, status: int, text: str, now: int) -> None:
        """With any other status."""

    def failed(self, kind: str, detail: str) -> None:
        """A request that will not be answered."""

    def closed(self, connection: Connection, *, failed: bool) -> None: ...


class Connection(asyncio.Protocol):
    """httptools calls the methods `on_…`, asyncio the others."""

    __slots__ = ("_body", "_failed", "_home", "_parser", "_transport", "sent", "since")

    def __init__(self, home: Home) -> None:
        self._home = home
        self._parser = httptools.HttpResponseParser(self)
        self._transport: Any = None
        self._body = b""
        self._failed = False
        self.since = 0  # perf_counter_ns that latency counts from; 0: nothing is asked
        self.sent = 0  # perf_counter_ns

    def send(self, data: bytes, since: int, now: int) -> None:
        """All bytes of one request. The one before was answered."""
        self.since = since
        self.sent = now
        self._body = b""
        self._transport.write(data)

    def give_up(self, kind: str, detail: str) -> None:
        """Ends the connection; what it was asked has failed."""
        self._failed = True
        if self.since:
            self.since = 0
            self._home.failed(kind, detail)
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    # asyncio calls the following.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._home.opened(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.give_up(NOT_HTTP, str(error))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self.since:
            self.since = 0
            self._failed = True
            self._home.failed(LOST, str(exc or "the connection was closed without an answer"))
        self._home.closed(self, failed=self._failed)

    # httptools calls the following.

    def on_body(self, body: bytes) -> None:
        if len(self._body) < SHOWN:
            self._body += body[:SHOWN]

    def on_message_complete(self) -> None:
        now = perf_counter_ns()
        status = self._parser.get_status_code()
        since = self.since
        if not since or status < 200:  # 100 Continue and its like are no answers
            return
        self.since = 0
        if not self._parser.should_keep_alive():
            self.close()
        if status == 200:
            self._home.answered(self, (now - since + 500) // 1000, now)
        else:
            self._home.refused(self, status, self._body.decode(errors="replace"), now)

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()
