"""MLflow's scoring protocol: `/invocations`, and its `/ping`, `/health` and `/version`.

Requests, answers and errors are those of MLflow 3.17's own scoring server, which is Python and
pandas; the same status and error code answer the same mistake. Messages say more: the field. Where
MLflow would predict for another value than was sent, the request is refused (see `mlflow_table`).
(https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally/#inference-server-specification)
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import version as installed_version
from typing import Any, Final

import msgspec

from penstock.serving.http_server.messages import (
    JSON,
    OK_JSON,
    TEXT,
    Request,
    RequestError,
    answer,
)
from penstock.serving.protocols.asked import Asked, Context, Protocol, Target
from penstock.serving.protocols.mlflow_csv import read_csv
from penstock.serving.protocols.mlflow_decoders import decoder_of
from penstock.serving.protocols.mlflow_json import read_json
from penstock.serving.protocols.mlflow_table import UNFIT, pack_table
from penstock.serving.replicas.frames import Answered

CSV: Final = b"text/csv"
PLAIN_JSON: Final = frozenset({JSON, JSON + b"; charset=utf-8"})  # need no second look
OK: Final = OK_JSON.removesuffix(b"\r\n") + b"x-prediction-id: %s\r\n\r\n"
_encode = msgspec.json.Encoder().encode

# MLflow's name for what a status says. Of its names for 400, see `refuse`.
ERROR_CODES = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "ENDPOINT_NOT_FOUND",
    409: "RESOURCE_CONFLICT",
    413: "REQUEST_LIMIT_EXCEEDED",
    429: "RESOURCE_EXHAUSTED",
    501: "NOT_IMPLEMENTED",
    502: "TEMPORARILY_UNAVAILABLE",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def parse(request: Request, target: Target) -> Asked:
    """Understands a request to `/invocations`.

    Raises `RequestError`: 415 for another content type than JSON and CSV in UTF-8, 413 for too many
    rows, 400 for anything else. `params` are not looked at: no format that is served has a schema
    of parameters, without which MLflow ignores them.
    """
    kind = request.headers.get(b"content-type", b"")
    if kind in PLAIN_JSON or _media_type(request.header(b"content-type")) == JSON:
        packed = decoder_of(target.schema).pack(request.body, target.max_rows)
        if packed is not None:
            return Asked(*packed, False, render)
        table = read_json(request.body, target.schema)
    else:
        table = read_csv(request.body, target.schema)
    return Asked(*pack_table(table, target.schema, target.max_rows), table.rows, False, render)


def _media_type(content_type: str) -> bytes:
    """JSON or CSV. Raises `RequestError` (415) for what MLflow's scoring server does not take."""
    media, *parameters = [part.strip() for part in content_type.split(";")]
    pairs = {part.partition("=")[0]: part.partition("=")[2] for part in parameters}
    charset = pairs.pop("charset", "utf-8")
    if charset.lower() != "utf-8":
        raise RequestError(415, f"the charset is {charset}; expected utf-8", "content-type")
    if pairs:
        raise RequestError(
            415, f"unknown parameters of the content type: {content_type}", "content-type"
        )
    for known in (JSON, CSV):
        if media == known.decode():
            return known
    raise RequestError(
        415,
        f"the content type is {content_type!r}; expected {JSON.decode()} or {CSV.decode()}",
        "content-type",
    )


def render(answered: Answered, context: Context) -> bytes:
    """`{"predictions": […]}`: a number a row, or a list where the model gives several.

    MLflow's answer has no place for the prediction id, which feedback needs; it is in a header.
    """
    body = _encode({"predictions": answered.values()})
    request_id = context.request_id.encode("latin-1")
    return OK % (len(body), request_id, context.prediction_id.encode()) + body


def refuse(status: int, message: str, field: str | None, headers: Mapping[str, str]) -> bytes:
    """`{"error_code": …, "message": …}` as MLflow has it; of 415, the text alone."""
    if status == 415:
        return answer(status, message.encode(), TEXT, headers)
    if status in ERROR_CODES:
        code = ERROR_CODES[status]
    elif status >= 500:
        code = "INTERNAL_ERROR"
    else:
        code = "INVALID_PARAMETER_VALUE" if message.startswith(UNFIT) else "BAD_REQUEST"
    document: dict[str, Any] = {"error_code": code, "message": message}
    if field is not None:
        document["field"] = field
    return answer(status, _encode(document), JSON, headers)


INVOCATIONS = Protocol("invocations", parse, refuse)


def ping(*, ready: bool = True) -> bytes:
    """The answer to GET `/ping` and `/health`: a line break, with 404 where no model is served."""
    return answer(200 if ready else 404, b"\n")


@cache
def version() -> bytes:
    """The answer to GET `/version`: MLflow's version, whose protocol this is. Not JSON, though
    MLflow says so."""
    return answer(200, installed_version("mlflow").encode())
