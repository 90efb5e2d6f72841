"""The endpoint's HTTP surface. What a prediction means is the replica's affair."""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from penstock.errors import ServingError
from penstock.records import Release
from penstock.serving.payload import RequestError, error_body
from penstock.serving.pool import ReplicaPool

REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
# A body too large is read on and thrown away, up to a multiple of the limit: a client that is
# still sending would see a broken connection instead of the answer.
PATIENCE = 8


@dataclass
class Live:
    """What the endpoint serves at this moment; the gateway swaps `pool`."""

    url: str
    max_body: int  # bytes
    pool: ReplicaPool | None = None
    draining: bool = False


def application(live: Live) -> Starlette:
    """The ASGI application."""
    app = Starlette(
        routes=[
            Route("/health/live", _alive, methods=["GET"]),
            Route("/health/ready", _ready, methods=["GET"]),
            Route("/release", _release, methods=["GET"]),
            Route("/predict", _predict, methods=["POST"]),
        ],
        exception_handlers={HTTPException: _refused, RequestError: _refused, Exception: _failed},
    )
    app.router.redirect_slashes = False
    app.state.live = live
    return app


async def _alive(request: Request) -> Response:
    return _answer(request, 200, b'{"status": "alive"}')


async def _ready(request: Request) -> Response:
    live: Live = request.app.state.live
    if live.draining or live.pool is None or not live.pool.ready:
        raise RequestError(503, "no release is ready to answer")
    return _answer(request, 200, b'{"status": "ready"}')


async def _release(request: Request) -> Response:
    live: Live = request.app.state.live
    if live.pool is None:
        raise RequestError(503, "no release is live")
    spec = live.pool.spec
    release = Release(
        endpoint=spec.endpoint,
        id=spec.id,
        url=live.url,
        model=spec.model,
        digest=spec.digest,
        replicas=spec.replicas,
    )
    pids = sorted(replica.job.pid for replica in live.pool.ready)
    return _answer(request, 200, json.dumps({**release.model_dump(), "pids": pids}).encode())


async def _predict(request: Request) -> Response:
    live: Live = request.app.state.live
    body = await _body(request, live.max_body)
    # From here to the pool's count of open requests nothing awaits: a replacement either sees this
    # request and waits for it, or has swapped the pool before.
    pool = live.pool
    if pool is None:
        raise RequestError(503, "no release is live")
    try:
        answer = await pool.ask(_request_id(request), body)
    except TimeoutError as error:
        status = 504 if pool.ready else 503
        raise RequestError(status, "no replica answered in time") from error
    except ServingError as error:
        raise RequestError(503, error.message) from error
    return _answer(request, answer.status, answer.body)


async def _body(request: Request, limit: int) -> bytes:
    """Raises `RequestError` when the body is larger than the limit."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size <= limit:
            parts.append(part)
        elif size > PATIENCE * limit:
            break
    if size > limit:
        raise RequestError(413, f"the body has more than {limit} bytes")
    return b"".join(parts)


def _request_id(request: Request) -> str:
    """The client's own, if it can be echoed; otherwise a new one. The same for a whole request."""
    if not hasattr(request.state, "request_id"):
        given = request.headers.get("x-request-id", "")
        usable = REQUEST_ID.fullmatch(given) is not None
        request.state.request_id = given if usable else uuid.uuid4().hex
    return str(request.state.request_id)


def _answer(request: Request, status: int, body: bytes) -> Response:
    headers = {"X-Request-Id": _request_id(request)}
    return Response(body, status, headers, media_type="application/json")


async def _refused(request: Request, error: Exception) -> Response:
    if isinstance(error, RequestError):
        return _answer(request, error.status, error_body(error.message, error.field))
    assert isinstance(error, HTTPException)
    answer = _answer(request, error.status_code, error_body(_explain(request, error)))
    answer.headers.update(error.headers or {})
    return answer


def _explain(request: Request, error: HTTPException) -> str:
    if error.status_code == 404:
        return f"there is no {request.url.path} here"
    if error.status_code == 405:
        return f"{request.method} is not allowed for {request.url.path}"
    return error.detail


async def _failed(request: Request, error: Exception) -> Response:
    """A defect of the gateway: Starlette raises it again afterwards, and uvicorn logs it."""
    if isinstance(error, ClientDisconnect):
        return Response(status_code=499)
    return _answer(request, 500, error_body("the gateway failed; see its log"))
