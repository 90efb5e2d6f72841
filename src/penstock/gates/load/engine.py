"""One process's part of a load test, from its first connection to its last answer.

Latencies are only appended while the test runs, and cut into ticks; everything that is made of
them is computed afterwards, so that the generator does not delay what it measures.
"""

from __future__ import annotations

import asyncio
import signal
import ssl
from array import array
from collections import deque
from collections.abc import Callable
from functools import partial
from time import perf_counter_ns

from penstock.errors import UsageError
from penstock.gates.load.connection import REFUSED, TIMEOUT, UNREACHED, Connection
from penstock.gates.load.pacing import Pacer
from penstock.gates.load.plan import LoadPlan, connections_of, requests_bytes, requests_of
from penstock.gates.load.tally import TICK, Counts, Seen, Tally

ANSWER_TIMEOUT = 30  # seconds; an endpoint that hangs ends the test all the same
CONNECT_TIMEOUT = 5.0
LATE = 0.05  # that a request of an open loop may be sent after the end, if it was due before
PAUSE = 0.01  # seconds after a connection failed: refused at once, it would spin
SECOND = 1_000_000_000


class Load:
    """Sends the requests of the process `part`. `wait_for_start` says when all parts begin."""

    def __init__(
        self,
        plan: LoadPlan,
        part: int = 0,
        *,
        on_tick: Callable[[Seen], None] | None = None,
        wait_for_start: Callable[[], int] = perf_counter_ns,
    ) -> None:
        self._plan = plan
        self._part = part
        self._on_tick = on_tick
        self._wait_for_start = wait_for_start
        self._requests = requests_bytes(plan)
        self._number = part  # of the next request
        self._step = plan.processes
        most = requests_of(plan, part)
        self._end_number = None if most is None else part + most * plan.processes
        self._period = SECOND / plan.rate if plan.rate else 0.0  # nanoseconds
        self._start = self._end = 0
        self._idle: deque[Connection] = deque()
        self._open: set[Connection] = set()
        self._busy = 0
        self._latencies = array("I")
        self._ticks = 0  # the present tick
        self._seen = Counts()
        self._stopped = False
        self._connecting: set[asyncio.Task[None]] = set()
        self._over: asyncio.Event
        self._tls = _trusting(plan) if plan.address.tls else None

    def stop(self) -> None:
        """Sends nothing more; what was asked is still waited for."""
        self._stopped = True
        self._finish_if_over(perf_counter_ns())

    async def run(self, *, stop_on_interrupt: bool = False) -> Tally:
        loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        if stop_on_interrupt:
            loop.add_signal_handler(signal.SIGINT, self.stop)
        missing = await self._connect_all()
        self._start = self._wait_for_start()
        lasts = self._plan.duration.total_seconds() + (LATE if self._period else 0.0)
        self._end = self._start + int(lasts * SECOND)
        ticking = loop.create_task(self._tick())
        pacer = None
        if self._period:
            every = int(self._period * self._step)
            pacer = Pacer(loop, self._start, every, self._send_what_is_due)
        try:
            self._send_what_is_due()
            for _ in range(missing):
                self._connect_again(PAUSE)
            await self._over.wait()
            seconds = self._lasted(perf_counter_ns())
        finally:
            if pacer is not None:
                pacer.stop()
            for task in (ticking, *self._connecting):
                task.cancel()
            for connection in [*self._open]:
                connection.close()
            if stop_on_interrupt:
                loop.remove_signal_handler(signal.SIGINT)
        return self._tally(seconds)

    # Which request is next, and when the end is reached.

    def _take(self, now: int) -> tuple[bytes, int] | None:
        """The next request and the time its latency counts from; None when none is due."""
        number = self._number
        if now >= self._end or number == self._end_number or self._stopped:
            return None
        since = now
        if self._period:
            since = self._start + int(number * self._period)
            if since > now:
                return None
        self._number = number + self._step
        requests = self._requests
        pieces = requests[number % len(requests)]
        return (pieces[0] if len(pieces) == 1 else (b"%d" % number).join(pieces)), since

    def _send_what_is_due(self) -> None:
        now = perf_counter_ns()
        while self._idle:
            if not self._idle[0].usable:  # the endpoint ended it; `closed` will be called
                self._idle.popleft()
            elif (request := self._take(now)) is not None:
                self._busy += 1
                self._idle.popleft().send(*request, perf_counter_ns())
            else:
                break
        self._finish_if_over(now)

    def _go_on(self, connection: Connection, now: int) -> None:
        if not connection.usable:
            self._busy -= 1  # it goes on when it is connected again
        elif (request := self._take(now)) is not None:
            connection.send(*request, now)
            return
        else:
            self._busy -= 1
            self._idle.append(connection)
        self._finish_if_over(now)

    def _sends_no_more(self, now: int) -> bool:
        return self._stopped or now >= self._end or self._number == self._end_number

    def _finish_if_over(self, now: int) -> None:
        if self._busy == 0 and self._start and self._sends_no_more(now):
            self._over.set()

    def _lasted(self, now: int) -> float:
        """Seconds; in an open loop at least the time in which what was sent was due."""
        due = (self._number - self._part) * self._period
        return max(now - self._start, due, 1) / SECOND

    # Connections call the following.

    def opened(self, connection: Connection) -> None:
        self._open.add(connection)
        self._idle.append(connection)
        if self._start:
            self._send_what_is_due()

    def answered(self, connection: Connection, microseconds: int, now: int) -> None:
        self._latencies.append(microseconds)
        self._go_on(connection, now)

    def refused(self, connection: Connection, status: int, text: str, now: int) -> None:
        self._seen.statuses[status] += 1
        self._count_error(f"{status}: {text}")
        self._go_on(connection, now)

    def failed(self, kind: str, detail: str) -> None:
        self._busy -= 1
        self._seen.failures[kind] += 1
        self._count_error(f"{kind}: {detail}")

    def closed(self, connection: Connection, *, failed: bool) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        now = perf_counter_ns()
        if self._start and not self._sends_no_more(now):
            self._connect_again(PAUSE if failed else 0.0)
        self._finish_if_over(now)

    def _count_error(self, example: str) -> None:
        self._seen.error(self._tick_number(perf_counter_ns()), example)

    # Connecting.

    async def _connect_all(self) -> int:
        """Opens the connections before the clock runs; how many of them could not be opened."""
        count = connections_of(self._plan, self._part)
        tried = await asyncio.gather(*(self._connect() for _ in range(count)))
        return sum(error is not None for error in tried)

    async def _connect(self) -> tuple[str, str] | None:
        """None, or what became of the attempt and why."""
        address = self._plan.address
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await asyncio.get_running_loop().create_connection(
                    partial(Connection, self), address.host, address.port, ssl=self._tls
                )
        except TimeoutError:
            return UNREACHED, f"none after {CONNECT_TIMEOUT:g} s"
        except ConnectionRefusedError as error:
            return REFUSED, str(error)
        except OSError as error:
            return UNREACHED, str(error)
        return None

    def _connect_again(self, pause: float) -> None:
        task = asyncio.get_running_loop().create_task(self._until_connected(pause))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _until_connected(self, pause: float) -> None:
        """A request that is due while there is no connection to send it has failed."""
        while True:
            await asyncio.sleep(pause)
            if self._sends_no_more(perf_counter_ns()):
                return
            if (error := await self._connect()) is None:
                return
            if self._take(perf_counter_ns()) is not None:
                self._busy += 1
                self.failed(*error)
                self._finish_if_over(perf_counter_ns())
            pause = PAUSE

    # Time.

    def _tick_number(self, now: int) -> int:
        return max(0, int((now - self._start) / (TICK * SECOND)))

    async def _tick(self) -> None:
        while True:
            due = self._start + (self._ticks + 1) * TICK * SECOND
            await asyncio.sleep(max(0.0, (due - perf_counter_ns()) / SECOND))
            now = perf_counter_ns()
            self._cut(now)
            for connection in [*self._open]:
                if connection.since and now - connection.sent > ANSWER_TIMEOUT * SECOND:
                    connection.give_up(TIMEOUT, f"no answer after {ANSWER_TIMEOUT} s")
            self._finish_if_over(now)
            if self._on_tick is not None:
                errors = self._seen.errors.total()
                self._on_tick(Seen((now - self._start) / SECOND, self._seen.answers, errors))

    def _cut(self, now: int) -> None:
        """Files the latencies under the tick that began last, and begins another."""
        self._seen.answers += len(self._latencies)
        self._seen.ticks.setdefault(self._ticks, array("I")).extend(self._latencies)
        self._latencies = array("I")
        self._ticks = self._tick_number(now)

    def _tally(self, seconds: float) -> Tally:
        self._cut(perf_counter_ns())
        unsent = 0
        if self._period and self._end_number is not None and not self._stopped:
            unsent = (self._end_number - self._number) // self._step
        return self._seen.tally(seconds, unsent, stopped=self._stopped)


def _trusting(plan: LoadPlan) -> ssl.SSLContext:
    """Trusts the plan's certificate, by whatever name or address its server is reached."""
    try:
        context = ssl.create_default_context()
        if plan.certificate:
            context.load_verify_locations(plan.certificate)
            context.check_hostname = False
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"the certificate {plan.certificate} cannot be read: {error}") from error
    return context
