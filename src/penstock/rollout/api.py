"""Rollouts over HTTP, beside the controller: what the command line does, and alerts.

    GET  /rollouts, /rollouts/ID             POST /rollouts                 {"model", "endpoint", …}
    POST /rollouts/ID/OPERATION {"reason"}   POST /alerts                   Alertmanager's webhook
    POST /approvals         an envelope      GET  /approvals/NAME@VERSION/ENDPOINT, to be signed
    GET  /health/live                        and what packages above add: `Hook`

Once there are users, it takes a token whose user may, as on the command line; or a key of
`[serving] keys` with the scope `admin`, which approves nothing. Before, such a key where keys are
set. The webhook takes one with `alerts`. The actor in the ledger is the user, or the key's name.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

import msgspec
from pydantic import ValidationError
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from penstock.access.roles import Permission
from penstock.approvals import accepting
from penstock.approvals.book import standing_of
from penstock.audit.entries import Actor
from penstock.errors import AccessError, PenstockError, ResourceError, SettingsError, UsageError
from penstock.project import Project
from penstock.records import Release
from penstock.rollout import alerts, service
from penstock.rollout.callers import Callers
from penstock.rollout.candidate import version_of
from penstock.rollout.described import document_of
from penstock.rollout.memory import UnknownRolloutError
from penstock.rollout_settings import RolloutSettings
from penstock.serving.access import ALERTS
from penstock.serving.http_server.connection import Limits, Server, protocol
from penstock.serving.http_server.messages import Request, RequestError, answer, error_answer
from penstock.serving.sockets import bind, tls_context, url_of

log = logging.getLogger(__name__)

MOST = 1_000_000  # bytes of a request
MOST_OPEN = 100  # requests that wait for their answers; more are refused
SWEEP_INTERVAL = 1.0  # seconds between two looks for idle and slow connections
PATH = re.compile(r"/rollouts/([\w.-]+)(?:/(\w+))?")
STATEMENT = re.compile(r"/approvals/([^/]+)/([\w.-]+)")

Answer = Callable[[], Any]


class Start(msgspec.Struct, forbid_unknown_fields=True):
    """What `POST /rollouts` takes; `plan` has the keys of [rollout], the project's by default."""

    model: str
    endpoint: str = "production"
    plan: dict[str, Any] | None = None


class Operate(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What an operation takes."""

    reason: str = ""
    full: bool = False  # of promote
    point: str = ""  # of approve
    digest: str = ""  # of approve: what the person saw


@dataclass(frozen=True)
class Hook:
    """A path that programs post to, of a package above this one."""

    path: str
    scope: str  # of a key that may
    takes: type[msgspec.Struct]
    answer: Callable[[service.Desk, Any], tuple[int, Any]]  # status and body


class Signature(msgspec.Struct, forbid_unknown_fields=True):
    sig: str
    keyid: str = ""


class Signed(msgspec.Struct, forbid_unknown_fields=True):
    """What `POST /approvals` takes: a DSSE envelope, both texts in base64."""

    payloadType: str  # noqa: N815 -- DSSE's name
    payload: str
    signatures: list[Signature]


class Api:
    """Serves in a thread of its own, within `with`."""

    def __init__(
        self,
        project: Project,
        engine: Engine,
        host: str,
        port: int,
        hooks: Iterable[Hook] = (),
    ) -> None:
        settings = project.settings.serving
        self._project, self._engine = project, engine
        self._hooks = {hook.path: hook for hook in hooks}
        self._callers = Callers(settings, engine, host)
        self._socket = bind(host, port, setting="[services] controller_host and controller_port")
        self._tls = tls_context(settings)
        self.url = url_of(self._socket, tls=self._tls is not None)
        self._loop = asyncio.new_event_loop()
        self._open = 0  # requests that are not answered yet
        # The database is asked in a thread: the next request need not wait.
        self._workers = ThreadPoolExecutor(4, "rollout-api")
        self._thread = threading.Thread(target=self._run, name="rollout-http", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._workers.shutdown()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = Server(self._handle, Limits(MOST))
        serving = self._loop.create_server(protocol(server), sock=self._socket, ssl=self._tls)
        listener = self._loop.run_until_complete(serving)

        def sweep() -> None:
            server.sweep()
            self._loop.call_later(SWEEP_INTERVAL, sweep)

        sweep()
        self._loop.run_forever()
        listener.close()
        self._loop.close()

    def _handle(self, request: Request) -> None:
        def work() -> None:
            data = self._answered(request)
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
                self._loop.call_soon_threadsafe(done, data)

        def done(data: bytes) -> None:
            self._open -= 1
            request.respond(data)

        if self._open >= MOST_OPEN:
            again = {"retry-after": "1"}
            request.respond(error_answer(503, "too many requests at once", None, again))
            return
        self._open += 1
        self._workers.submit(work)

    def _answered(self, request: Request) -> bytes:
        try:
            status, said = self._said(request)
            return answer(status, msgspec.json.encode(said, enc_hook=str))
        except RequestError as error:
            return error_answer(error.status, error.message, error.field)
        except PenstockError as error:
            hint = f" ({error.hint})" if error.hint else ""
            field = getattr(error, "field", "") or None
            return error_answer(_status_of(error), f"{error.message}{hint}", field)
        except SQLAlchemyError:
            return error_answer(503, "the state database is away", None, {"retry-after": "5"})
        except Exception:  # a fault of ours is answered too
            log.exception("%s %s", request.method, request.path)
            return error_answer(500, "this could not be done; the controller's log says why")

    def _said(self, request: Request) -> tuple[int, Any]:
        path, method = request.path.decode("latin-1"), request.method
        if path == "/health/live":
            return 200, {"status": "alive"}
        if path == "/alerts":
            _require(method, b"POST")
            caller = self._callers.actor(request, Permission.OPERATE, ALERTS)
            told = _decoded(request.body, alerts.Webhook)
            return 200, alerts.received(self._desk(caller or Actor("alertmanager")), told)
        if (hook := self._hooks.get(path)) is not None:
            _require(method, b"POST")
            caller = self._callers.actor(request, Permission.OPERATE, hook.scope)
            return hook.answer(self._desk(caller), _decoded(request.body, hook.takes))
        if path == "/approvals" or path.startswith("/approvals/"):
            return self._approval(request, path)
        found = PATH.fullmatch(path)
        desk = self._desk(self._callers.actor(request, _permission(method, found)))
        if path == "/rollouts" and method == b"GET":
            return 200, [state.model_dump(mode="json") for state in service.listed(desk)]
        if path == "/rollouts":
            _require(method, b"POST")
            return 201, _started(desk, _decoded(request.body, Start))
        if found is None:
            raise RequestError(404, f"there is no {path} here")
        if found[2] is None:
            _require(method, b"GET")
            return 200, document_of(service.view(desk, found[1]))
        if found[2] not in service.OPERATIONS:
            known = ", ".join(service.OPERATIONS)
            raise RequestError(404, f"{found[2]!r} is none of {known}")
        _require(method, b"POST")
        given = msgspec.to_builtins(_decoded(request.body or b"{}", Operate))
        try:
            done = service.operate(desk, found[1], found[2], **given)
        except TypeError:
            raise RequestError(400, f"{found[2]} takes none of {', '.join(given)}") from None
        return 200, done.state.model_dump(mode="json")

    def _approval(self, request: Request, path: str) -> tuple[int, Any]:
        """A statement to be signed, or one that was signed: by a user, whom their token names."""
        by = self._callers.actor(request, Permission.APPROVE)
        if by is None or by.authenticated != "token":
            raise RequestError(403, "who approves over HTTP is a user: penstock users add")
        if path == "/approvals":
            _require(request.method, b"POST")
            return 201, _approved(self._desk(by), _decoded(request.body, Signed), by)
        if (asked := STATEMENT.fullmatch(path)) is None:
            raise RequestError(404, f"there is no {path} here")
        _require(request.method, b"GET")
        return 200, accepting.blank(
            self._project, version_of(self._project, asked[1]), asked[2], by
        )

    def _desk(self, actor: Actor | None) -> service.Desk:
        return service.Desk.of(self._project, self._engine, actor)


def _permission(method: bytes, asked: re.Match[str] | None) -> Permission:
    if method == b"GET":
        return Permission.READ
    return Permission.APPROVE if asked and asked[2] == "approve" else Permission.OPERATE


def _started(desk: service.Desk, given: Start) -> Any:
    plan = desk.project.settings.rollout
    if given.plan is not None:
        try:
            plan = RolloutSettings.model_validate(given.plan)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"])) or None
            raise RequestError(400, first["msg"], field) from error
    begun = service.start(desk, given.model, given.endpoint, plan)
    found = begun if isinstance(begun, Release) else begun.state
    return found.model_dump(mode="json")


def _approved(desk: service.Desk, given: Signed, by: Actor) -> Any:
    project, engine, envelope = desk.project, desk.engine, msgspec.to_builtins(given)
    statement = accepting.signed_by(engine, envelope, by)
    found = version_of(project, statement.model)
    entry = accepting.accept(project, engine, found, statement, envelope, by)
    now = standing_of(project, engine, found, statement.target, datetime.now(UTC))
    said = {"model": found.label, "digest": found.digest, "target": statement.target}
    return said | {
        "verdict": statement.verdict.value,
        "entry": entry.sequence,
        "met": now.met,
        "missing": list(now.missing),
    }


def _status_of(error: PenstockError) -> int:
    match error:
        case UnknownRolloutError():
            return 404
        case UsageError() | SettingsError():
            return 400
        case AccessError():
            return 403
        case ResourceError():
            return 503
    return 409


def _decoded(body: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(400, str(error), _field(str(error))) from error


def _field(message: str) -> str | None:
    """msgspec names a field that is missing or unknown, or ends with a path: at `$.labels[...]`."""
    found = re.search(r"field `(\w+)`", message) or re.search(r"`\$.*?(\w+)(\[\.{3}\])*`$", message)
    return found[1] if found else None


def _require(method: bytes, wanted: bytes) -> None:
    if method != wanted:
        raise RequestError(405, f"{method.decode('latin-1')} is not allowed here")
