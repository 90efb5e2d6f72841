"""What a load test shall do, checked before anything is sent; and the bytes of its requests.

A plan without a rate is a closed loop: every connection sends its next request when the last is
answered, so that the load is bounded by the endpoint itself. With a rate it is an open loop:
requests are due at fixed times, whether earlier ones are answered or not, and latency counts from
the time a request was due. Only that shows what a stall costs those who come meanwhile
("coordinated omission": Gil Tene, How NOT to Measure Latency, 2013).
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from penstock.errors import UsageError

LONGEST = timedelta(minutes=10)
MOST_CONNECTIONS = 1024
MOST_PROCESSES = 64
HIGHEST_RATE = 1_000_000.0  # requests a second
NUMBER = "{n}"  # in a header's value: the number of the request, from 0
NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a token of RFC 9110, 5.6.2
OURS = frozenset({"host", "content-length", "connection", "transfer-encoding"})


class Address(NamedTuple):
    """Where requests go to."""

    host: str
    port: int
    path: str
    tls: bool


@dataclass(frozen=True)
class LoadPlan:
    """A load test. Raises `UsageError` where it is unbounded or goes to somebody else's machine."""

    url: str
    bodies: tuple[bytes, ...]  # sent in turn
    connections: int = 32
    duration: timedelta = timedelta(seconds=10)  # no request is sent later
    requests: int | None = None  # ends earlier, when so many were sent
    rate: float | None = None  # requests a second, in an open loop; None: a closed loop
    headers: tuple[tuple[str, str], ...] = ()
    processes: int = 1
    certificate: str = ""  # PEM file that is trusted beside the system's own
    owned: bool = False  # the address may be beyond this machine

    def __post_init__(self) -> None:
        if not self.bodies:
            raise UsageError("a load test needs a body to send")
        _within("duration", self.duration, timedelta(0), LONGEST)
        _within("connections", self.connections, 0, MOST_CONNECTIONS)
        _within("processes", self.processes, 0, MOST_PROCESSES)
        if self.requests is not None and self.requests < 1:
            raise UsageError(f"requests is {self.requests}; a load test sends at least one")
        if self.rate is not None:
            _within("rate", self.rate, 0.0, HIGHEST_RATE)
        if self.processes > self.connections:
            raise UsageError(
                f"{self.processes} processes cannot share {self.connections} connections",
                hint="give every process a connection at least",
            )
        for name, value in self.headers:
            _check_header(name, value)
        check_address(self.address, owned=self.owned)

    @property
    def address(self) -> Address:
        parts = urlsplit(self.url)
        port = _port(parts)
        if parts.scheme not in ("http", "https") or not parts.hostname or port is None:
            raise UsageError(
                f"{self.url!r} is no address to send requests to",
                hint="write http://127.0.0.1:8600 or https://…",
            )
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return Address(parts.hostname, port, path, parts.scheme == "https")


def check_address(address: Address, *, owned: bool) -> None:
    """Raises `UsageError` for another machine, unless the user says that it is theirs."""
    if owned or address.host == "localhost":
        return
    try:
        loopback = ipaddress.ip_address(address.host).is_loopback
    except ValueError:  # a name, wherever it may lead
        loopback = False
    if not loopback:
        raise UsageError(
            f"{address.host} is not this machine: load is sent to 127.0.0.0/8 and ::1 only",
            hint="add --i-own-this-host if you may put load on it",
        )


def connections_of(plan: LoadPlan, part: int) -> int:
    """How many connections the process `part` holds.

    >>> plan = LoadPlan("http://localhost/", (b"{}",), connections=5, processes=2)
    >>> connections_of(plan, 0), connections_of(plan, 1)
    (3, 2)
    """
    return len(range(part, plan.connections, plan.processes))


def requests_of(plan: LoadPlan, part: int) -> int | None:
    """How many requests the process `part` may send; None: as many as there is time for.

    Processes take request numbers in turn. In an open loop, the rate says how many are due.
    """
    most = plan.requests
    if plan.rate is not None:
        due = max(1, round(plan.rate * plan.duration.total_seconds()))
        most = due if most is None else min(most, due)
    return None if most is None else len(range(part, most, plan.processes))


def requests_bytes(plan: LoadPlan) -> tuple[tuple[bytes, ...], ...]:
    """Each request, cut where its number belongs: `b"17".join(pieces)` is what is sent.

    >>> plan = LoadPlan("http://localhost/p", (b"{}",), headers=(("X-User", "u{n}"),))
    >>> b"17".join(requests_bytes(plan)[0]).split(b"\\r\\n")[4]
    b'X-User: u17'
    """
    address = plan.address
    host = f"[{address.host}]" if ":" in address.host else address.host
    given = {"Content-Type": "application/json", "User-Agent": "penstock-load"}
    replaced = {name.lower() for name, _ in plan.headers}
    kept = [(name, value) for name, value in given.items() if name.lower() not in replaced]
    lines = [f"Host: {host}:{address.port}", *(f"{n}: {v}" for n, v in [*kept, *plan.headers])]
    first = f"POST {address.path} HTTP/1.1\r\n"
    head = (first + "".join(f"{line}\r\n" for line in lines)).encode("latin-1")
    pieces = head.split(NUMBER.encode())
    return tuple(
        (*pieces[:-1], pieces[-1] + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        for body in plan.bodies
    )


def _port(parts: SplitResult) -> int | None:
    try:
        return parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return None


def _within(name: str, value: float | timedelta, low: object, high: object) -> None:
    if not low < value <= high:  # type: ignore[operator]
        raise UsageError(f"{name} is {value}; expected more than {low} and at most {high}")


def _check_header(name: str, value: str) -> None:
    if not NAME.fullmatch(name) or re.search(r"[\r\n\0]", value):
        raise UsageError(f"{name!r} is no header", hint="write --header 'NAME: VALUE'")
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        raise UsageError(f"the header {name} holds characters beyond Latin-1") from None
    if name.lower() in OURS:
        raise UsageError(f"the header {name} is set by the load generator itself")
