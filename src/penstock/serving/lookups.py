"""`POST /get-online-features`, as Feast's feature server answers it: its clients can read here.

The champion's replica asks Feast, so that neither Feast nor a slow store is in the gateway.
"""

from __future__ import annotations

import json

import msgspec

from penstock.serving.http_server.messages import Request, RequestError, answer, error_answer
from penstock.serving.live import Live
from penstock.serving.replicas.frames import LOOKUP, Frame
from penstock.serving.replicas.pool import Failure


class Lookups:
    """Passes lookups on to a replica."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def handle(self, request: Request) -> None:
        """Raises `RequestError`."""
        router = self._live.router
        if router is None:
            raise RequestError(503, "no release is live")
        release = self._live.releases[router.table.champion]
        if release.spec.features is None:
            raise RequestError(404, "the release that is live has no online features")
        question = _question(request.body)

        def finish(outcome: Frame | Failure) -> None:
            if isinstance(outcome, Failure):
                request.respond(error_answer(outcome.status, outcome.message))
            elif outcome.status == 200:
                request.respond(answer(200, outcome.body))
            else:
                message = json.loads(outcome.body)["error"]
                # The form of Feast's server, which its clients look for.
                body = msgspec.json.encode({"detail": message, "error": message})
                request.respond(answer(outcome.status, body))

        release.pool.ask(LOOKUP, 0, question, finish)


def _question(body: bytes) -> bytes:
    try:
        return msgspec.msgpack.encode(_document(body))
    except OverflowError as error:  # JSON has larger numbers than MessagePack
        raise RequestError(400, "a whole number has more than 64 bits", "entities") from error


def _document(body: bytes) -> dict[str, object]:
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(400, f"the body is not JSON: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("entities"), dict):
        raise RequestError(400, "the body has no entities", "entities")
    lengths = {len(v) if isinstance(v, list) else -1 for v in document["entities"].values()}
    if len(lengths) != 1 or -1 in lengths:
        raise RequestError(400, "entities are lists of one length", "entities")
    if not document.get("features") and not document.get("feature_service"):
        raise RequestError(400, "name features, or a feature_service", "features")
    return document
