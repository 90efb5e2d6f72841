"""The way of a request: routed, understood, asked, answered, logged, mirrored. No coroutine.

handle ─▶ route ─▶ parse ─▶ pool.ask ─▶ finish ─▶ log ─▶ respond ─▶ mirror
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Any

from penstock.serving.access import PIN, Access
from penstock.serving.http_server.messages import Request, RequestError, given_id
from penstock.serving.live import Live, LiveRelease
from penstock.serving.observations.pairs import Answer, Pair
from penstock.serving.observations.writer import Observer
from penstock.serving.prediction_ids import Tokens, written
from penstock.serving.prediction_log.rows import ALONE, GIVEN, Row
from penstock.serving.prediction_log.writer import LogWriter
from penstock.serving.protocols.asked import Asked, Context, Protocol
from penstock.serving.replicas.frames import (
    COLUMNS,
    MATRIX,
    POSITIVE,
    Answered,
    Frame,
    FrameError,
    decode_answer,
)
from penstock.serving.replicas.pool import Failure
from penstock.serving.routing.buckets import hash_of
from penstock.serving.routing.routes import Route
from penstock.serving.routing.table import CHAMPION, PINNED, SHADOW
from penstock.serving.tracing import Tracing
from penstock.state.first_events import EXPOSED

PIN_HEADER = b"x-penstock-release"
WITHOUT_STAND_IN = (CHAMPION, PINNED)  # arms whose requests no other release answers
NOWHERE = Route("", "", "", "")
ERRORS = {500: "model", 503: "features", 504: "timeout"}  # what a replica's status means


@dataclass
class Mirrored:
    """Copies that were made, and those that were not since too many were on their way."""

    sent: int = 0
    dropped: int = 0


class Dispatcher:
    """Everything a request needs. One for each gateway process."""

    def __init__(
        self,
        live: Live,
        access: Access,
        log: LogWriter,
        observer: Observer,
        *,
        ack_after_log: bool,
        mirror_open: int,
        patience: float,
        tracing: Tracing | None = None,
    ) -> None:
        self.live = live
        self.log = log
        self.observer = observer
        self.mirrored = Mirrored()
        self.ack_after_log = ack_after_log
        self.patience = patience  # seconds that an answer may wait for its row
        self.tracing = tracing
        self._access = access
        self._mirror_open = mirror_open
        self._tokens = Tokens()

    def handle(self, request: Request, protocol: Protocol, named: str = "") -> None:
        """Answers a prediction request. `named` is a release that its path asks for."""
        exchange = Exchange(self, request, protocol, self._tokens.next(self.live.salt_tag))
        try:
            exchange.begin(named)
        except RequestError as error:
            exchange.refuse(error.status, "request", error.message, error.field)

    def route(self, request: Request, named: str, token: str) -> tuple[Route, str]:
        """Where a request goes, and what its answer counts for: see `Row.counts_for`.

        `token` is its unit where it names none. Raises `RequestError` when nothing is live, or not
        what was asked for.
        """
        router = self.live.router
        if router is None or self.live.units is None:
            raise RequestError(503, "no release is live")
        wanted = named or request.header(PIN_HEADER)
        if wanted:
            pinned = router.pinned(wanted)
            # To name the version that answers everybody is to ask for nothing.
            if not named or (pinned is not None and pinned.release != router.table.champion):
                self._access.caller(request, PIN)
            if pinned is None:
                raise RequestError(404, f"no release {wanted!r} is live here")
            return pinned, ""
        now = time.time()
        unit = self.live.units.read(request)
        if not unit:
            return router.route(token, now), ALONE
        route = router.route(unit, now)
        if self.live.tracked and route.epoch:
            self._expose(route, unit, now)
        return route, GIVEN

    def _expose(self, route: Route, unit: str, now: float) -> None:
        """Records the first request of a unit."""
        first = self.observer.first_events
        if not first.knows(route.epoch, EXPOSED, route.unit):
            lasting = f"{hash_of(self.live.endpoint, unit):016x}"
            first.note(route.epoch, EXPOSED, route.unit, route.arm, int(now), lasting)

    def mirror(self, exchange: Exchange) -> None:
        """Asks the shadow the same, after the answer has left. Nobody waits for it."""
        release = self.live.releases.get(exchange.route.mirror)
        if release is None:
            return
        if release.pool.open >= self._mirror_open:
            self.mirrored.dropped += 1
            epoch = exchange.route.epoch
            self.observer.paired(Pair(release.spec.id, epoch, dropped=True))
            return
        self.mirrored.sent += 1
        Shadow(self, exchange, release).begin()


class Exchange:
    """One request, from its arrival to its answer."""

    __slots__ = (
        "_home",
        "answered",
        "asked",
        "at_ns",
        "counts_for",
        "ended",
        "given_id",
        "parsed",
        "prediction_id",
        "protocol",
        "release",
        "request",
        "route",
        "token",
    )  # fmt: skip

    def __init__(self, home: Dispatcher, request: Request, protocol: Protocol, token: str) -> None:
        self._home = home
        self.request = request
        self.protocol = protocol
        self.token = token
        self.prediction_id = written("", token)  # until its unit is known
        self.at_ns = time.time_ns()
        self.route = NOWHERE
        self.release: LiveRelease | None = None
        self.asked: Asked | None = None
        self.answered: Answered | None = None
        self.parsed = self.ended = request.arrived
        self.counts_for = ""
        self.given_id = given_id(request.headers)

    @property
    def context_id(self) -> str:
        """What the request is called: as the client says, or as the prediction."""
        return self.given_id or self.prediction_id

    def begin(self, named: str) -> None:
        """Routes, understands and asks. Raises `RequestError`."""
        home = self._home
        if not home.log.healthy:
            raise RequestError(503, "predictions cannot be logged at the moment")
        self.route, self.counts_for = home.route(self.request, named, self.token)
        self.prediction_id = written(self.route.unit, self.token)
        self._ask(home.live.releases[self.route.release])

    def _ask(self, release: LiveRelease) -> None:
        self.release = release
        self.asked = asked = self.protocol.parse(self.request, release.target)
        self.parsed = time.perf_counter()
        flags = POSITIVE if asked.positive else 0
        # For a challenger that is not there the champion stands in: nobody need wait.
        patient = self.route.arm in WITHOUT_STAND_IN
        release.pool.ask(asked.kind, flags, asked.body, self.finish, patient=patient)

    def finish(self, outcome: Frame | Failure) -> None:
        """Called once with what the replicas say."""
        if isinstance(outcome, Failure):
            if self._falls_back(outcome):
                return
            self.refuse(outcome.status, outcome.error, outcome.message)
            return
        if outcome.status != 200:
            message, field = _error_of(outcome.body)
            error = ERRORS.get(outcome.status, "request")
            self.refuse(outcome.status, error, message, field)
            return
        assert self.asked is not None
        assert self.release is not None
        target = self.release.target
        context = Context(
            self.prediction_id, self.context_id, target.model, target.version, target.release
        )
        self.ended = time.perf_counter()
        try:
            self.answered = decode_answer(outcome.body)
            data = self.asked.render(self.answered, context)
        except FrameError as error:
            self.refuse(500, "model", str(error))
        except RequestError as error:
            self.refuse(error.status, "request", error.message, error.field)
        else:
            self._leave(self._row(200, ""), data)

    def _falls_back(self, failure: Failure) -> bool:
        """A challenger that cannot answer costs no client its answer: the champion gives it.

        The failure is logged, and counts against the challenger.
        """
        live = self._home.live
        if self.route.arm in WITHOUT_STAND_IN:
            return False
        champion = live.router.table.champion if live.router else ""
        if champion not in live.releases or failure.error == "timeout":
            return False
        self._home.log.append(self._row(failure.status, failure.error))
        self.route = Route(champion, CHAMPION, self.route.unit, "", self.route.epoch)
        self.counts_for = ""  # it was not the unit that chose this arm
        try:
            self._ask(live.releases[champion])
        except RequestError as error:
            self.refuse(error.status, "request", error.message, error.field)
        return True

    def refuse(self, status: int, error: str, message: str, field: str | None = None) -> None:
        headers = {"x-request-id": self.context_id}
        if status == 503:
            headers["retry-after"] = "1"
        data = self.protocol.refuse(status, message, field, headers)
        self._leave(self._row(status, error), data)

    def _leave(self, row: Row, data: bytes) -> None:
        home = self._home
        if home.tracing is not None:
            about = {"release": row.release, "arm": row.arm, "prediction_id": row.prediction_id}
            home.tracing.record(self.request, row.status, about)
        if home.ack_after_log and row.status == 200:
            promise = _Promise(self, data, home.patience)
            if not home.log.append(row, promise.kept):
                promise.broken()
            return
        # Refusals are logged where they can be: they promise nothing.
        if not home.log.append(row) and row.status == 200:
            data = self.protocol.refuse(503, "predictions cannot be logged fast enough", None, {})
        self.respond(data)

    def respond(self, data: bytes) -> None:
        self.request.respond(data)
        if self.route.mirror:
            asyncio.get_running_loop().call_soon(self._home.mirror, self)

    def _row(self, status: int, error: str) -> Row:
        return row_of(self, self.route.arm, self.asked, self.answered, status, error)


class _Promise:
    """An answer that waits until its row is on the disk, but not for ever."""

    def __init__(self, exchange: Exchange, data: bytes, patience: float) -> None:
        self._exchange = exchange
        self._data = data
        self._timer = asyncio.get_running_loop().call_later(patience, self.broken)
        self._open = True

    def kept(self) -> None:
        if self._open:
            self._open = False
            self._timer.cancel()
            self._exchange.respond(self._data)

    def broken(self) -> None:
        if self._open:
            self._open = False
            self._timer.cancel()
            message = "predictions cannot be logged at the moment"
            refused = self._exchange.protocol.refuse(503, message, None, {"retry-after": "1"})
            self._exchange.request.respond(refused)


class Shadow:
    """The copy of a request, asked of another release."""

    def __init__(self, home: Dispatcher, primary: Exchange, release: LiveRelease) -> None:
        self._home = home
        self._primary = primary
        self._release = release
        self._begun = time.perf_counter()
        self._asked: Asked | None = None

    def begin(self) -> None:
        primary = self._primary
        try:
            asked = primary.protocol.parse(primary.request, self._release.target)
        except RequestError:
            self._log(400, "request", None)
            return
        self._asked = asked
        flags = POSITIVE if asked.positive else 0
        self._release.pool.ask(asked.kind, flags, asked.body, self.finish)

    def finish(self, outcome: Frame | Failure) -> None:
        if isinstance(outcome, Failure):
            self._log(outcome.status, outcome.error, None)
        elif outcome.status != 200:
            self._log(outcome.status, ERRORS.get(outcome.status, "request"), None)
        else:
            try:
                self._log(200, "", decode_answer(outcome.body))
            except FrameError:
                self._log(500, "model", None)

    def _log(self, status: int, error: str, answered: Answered | None) -> None:
        row = row_of(
            self._primary, SHADOW, self._asked, answered, status, error,
            release=self._release.spec.id, begun=self._begun,
        )  # fmt: skip
        self._home.log.append(row)
        self._home.observer.paired(self._pair(answered, row.total_us))

    def _pair(self, answered: Answered | None, took_us: int) -> Pair:
        """With what the primary said, which its exchange has kept until now."""
        primary = self._primary
        said = primary.answered
        before, after = None, None
        if said is not None:
            span = int(1e6 * (primary.ended - primary.request.arrived))
            before = Answer(said.outputs, said.width, span)
        if answered is not None:
            after = Answer(answered.outputs, answered.width, took_us)
        return Pair(self._release.spec.id, primary.route.epoch, before, after)


def row_of(
    exchange: Exchange,
    arm: str,
    asked: Asked | None,
    answered: Answered | None,
    status: int,
    error: str,
    *,
    release: str = "",
    begun: float | None = None,
) -> Row:
    """The log row of an answer."""
    now = time.perf_counter()
    request = exchange.request
    parse = 0 if begun is not None else int(1e6 * (exchange.parsed - request.arrived))
    total = int(1e6 * (now - (request.arrived if begun is None else begun)))
    row: dict[str, Any] = {}
    if asked is not None:
        row["rows"] = asked.rows
        if asked.kind == MATRIX:
            row["matrix"] = asked.body
        elif asked.kind == COLUMNS:
            row["columns"] = asked.columns()
        else:
            row["entities"] = asked.columns()
    if answered is not None:
        if answered.read is not None:
            row |= answered.read
        row["outputs"] = answered.outputs
        row["width"] = answered.width
        row["features_us"] = answered.feature_us
        row["queue_us"] = answered.queue_us
        row["model_us"] = answered.model_us
    return Row(
        exchange.at_ns,
        exchange.prediction_id,
        release or exchange.route.release,
        arm,
        exchange.route.unit,
        exchange.route.epoch,
        exchange.counts_for if begun is None else "",
        request=request.body,
        parse_us=parse,
        total_us=total,
        status=status,
        error=error,
        **row,
    )


def _error_of(body: bytes) -> tuple[str, str | None]:
    document = json.loads(body)
    return document["error"], document.get("field")
