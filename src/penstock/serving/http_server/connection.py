"""One client's connection: parsed by httptools, answered in the order of its requests.

No coroutine runs for a request: the handler is called when the last byte is there, and calls
`respond` when it has the answer. Of requests that a client sends ahead of answers, one at a time is
handled.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import httptools

from penstock.serving.http_server.messages import Request, error_answer, id_header

log = logging.getLogger(__name__)

MAX_HEADERS = 32 * 1024  # bytes of all headers of a request
MAX_AHEAD = 64  # requests that a client may send ahead of their answers
PATIENCE = 8  # times the limit of a body that is read and thrown away, so that the answer is seen
LINGER = 2.0  # seconds in which a refused client's bytes are thrown away: it sees why, not a reset
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

Handler = Callable[[Request], None]


@dataclass
class Limits:
    """What a connection may cost."""

    max_body: int  # bytes
    read_timeout: float = 30.0  # seconds for a whole request, from its first byte
    keep_alive: float = 75.0  # seconds that an idle connection is kept


@dataclass
class Server:
    """What all connections share."""

    handler: Handler
    limits: Limits
    connections: set[Connection] = field(default_factory=set)
    closing: bool = False  # every answer says `Connection: close`
    timed_out: int = 0  # requests that did not arrive whole in time

    def sweep(self) -> None:
        """Ends connections that are idle or too slow. To be called about once a second."""
        now = time.perf_counter()
        for connection in [*self.connections]:
            connection.check(now)


class Connection(asyncio.Protocol):
    """httptools calls the methods `on_…`, asyncio the others."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._transport: Any = None
        self._parser = httptools.HttpRequestParser(self)
        self._client = ""
        self._waiting: deque[tuple[Request, bool]] = deque()
        self._busy = False  # a request is being answered
        self._last = False  # the connection ends after the next answer
        self._since = time.perf_counter()  # of the request that arrives, or of idleness
        self._arriving = False
        self._lingers = False  # refused: what still comes is thrown away
        self._blocked = False  # the client does not read its answers
        self._bodiless = False  # the next answer is one to HEAD
        self._unseen = 0  # bytes since the parser last gave something
        self._declines = False  # an offer to speak another protocol, beside a body
        self._clear()

    def _clear(self) -> None:
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._header_size = 0
        self._body: list[bytes] = []
        self._size = 0
        self._refused: tuple[int, str] | None = None

    @property
    def idle(self) -> bool:
        return not self._busy and not self._waiting and not self._arriving

    # asyncio calls the following.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        address = transport.get_extra_info("peername")
        self._client = str(address[0]) if isinstance(address, tuple) else ""
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        self._waiting.clear()
        self._transport = None

    def data_received(self, data: bytes) -> None:
        while data and not self._lingers:
            data = self._parsed(data)

    def _parsed(self, data: bytes) -> bytes:
        """What is left to be parsed anew."""
        self._unseen += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return self._declined(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            cause = error.__context__
            message = str(cause) if isinstance(cause, _Refusal) else "this is not HTTP/1.1"
            self._end_with(cause.status if isinstance(cause, _Refusal) else 400, message)
        else:
            if self._unseen > MAX_HEADERS:  # the parser keeps a header until it is whole
                self._end_with(431, f"the headers have more than {MAX_HEADERS} bytes")
        return b""

    def _declined(self, rest: bytes) -> bytes:
        """What it would rather speak is ignored (RFC 9110, 7.8): its request is handled.

        httptools takes the body that came with the offer, as Java's client sends it, for bytes of
        the other protocol. So the request is read again without the offer.
        """
        first = b"%s %s HTTP/1.1\r\n" % (self._parser.get_method(), self._url)
        self._parser = httptools.HttpRequestParser(self)
        if not self._declines:
            return rest
        kept = (header for header in self._headers.items() if header[0] != b"upgrade")
        return first + b"".join(b"%s: %s\r\n" % header for header in kept) + b"\r\n" + rest

    def pause_writing(self) -> None:
        """No more is asked for by who does not read: the answers would fill the memory."""
        self._blocked = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._blocked = False
        self._transport.resume_reading()
        self._next()

    # httptools calls the following.

    def on_message_begin(self) -> None:
        self._since = time.perf_counter()
        self._arriving = True
        self._clear()

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._count_header(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._unseen = 0
        self._headers[name.lower()] = value
        self._count_header(len(name) + len(value))

    def on_headers_complete(self) -> None:
        limit = self._server.limits.max_body
        length = self._headers.get(b"content-length", b"0")
        self._declines = (
            self._parser.should_upgrade()
            and self._parser.get_method() != b"CONNECT"
            and (length != b"0" or b"transfer-encoding" in self._headers)
        )
        if length.isdigit() and int(length) > limit:
            self._refused = (413, f"the body has more than {limit} bytes")
            if int(length) > PATIENCE * limit:
                raise _Refusal(*self._refused)
        if self._declines or self._refused:
            return
        if self._headers.get(b"expect", b"").lower() == b"100-continue":
            self._transport.write(CONTINUE)

    def on_body(self, body: bytes) -> None:
        self._unseen = 0
        self._size += len(body)
        limit = self._server.limits.max_body
        if self._size > limit:
            self._refused = (413, f"the body has more than {limit} bytes")
            self._body.clear()
            if self._size > PATIENCE * limit:
                raise _Refusal(*self._refused)
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        self._unseen = 0
        if self._declines:
            return  # it is read again
        self._arriving = False
        path, _, query = self._url.partition(b"?")
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        request = Request(
            self._parser.get_method(),
            path,
            query,
            self._headers,
            body,
            self._client,
            self._since,
            self._respond,
        )
        if self._refused:
            refusal = error_answer(*self._refused, headers=id_header(self._headers))
            request = _Refused(request, refusal)
        self._waiting.append((request, self._parser.should_keep_alive()))
        if len(self._waiting) > MAX_AHEAD:
            self._transport.pause_reading()
        if not self._busy:
            self._next()

    # The order of answers.

    def _next(self) -> None:
        while self._waiting and not (self._busy or self._blocked) and self._transport is not None:
            request, keep = self._waiting.popleft()
            if len(self._waiting) == MAX_AHEAD // 2:
                self._transport.resume_reading()
            self._busy = True
            self._bodiless = request.method == b"HEAD"
            self._last = not keep or self._server.closing
            if isinstance(request, _Refused):
                self._respond(request.refusal)
            else:
                self._handle(request)

    def _handle(self, request: Request) -> None:
        try:
            self._server.handler(request)
        except Exception:  # a client must not wait for an answer that will not come
            log.exception("%r could not be handled", request.path)
            if self._busy:
                self._last = True  # what may still be answered must not seem another's answer
                headers = id_header(request.headers)
                self._respond(
                    error_answer(500, "the gateway failed on this request", None, headers)
                )

    def _respond(self, data: bytes) -> None:
        if self._transport is None:
            return  # the client is gone
        self._busy = False
        self._since = time.perf_counter()
        if self._bodiless:  # RFC 9110, 9.3.2
            data = data[: data.index(b"\r\n\r\n") + 4]
        if self._last or self._server.closing:
            self._transport.write(data.replace(b"\r\n", b"\r\nconnection: close\r\n", 1))
            self._transport.close()
        else:
            self._transport.write(data)
            if self._waiting:
                asyncio.get_running_loop().call_soon(self._next)

    # Limits.

    def _count_header(self, size: int) -> None:
        self._header_size += size
        if self._header_size > MAX_HEADERS:
            raise _Refusal(431, f"the headers have more than {MAX_HEADERS} bytes")

    def check(self, now: float) -> None:
        """Ends the connection if it takes too long to send a request, or sends none."""
        limits = self._server.limits
        if self._blocked and not self._busy and now - self._since > limits.read_timeout:
            self._server.timed_out += 1
            self._transport.abort()
        elif self._arriving and now - self._since > limits.read_timeout:
            self._server.timed_out += 1
            self._end_with(408, f"the request was not whole after {limits.read_timeout:g} s")
        elif self.idle and (self._server.closing or now - self._since > limits.keep_alive):
            self.close()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _end_with(self, status: int, message: str) -> None:
        """Refuses what cannot be read any further."""
        if self._transport is None:
            return
        self._lingers, self._arriving = True, False
        headers = id_header(self._headers)
        if self._busy or self._waiting:  # in its turn, after what was asked before
            nothing = Request(b"", b"", b"", {}, b"", self._client, self._since, self._respond)
            refusal = error_answer(status, message, headers=headers)
            self._waiting.append((_Refused(nothing, refusal), False))
            return
        headers["connection"] = "close"
        self._transport.write(error_answer(status, message, headers=headers))
        if self._transport.can_write_eof():
            self._transport.write_eof()
        asyncio.get_running_loop().call_later(LINGER, self.close)


class _Refusal(Exception):
    """Raised inside the parser, which ends there."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Refused(Request):
    """A request that is answered without being handled."""

    __slots__ = ("refusal",)

    def __init__(self, request: Request, refusal: bytes) -> None:
        for name in Request.__slots__:
            setattr(self, name, getattr(request, name))
        self.refusal = refusal


def protocol(server: Server) -> Callable[[], asyncio.Protocol]:
    return lambda: cast("asyncio.Protocol", Connection(server))
