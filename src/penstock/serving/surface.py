"""The endpoint's URLs: which path is answered by whom, and which scope it needs."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

import msgspec

from penstock.serving.access import ADMIN, FEEDBACK, PREDICT, Admission, TooOftenError
from penstock.serving.dispatch import Dispatcher
from penstock.serving.documents import openapi, release_document, routes_document
from penstock.serving.feedback_log import FeedbackLog
from penstock.serving.http_server.messages import (
    Request,
    RequestError,
    answer,
    error_answer,
    id_header,
)
from penstock.serving.live import Live
from penstock.serving.lookups import Lookups
from penstock.serving.metrics import Metrics
from penstock.serving.protocols import open_inference_documents as oip
from penstock.serving.protocols.asked import Protocol
from penstock.serving.protocols.mlflow import INVOCATIONS, ping, version
from penstock.serving.protocols.open_inference import OPEN_INFERENCE
from penstock.serving.protocols.predict import PREDICT as PREDICT_PROTOCOL

Handler = Callable[[Request], None]
MODEL_PATH = re.compile(
    rb"/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?(?P<rest>/infer|/ready)?"
)
OPEN = ""  # no scope: health, metadata


class Route(NamedTuple):
    """Who answers a path, for which methods and scope."""

    handler: Handler
    methods: frozenset[bytes]
    scope: str = OPEN


GET = frozenset({b"GET", b"HEAD"})
POST = frozenset({b"POST"})


class Surface:
    """Takes every request of an endpoint."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        admission: Admission,
        feedback: FeedbackLog,
        lookups: Lookups,
        metrics: Metrics,
    ) -> None:
        self._live = dispatcher.live
        self._dispatcher = dispatcher
        self._admission = admission
        self._feedback = feedback
        self._lookups = lookups
        self._metrics = metrics
        self._routes = self._table()

    def _table(self) -> dict[bytes, Route]:
        predict = self._predicting
        return {
            b"/predict": Route(predict(PREDICT_PROTOCOL), POST, PREDICT),
            b"/invocations": Route(predict(INVOCATIONS), POST, PREDICT),
            b"/get-online-features": Route(self._lookups.handle, POST, PREDICT),
            b"/feedback": Route(self._feedback.handle, POST, FEEDBACK),
            b"/ping": Route(self._ping, GET),
            b"/health": Route(self._ping, GET),
            b"/version": Route(_given(version), GET),
            b"/health/live": Route(_given(lambda: _json({"status": "alive"})), GET),
            b"/health/ready": Route(self._ready, GET),
            b"/metrics": Route(self._scraped, GET),
            b"/release": Route(self._json_of(release_document), GET),
            b"/routes": Route(self._json_of(routes_document), GET, ADMIN),
            b"/openapi.json": Route(self._json_of(openapi), GET),
            b"/v2": Route(_given(lambda: _document(oip.server_metadata())), GET),
            b"/v2/health/live": Route(_given(lambda: _document(oip.ServerLive(True))), GET),
            b"/v2/health/ready": Route(self._v2_ready, GET),
        }

    def handle(self, request: Request) -> None:
        """Answers; never raises."""
        try:
            route = self._routes.get(request.path) or self._of_model(request.path)
            if route is None:
                path = request.path.decode("latin-1")
                raise RequestError(404, f"there is no {path} here")
            if request.method not in route.methods:
                _refuse_method(request, route)
                return
            if route.scope:
                self._admission.admit(request, route.scope, time.monotonic())
            route.handler(request)
        except RequestError as error:
            self._refuse(request, error)

    def _refuse(self, request: Request, error: RequestError) -> None:
        headers = id_header(request.headers)
        if error.status == 401:
            headers["www-authenticate"] = "Bearer"
        elif error.status == 503:
            headers["retry-after"] = "1"
        elif isinstance(error, TooOftenError):
            headers["retry-after"] = str(max(1, round(error.seconds + 0.5)))
        protocol = self._protocol_of(request.path)
        if protocol is None:
            request.respond(error_answer(error.status, error.message, error.field, headers))
        else:
            request.respond(protocol.refuse(error.status, error.message, error.field, headers))

    @staticmethod
    def _protocol_of(path: bytes) -> Protocol | None:
        if path.startswith(b"/v2"):
            return OPEN_INFERENCE
        return INVOCATIONS if path == b"/invocations" else None

    def _predicting(self, protocol: Protocol, named: str = "") -> Handler:
        return partial(self._dispatcher.handle, protocol=protocol, named=named)

    def _of_model(self, path: bytes) -> Route | None:
        """The paths below /v2/models."""
        found = MODEL_PATH.fullmatch(path)
        if found is None:
            return None
        model = unquote_to_bytes(found["model"]).decode("utf-8", "replace")
        named = unquote_to_bytes(found["version"] or b"").decode("utf-8", "replace")
        if found["rest"] == b"/infer":
            wanted = self._live.wanted(model, named)
            return Route(self._predicting(OPEN_INFERENCE, wanted), POST, PREDICT)
        served = self._live.served()
        if found["rest"] == b"/ready":
            ready = oip.model_ready(served, model, named)
            return Route(_given(lambda: _document(ready, 200 if ready.ready else 503)), GET)
        metadata = oip.model_metadata(served, model, named)
        return Route(_given(lambda: _document(metadata)), GET)

    def _ready(self, request: Request) -> None:
        if not self._live.ready:
            raise RequestError(503, "no release is ready to answer")
        request.respond(_json({"status": "ready"}))

    def _v2_ready(self, request: Request) -> None:
        ready = self._live.ready
        request.respond(_document(oip.ServerReady(True, ready), 200 if ready else 503))

    def _ping(self, request: Request) -> None:
        request.respond(ping(ready=self._live.ready))

    def _scraped(self, request: Request) -> None:
        body, kind = self._metrics.exposition()
        request.respond(answer(200, body, kind))

    def _json_of(self, document: Callable[[Live], object]) -> Handler:
        return lambda request: request.respond(_json(document(self._live)))


def _given(document: Callable[[], bytes]) -> Handler:
    return lambda request: request.respond(document())


def _document(document: oip.Document, status: int = 200) -> bytes:
    return answer(status, oip.encode(document))


def _json(document: object, status: int = 200) -> bytes:
    return answer(status, msgspec.json.encode(document))


def _refuse_method(request: Request, route: Route) -> None:
    method, path = request.method.decode("latin-1"), request.path.decode("latin-1")
    allowed = ", ".join(sorted(m.decode() for m in route.methods))
    headers = {"allow": allowed, **id_header(request.headers)}
    message = f"{method} is not allowed for {path}"
    request.respond(error_answer(405, message, None, headers))
