"""Answers of the Open Inference Protocol over HTTP: one output, FP64, of shape [n] or [n, k]."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import msgspec

from penstock.serving.http_server.messages import RequestError, ok_json
from penstock.serving.protocols.asked import Context
from penstock.serving.protocols.open_inference_binary import ok_binary
from penstock.serving.protocols.open_inference_tensors import OUTPUT, OUTPUT_DATATYPE, shape_of
from penstock.serving.replicas.frames import Answered


class Release(msgspec.Struct, gc=False):
    release: str
    prediction_id: str


class BinarySize(msgspec.Struct, gc=False):
    binary_data_size: int


class Predictions(msgspec.Struct, gc=False, omit_defaults=True):
    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Sequence[float] | None = None
    parameters: BinarySize | None = None


class Answer(msgspec.Struct, gc=False):
    model_name: str
    model_version: str
    id: str
    parameters: Release
    outputs: tuple[Predictions]


_encode = msgspec.json.Encoder().encode


def render_json(given: str | None, answered: Answered, context: Context) -> bytes:
    """The HTTP answer. Raises `RequestError` when the model gave NaN or an infinity."""
    values = answered.outputs.tolist()
    if not isfinite(sum(values)) and not all(map(isfinite, values)):
        raise RequestError(
            500, "the model gave NaN or an infinity, which JSON has not; ask for binary_data"
        )
    output = Predictions(OUTPUT, OUTPUT_DATATYPE, shape_of(answered), values)
    return ok_json(_document(given, output, context), context.request_id.encode("latin-1"))


def render_binary(given: str | None, answered: Answered, context: Context) -> bytes:
    """The HTTP answer, with the predictions behind the JSON."""
    size = BinarySize(answered.outputs.nbytes)
    output = Predictions(OUTPUT, OUTPUT_DATATYPE, shape_of(answered), None, size)
    document = _document(given, output, context)
    return ok_binary(document, answered.outputs, context.request_id.encode("latin-1"))


def _document(given: str | None, output: Predictions, context: Context) -> bytes:
    prediction_id, _, model, version, release = context
    parameters = Release(release, prediction_id)
    return _encode(Answer(model, version, given or prediction_id, parameters, (output,)))
