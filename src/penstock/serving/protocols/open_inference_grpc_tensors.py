"""Questions and answers of the Open Inference Protocol as gRPC messages."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from penstock.serving.http_server.messages import RequestError
from penstock.serving.protocols import open_inference_pb2 as messages
from penstock.serving.protocols.asked import Asked, Context, Target
from penstock.serving.protocols.open_inference_answers import render_json
from penstock.serving.protocols.open_inference_binary import RawTensor, read, straight
from penstock.serving.protocols.open_inference_tensors import (
    OUTPUT,
    OUTPUT_DATATYPE,
    Frame,
    Tensor,
    check_elements,
    check_outputs,
    checked,
    datatype_named,
    frame_of,
    shape_of,
)
from penstock.serving.replicas.frames import Answered

FIELDS: Final = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def asked_of(request: messages.ModelInferRequest, target: Target) -> Asked:
    """What a request asks of the model. Raises `RequestError` naming the input or feature."""
    check_outputs([output.name for output in request.outputs])
    if any("classification" in output.parameters for output in request.outputs):
        raise RequestError(400, "classification is not supported", "outputs")
    frame = _raw(request, target) if request.raw_input_contents else _typed(request, target)
    # gRPC writes its answer itself; rendered, the question is answered as over HTTP.
    return Asked(frame.kind, frame.body, frame.rows, False, partial(render_json, request.id))


def _raw(request: messages.ModelInferRequest, target: Target) -> Frame:
    seen, expected = len(request.raw_input_contents), len(request.inputs)
    if seen != expected:
        raise RequestError(
            400, f"{seen} raw_input_contents for {expected} inputs; expected one for each", "inputs"
        )
    for tensor in request.inputs:
        if tensor.HasField("contents"):
            raise RequestError(
                400, f"{tensor.name!r} has contents beside raw_input_contents", tensor.name
            )
    tensors = [
        RawTensor(tensor.name, tensor.datatype, [*tensor.shape], raw)
        for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True)
    ]
    frame = straight(tensors[0], target) if len(tensors) == 1 else None
    return frame or frame_of([read(tensor) for tensor in tensors], target)


def _typed(request: messages.ModelInferRequest, target: Target) -> Frame:
    return frame_of([_tensor(tensor) for tensor in request.inputs], target)


def _tensor(tensor: messages.ModelInferRequest.InferInputTensor) -> Tensor:
    name, shape = tensor.name, [*tensor.shape]
    datatype = datatype_named(tensor.datatype, name)
    field = FIELDS.get(datatype.name)
    if field is None:
        raise RequestError(
            400, f"the input {name!r} is {datatype.name}, which is only sent raw", name
        )
    for other, content in tensor.contents.ListFields():
        if other.name != field and content:
            raise RequestError(
                400, f"the input {name!r} is {datatype.name}, but has {other.name}", name
            )
    values: list[Any] = [*getattr(tensor.contents, field)]
    check_elements(len(values), shape, name)
    if field == "bytes_contents":
        values = [_text(name, number, value) for number, value in enumerate(values)]
    return Tensor(name, datatype, shape, checked(values, datatype, name))


def _text(name: str, number: int, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise RequestError(
            400, f"the input {name!r}: text {number} is not UTF-8: {error.reason}", name
        ) from error


def answer_of(
    request: messages.ModelInferRequest, answered: Answered, context: Context
) -> messages.ModelInferResponse:
    """The predictions; raw where the inputs were."""
    said = messages.ModelInferResponse(
        model_name=context.model,
        model_version=context.version,
        id=request.id or context.prediction_id,
    )
    said.parameters["release"].string_param = context.release
    said.parameters["prediction_id"].string_param = context.prediction_id
    output = said.outputs.add(name=OUTPUT, datatype=OUTPUT_DATATYPE, shape=shape_of(answered))
    if request.raw_input_contents:
        said.raw_output_contents.append(answered.outputs.tobytes())
    else:
        output.contents.fp64_contents.extend(answered.outputs)
    return said
