"""A client's connection, byte by byte: what is handled, what is answered, and in which order.

The transport is a list of bytes; nothing listens, and time is told.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.serving.http_server.connection import (
    MAX_AHEAD,
    MAX_HEADERS,
    PATIENCE,
    Connection,
    Limits,
    Server,
)
from penstock.serving.http_server.messages import Request, answer, given_id, ok_json

LIMIT = 1_000  # bytes of a body
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Transport:
    """As much of asyncio's as a connection may use; refuses what asyncio's refuse."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = self.ended = False
        self.reading = True

    def get_extra_info(self, name: str) -> Any:
        return ("192.0.2.7", 4711) if name == "peername" else None

    def write(self, data: bytes) -> None:
        if self.ended:
            raise RuntimeError("Cannot call write() after write_eof()")
        if not self.closed:
            self.written.append(data)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """One connection, and the requests that reached the handler."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, at_once: bool = True) -> None:
        self._loop = loop
        self.requests: list[Request] = []
        self.at_once = at_once
        self.server = Server(self._handle, Limits(LIMIT, read_timeout=30.0, keep_alive=75.0))
        self.transport = Transport()
        self.connection = Connection(self.server)
        self.connection.connection_made(self.transport)  # type: ignore[arg-type]

    def _handle(self, request: Request) -> None:
        self.requests.append(request)
        if self.at_once:
            self._answer(request)

    def _answer(self, request: Request) -> None:
        request.respond(ok_json(b'{"path":"%s"}' % request.path, b"id"))

    def turn(self, *calls: Callable[[], object]) -> None:
        """Calls within the loop, and then lets it run what is due."""

        async def run() -> None:
            for call in calls:
                call()
            written = -1
            while written < len(self.transport.written):
                written = len(self.transport.written)
                await asyncio.sleep(0)
                await asyncio.sleep(0)

        self._loop.run_until_complete(run())

    def send(self, *parts: bytes) -> None:
        def arrive(part: bytes) -> None:
            if not self.transport.closed:
                self.connection.data_received(part)

        self.turn(*(partial(arrive, part) for part in parts))

    def answer(self, place: int) -> None:
        self.turn(partial(self._answer, self.requests[place]))

    def check(self, now: float) -> None:
        self.turn(partial(self.connection.check, now))

    @property
    def raw(self) -> bytes:
        return b"".join(self.transport.written)

    @property
    def answers(self) -> list[Answer]:
        """What a client makes of the bytes; interim answers are left out."""
        found, rest = [], self.raw
        while rest:
            head, _, rest = rest.partition(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")
            status = int(first.split()[1])
            if status == 100:
                continue
            headers = dict(line.split(": ", 1) for line in lines)
            size = int(headers["content-length"])
            found.append(Answer(status, headers, rest[:size]))
            rest = rest[size:]
        return found

    @property
    def statuses(self) -> list[int]:
        return [one.status for one in self.answers]


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


@pytest.fixture
def client(loop: asyncio.AbstractEventLoop) -> Client:
    return Client(loop)


@pytest.fixture
def slow(loop: asyncio.AbstractEventLoop) -> Client:
    """Its handler keeps requests; the test answers them."""
    return Client(loop, at_once=False)


def post(path: str, body: bytes = b"", *headers: str, version: str = "1.1") -> bytes:
    lines = [f"POST {path} HTTP/{version}", "Host: x", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def chunked(path: str, *chunks: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return head + body + b"0\r\n\r\n"


GET = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


# What is understood


def test_a_request_reaches_the_handler_whole(client: Client) -> None:
    client.send(post("/predict?a=1&b=?", b"{}", "X-User: Zo\xeb", "CONTENT-type: a/b"))

    (request,) = client.requests
    assert (request.method, request.path, request.query) == (b"POST", b"/predict", b"a=1&b=?")
    assert request.body == b"{}"
    assert request.client == "192.0.2.7"
    assert request.header(b"content-type") == "a/b"
    assert request.header(b"x-user") == "Zo\xeb"
    assert request.header(b"absent") == ""
    assert client.statuses == [200]
    assert not client.transport.closed


def test_a_chunked_body_is_put_together(client: Client) -> None:
    client.send(chunked("/predict", b"{", b'"rows": []', b"}"))
    assert client.requests[0].body == b'{"rows": []}'


def test_chunks_may_have_extensions_and_trailers(client: Client) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    client.send(head + b'2;name="v"\r\n{}\r\n0\r\nX-After: 1\r\n\r\n' + GET)
    assert [request.body for request in client.requests] == [b"{}", b""]
    assert client.statuses == [200, 200]


MANY = [
    post("/a", b'{"rows": [1]}', "X-Request-Id: 17"),
    GET,
    chunked("/b", b"one", b"two"),
    post("/c", b"x" * 300),
    b"GET /d?x=1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    post("/e", b"{}", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c"),
    post("/f", b""),
]


def seen(client: Client) -> list[tuple[bytes, bytes, bytes, bytes]]:
    return [
        (r.method, r.path, r.body, r.headers.get(b"x-request-id", b"")) for r in client.requests
    ]


EXPECTED = [
    (b"POST", b"/a", b'{"rows": [1]}', b"17"),
    (b"GET", b"/health", b"", b""),
    (b"POST", b"/b", b"onetwo", b""),
    (b"POST", b"/c", b"x" * 300, b""),
    (b"GET", b"/d", b"", b""),
    (b"POST", b"/e", b"{}", b""),
    (b"POST", b"/f", b"", b""),
]


def test_bytes_may_come_one_by_one(client: Client) -> None:
    whole = b"".join(MANY)
    client.send(*(whole[place : place + 1] for place in range(len(whole))))
    assert seen(client) == EXPECTED
    assert client.statuses == [200] * len(MANY)


def test_a_split_at_every_byte_gives_the_same_requests(loop: asyncio.AbstractEventLoop) -> None:
    whole = b"".join(MANY)
    for place in range(len(whole) + 1):
        client = Client(loop)
        client.send(whole[:place], whole[place:])
        assert seen(client) == EXPECTED, place


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(range(len(MANY))), max_size=6),
    st.lists(st.integers(1, 200), max_size=30),
    st.booleans(),
)
def test_any_split_of_the_same_bytes_gives_the_same_requests(
    chosen: list[int], sizes: list[int], at_once: bool
) -> None:
    loop = asyncio.new_event_loop()
    try:
        client = Client(loop, at_once=at_once)
        rest = b"".join(MANY[place] for place in chosen)
        parts = []
        for size in [*sizes, len(rest)]:
            parts.append(rest[:size])
            rest = rest[size:]
        client.send(*filter(None, parts))
        answered = 0
        while not at_once and answered < len(client.requests):
            client.answer(answered)
            answered += 1
        assert seen(client) == [EXPECTED[place] for place in chosen]
        assert client.statuses == [200] * len(chosen)
    finally:
        loop.close()


# The order of answers


def test_requests_sent_ahead_are_answered_in_order(client: Client) -> None:
    client.send(*(post(f"/{number}") for number in range(20)))
    bodies = [one.body for one in client.answers]
    assert bodies == [b'{"path":"/%d"}' % number for number in range(20)]


def test_one_request_at_a_time_is_handled(slow: Client) -> None:
    slow.send(b"".join(post(f"/{number}") for number in range(3)))

    for number in range(3):
        assert len(slow.requests) == number + 1
        assert slow.statuses == [200] * number
        slow.answer(number)

    assert [one.body for one in slow.answers] == [b'{"path":"/%d"}' % n for n in range(3)]


def test_who_sends_far_ahead_is_not_read_until_answers_are_out(slow: Client) -> None:
    slow.send(b"".join(post(f"/{number}") for number in range(MAX_AHEAD + 10)))
    assert not slow.transport.reading

    answered = 0
    while answered < len(slow.requests):
        slow.answer(answered)
        answered += 1
        slow.turn()

    assert slow.transport.reading
    assert slow.statuses == [200] * (MAX_AHEAD + 10)


def test_who_does_not_read_its_answers_is_asked_to_no_end(client: Client) -> None:
    """Answers that nobody takes would fill the memory."""
    client.send(GET)
    client.turn(client.connection.pause_writing)
    client.send(*[GET] * 10)
    waiting = len(client.requests)
    assert waiting < 11
    assert not client.transport.reading
    client.turn(client.connection.resume_writing)
    assert client.statuses == [200] * 11
    assert client.transport.reading


def test_who_never_reads_its_answers_is_left(client: Client) -> None:
    client.send(GET)
    client.turn(client.connection.pause_writing)
    client.check(time.perf_counter() + 1_000)
    assert client.transport.closed


def test_an_answer_after_the_client_left_is_dropped(slow: Client) -> None:
    slow.send(post("/a") + post("/b"))
    slow.connection.connection_lost(None)
    slow.answer(0)
    assert slow.raw == b""
    assert len(slow.requests) == 1
    assert slow.server.connections == set()


def test_an_answer_to_head_has_no_body(client: Client) -> None:
    """RFC 9110, 9.3.2. A body would be taken for the next answer."""
    client.send(b"HEAD /health HTTP/1.1\r\nHost: x\r\n\r\n")
    head, _, body = client.raw.partition(b"\r\n\r\n")
    assert b"content-length: 18" in head
    assert body == b""
    client.send(GET)
    assert client.raw.endswith(b'\r\n\r\n{"path":"/health"}')


@pytest.mark.parametrize("answered", [False, True])
def test_a_handler_that_fails_leaves_no_client_waiting(
    client: Client, caplog: pytest.LogCaptureFixture, answered: bool
) -> None:
    def fail(request: Request) -> None:
        if answered:
            request.respond(ok_json(b"{}", b"id"))
        raise OverflowError("of nobody's concern")

    client.server.handler = fail
    client.send(post("/a"))
    assert client.statuses == [200 if answered else 500]
    assert client.transport.closed is not answered
    assert b"concern" not in client.raw
    assert "of nobody's concern" in caplog.text


# Keeping connections


@pytest.mark.parametrize(
    ("request_", "kept"),
    [
        pytest.param(GET, True, id="1.1"),
        pytest.param(
            b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", False, id="1.1 close"
        ),
        pytest.param(b"GET / HTTP/1.0\r\n\r\n", False, id="1.0"),
        pytest.param(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", True, id="1.0 keep"),
    ],
)
def test_who_wants_the_connection_kept_keeps_it(
    client: Client, request_: bytes, kept: bool
) -> None:
    client.send(request_)
    assert client.statuses == [200]
    assert client.transport.closed is not kept
    assert (client.answers[0].headers.get("connection") == "close") is not kept


def test_what_comes_after_the_last_request_is_not_answered(client: Client) -> None:
    client.send(b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" + GET)
    assert client.statuses == [200]
    assert client.transport.closed


def test_a_server_that_ends_says_so_with_each_answer(slow: Client) -> None:
    slow.send(GET)
    slow.server.closing = True
    slow.answer(0)
    assert slow.answers[0].headers["connection"] == "close"
    assert slow.transport.closed


# Expectations and upgrades


def test_who_waits_to_send_its_body_is_asked_for_it(client: Client) -> None:
    whole = post("/predict", b"{}", "Expect: 100-continue")
    client.send(whole[:-2])
    assert client.raw == CONTINUE
    client.send(b"{}")
    assert client.requests[0].body == b"{}"
    assert client.statuses == [200]


def test_a_body_that_is_too_large_is_not_asked_for(client: Client) -> None:
    head = post("/predict", b"", "Expect: 100-continue").replace(b": 0", b": 999999999")
    client.send(head)
    assert client.statuses == [413]
    assert CONTINUE not in client.raw


@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_other_protocols_are_not_taken_up(client: Client, method: bytes) -> None:
    head = b" / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    client.send(method + head + b"Content-Length: 2\r\n\r\n{}" + GET)
    assert [request.path for request in client.requests] == [b"/", b"/health"]
    assert client.requests[0].body == b"{}"
    assert client.statuses == [200, 200]


def test_any_number_of_upgrades_may_come_at_once(client: Client) -> None:
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: a\r\n\r\n" * 3_000)
    assert client.statuses == [200] * 3_000


# Refusals


def refused(client: Client, status: int) -> Answer:
    """The last answer, after which nothing is understood any more."""
    last = client.answers[-1]
    assert last.status == status
    assert last.headers["connection"] == "close"
    assert last.headers["x-request-id"]
    assert b'"error"' in last.body
    before = len(client.requests)
    client.send(GET)
    assert len(client.requests) == before
    return last


@pytest.mark.parametrize(
    "garbage",
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(50), id="TLS"),
        pytest.param(b"hello\r\n\r\n", id="a word"),
        pytest.param(b"\x00" * 100, id="zeros"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="HTTP/2"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", id="a header without colon"),
        pytest.param(b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", id="a space before the colon"),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}\r\n",
            id="two lengths",
        ),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n"
            b"\r\n0\r\n\r\n",
            id="a length and chunks",
        ),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", id="a negative length"
        ),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %s\r\n\r\n" % (b"9" * 5_000),
            id="a length of 5,000 digits",
        ),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
            id="a chunk without size",
        ),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
            id="chunked is not last",
        ),
    ],
)
def test_what_is_not_http_is_refused(client: Client, garbage: bytes) -> None:
    client.send(garbage)
    refused(client, 400)
    assert client.requests == []


@settings(max_examples=150, deadline=None)
@given(st.lists(st.binary(max_size=60) | st.sampled_from([GET, b"POST /", b" HTTP/1.1\r\n"])))
def test_no_bytes_upset_a_connection(parts: Sequence[bytes]) -> None:
    loop = asyncio.new_event_loop()
    try:
        client = Client(loop)
        client.send(*parts)
        assert set(client.statuses) <= {200, 400, 431}
        client.connection.connection_lost(None)
    finally:
        loop.close()


def test_garbage_after_a_good_request_costs_it_nothing(slow: Client) -> None:
    slow.send(post("/a"), post("/b"), b"\x00garbage\r\n\r\n")
    for place in range(2):
        slow.answer(place)
    assert slow.statuses == [200, 200, 400]
    assert slow.transport.ended or slow.transport.closed


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(
            b"GET / HTTP/1.1\r\nHost: x\r\nX-Large: %s\r\n\r\n" % (b"x" * MAX_HEADERS), id="one"
        ),
        pytest.param(
            b"GET / HTTP/1.1\r\nHost: x\r\n%s\r\n" % (b"X-Small: 1234567890\r\n" * 2_500), id="many"
        ),
        pytest.param(b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n" % (b"x" * MAX_HEADERS), id="the URL"),
    ],
)
def test_headers_that_are_too_large_are_refused(client: Client, head: bytes) -> None:
    client.send(head)
    refused(client, 431)
    assert client.requests == []


def test_headers_that_never_end_are_refused(client: Client) -> None:
    """A header that is not whole is not kept for ever."""
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\nX-Endless: ")
    for _ in range(40):
        client.send(b"x" * 1_000)
    refused(client, 431)


def test_trailers_that_never_end_are_refused(client: Client) -> None:
    client.send(chunked("/", b"{}")[:-2])
    client.send(*[b"X-Trailer: 1234567890123456789012345678901234567890\r\n"] * 1_000)
    refused(client, 431)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda size: post("/predict", b"x" * size), id="declared"),
        pytest.param(
            lambda size: chunked("/predict", *[b"x" * 100] * (size // 100), b"y"), id="chunked"
        ),
    ],
)
def test_a_body_that_is_too_large_is_refused_and_the_next_answered(
    client: Client, make: Callable[[int], bytes]
) -> None:
    client.send(make(3 * LIMIT), GET)
    assert client.statuses == [413, 200]
    assert f"more than {LIMIT} bytes" in client.answers[0].body.decode()
    assert [request.path for request in client.requests] == [b"/health"]
    assert not client.transport.closed


def test_a_body_of_just_the_limit_is_taken(client: Client) -> None:
    client.send(post("/predict", b"x" * LIMIT), chunked("/predict", b"x" * LIMIT))
    assert [len(request.body) for request in client.requests] == [LIMIT, LIMIT]


def test_a_far_too_large_body_is_not_read(client: Client) -> None:
    client.send(post("/predict", b"", "X-Request-Id: 17").replace(b"h: 0", b"h: 99999999"))
    assert refused(client, 413).headers["x-request-id"] == "17"


def test_chunks_without_end_are_not_read(client: Client) -> None:
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(PATIENCE + 2):
        client.send(b"%x\r\n%s\r\n" % (LIMIT, b"x" * LIMIT))
    refused(client, 413)
    assert client.requests == []


# Time


def test_a_request_that_does_not_arrive_whole_is_given_up(client: Client) -> None:
    now = time.perf_counter()
    client.send(post("/predict", b"{}")[:-1])
    client.check(now + 29)
    assert client.statuses == []
    client.check(now + 31)
    assert "not whole after 30 s" in refused(client, 408).body.decode()
    assert client.server.timed_out == 1


def test_a_byte_now_and_then_gains_no_time(client: Client) -> None:
    now = time.perf_counter()
    client.send(*(bytes([byte]) for byte in b"POST /predict HTTP/1.1\r\n"))
    client.check(now + 20)
    client.send(b"Host: x\r\n")
    client.check(now + 31)
    refused(client, 408)


def test_a_head_that_does_not_end_is_given_up_too(client: Client) -> None:
    now = time.perf_counter()
    client.send(b"P")
    client.check(now + 31)
    refused(client, 408)


def test_a_request_in_work_is_not_idle(slow: Client) -> None:
    now = time.perf_counter()
    slow.send(GET)
    slow.check(now + 1_000)
    assert not slow.transport.closed
    slow.answer(0)
    assert slow.statuses == [200]


def test_an_idle_connection_is_ended_without_a_word(client: Client) -> None:
    now = time.perf_counter()
    client.check(now + 74)
    assert not client.transport.closed
    client.check(now + 76)
    assert client.transport.closed
    assert client.raw == b""


def test_the_sweep_looks_at_every_connection(client: Client) -> None:
    client.server.closing = True
    client.turn(client.server.sweep)
    assert client.transport.closed


# Answers


def test_a_header_cannot_smuggle_another() -> None:
    made = answer(200, b"{}", headers={"x-request-id": "a\r\nset-cookie: b"})
    assert b"\r\nset-cookie" not in made


@pytest.mark.parametrize(
    ("given_", "echoed"),
    [
        (b"order-17", "order-17"),
        (b"", ""),
        (b"a b", ""),
        (b"x" * 128, "x" * 128),
        (b"x" * 129, ""),
        (b"Zo\xeb", ""),
        (b"a\tb", ""),
    ],
)
def test_only_plain_request_ids_are_echoed(given_: bytes, echoed: str) -> None:
    assert given_id({b"x-request-id": given_}) == echoed
