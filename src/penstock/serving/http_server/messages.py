"""A request as it came, and the bytes of an answer. No IO."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final

import msgspec

JSON: Final = b"application/json"
BYTES: Final = b"application/octet-stream"
TEXT: Final = b"text/plain; charset=utf-8"

REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")

Respond = Callable[[bytes], None]


class Request:
    """One request. Header names are lower-case bytes; of a repeated header the last counts."""

    __slots__ = ("arrived", "body", "client", "headers", "method", "path", "query", "respond")

    def __init__(
        self,
        method: bytes,
        path: bytes,
        query: bytes,
        headers: Mapping[bytes, bytes],
        body: bytes,
        client: str,
        arrived: float,
        respond: Respond,
    ) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.body = body
        self.client = client  # the address of the other side
        self.arrived = arrived  # time.perf_counter() of the first byte
        self.respond = respond  # to be called once, with all bytes of the answer

    def header(self, name: bytes) -> str:
        """A header as text; empty where there is none."""
        return self.headers.get(name, b"").decode("latin-1")


class RequestError(Exception):
    """A request that cannot be answered, and the field that is to blame."""

    def __init__(self, status: int, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.field = field


def given_id(headers: Mapping[bytes, bytes]) -> str:
    """The client's own `X-Request-Id`, if it can be echoed; else empty."""
    given = headers.get(b"x-request-id", b"")
    return given.decode() if REQUEST_ID.fullmatch(given) else ""


def id_header(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    """Names a request that was refused before it had an id of its own."""
    return {"x-request-id": given_id(headers) or secrets.token_hex(12)}


def _head(status: int, kind: bytes) -> bytes:
    phrase = HTTPStatus(status).phrase.encode()
    return b"HTTP/1.1 %d %s\r\ncontent-type: %s\r\n" % (status, phrase, kind)


OK_JSON = _head(200, JSON) + b"content-length: %d\r\nx-request-id: %s\r\n\r\n"


def ok_json(body: bytes, request_id: bytes) -> bytes:
    """The most frequent answer."""
    return OK_JSON % (len(body), request_id) + body


def answer(
    status: int, body: bytes, kind: bytes = JSON, headers: Mapping[str, str] | None = None
) -> bytes:
    """All bytes of an answer."""
    more = "".join(f"{name}: {_clean(value)}\r\n" for name, value in (headers or {}).items())
    length = b"content-length: %d\r\n" % len(body)
    return _head(status, kind) + length + more.encode("latin-1", "replace") + b"\r\n" + body


def error_answer(
    status: int, message: str, field: str | None = None, headers: Mapping[str, str] | None = None
) -> bytes:
    """`{"error": …}`, as all of the gateway's protocols have it, and the field to blame."""
    return answer(status, error_body(message, field), JSON, headers)


def error_body(message: str, field: str | None = None) -> bytes:
    return msgspec.json.encode({"error": message, "field": field})


def _clean(value: str) -> str:
    return value.replace("\r", " ").replace("\n", " ")
