"""The Open Inference Protocol v2 over HTTP: POST /v2/models/{name}[/versions/{version}]/infer.

Specification: https://github.com/kserve/open-inference-protocol, inference_rest.md, with the
binary tensor data extension. JSON has neither NaN nor infinities; null is a missing value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from struct import pack
from typing import Any, Final, NoReturn

import msgspec

from penstock.serving.http_server.messages import JSON, Request, RequestError, answer
from penstock.serving.protocols.asked import Asked, Protocol, Target
from penstock.serving.protocols.open_inference_answers import render_binary, render_json
from penstock.serving.protocols.open_inference_binary import (
    LENGTH_HEADER,
    RawTensor,
    read,
    split_body,
    straight,
)
from penstock.serving.protocols.open_inference_tensors import (
    Frame,
    Tensor,
    check_elements,
    check_outputs,
    checked,
    datatype_named,
    elements_of,
    frame_of,
    is_matrix,
    only_doubles,
)
from penstock.serving.replicas.frames import MATRIX
from penstock.serving.schema import check_count, kind_of

LENGTH: Final = LENGTH_HEADER.lower().encode()


class InputParameters(msgspec.Struct, gc=False):
    binary_data_size: int | None = None  # bytes behind the JSON
    shared_memory_region: str | None = None


class Input(msgspec.Struct, gc=False):
    name: str
    shape: list[int]
    datatype: str
    data: msgspec.Raw = msgspec.Raw()  # read once it is known what is expected
    parameters: InputParameters | None = None


class OutputParameters(msgspec.Struct, gc=False):
    binary_data: bool | None = None
    classification: int | None = None
    shared_memory_region: str | None = None


class Output(msgspec.Struct, gc=False):
    name: str
    parameters: OutputParameters | None = None


class Parameters(msgspec.Struct, gc=False):
    binary_data_output: bool | None = None


class Question(msgspec.Struct, gc=False):
    """The body of a request. What the gateway has no use for is passed over."""

    inputs: list[Input]
    id: str | None = None
    parameters: Parameters | None = None
    outputs: list[Output] | None = None


_question = msgspec.json.Decoder(Question).decode
_doubles = msgspec.json.Decoder(list[float]).decode
_numbers = msgspec.json.Decoder(list[int | float]).decode
_rows_of_numbers = msgspec.json.Decoder(list[list[int | float]]).decode
_anything = msgspec.json.Decoder().decode


def parse(request: Request, target: Target) -> Asked:
    """What a request asks of the model. Raises `RequestError` naming the input or feature."""
    body, rest = request.body, None
    length = request.headers.get(LENGTH)
    if length is not None:
        body, rest = split_body(body, length)
    try:
        question = _question(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        _explain(error, body)
    frame = _frame_of_numbers(question.inputs, target) if rest is None else None
    if frame is None:
        frame = _frame(question, memoryview(b"") if rest is None else rest, target)
    binary = _wants_binary(question)
    render = partial(render_binary if binary else render_json, question.id)
    return Asked(frame[0], frame[1], frame[2], False, render)


def _frame_of_numbers(tensors: list[Input], target: Target) -> Frame | None:
    """The shortest way: numbers as JSON. None for everything else, and for what is wrong."""
    schema = target.schema
    try:
        if len(tensors) == 1 and is_matrix(tensors[0].shape, schema):
            return _matrix(tensors[0], target)
        if only_doubles(schema) and len(tensors) == len(schema.features):
            return _columns(tensors, target)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass  # told apart on the long way
    return None


def _matrix(tensor: Input, target: Target) -> Frame | None:
    count, width = tensor.shape
    if tensor.datatype != "FP64" or tensor.parameters is not None or count < 1:
        return None
    check_count(count, target.max_rows, tensor.name)
    rows: list[list[int | float]]
    if memoryview(tensor.data)[1:2].tobytes() == b"[":
        rows = _rows_of_numbers(tensor.data)
        if len(rows) != count or any(len(row) != width for row in rows):
            return None
    elif only_doubles(target.schema):
        values = _doubles(tensor.data)
        if len(values) != count * width:
            return None
        return Frame(MATRIX, pack(f"<{len(values)}d", *values), count)
    else:
        flat = _numbers(tensor.data)
        if len(flat) != count * width:
            return None
        rows = [flat[start : start + width] for start in range(0, len(flat), width)]
    return Frame(*target.schema.pack_rows(rows), count)


def _columns(tensors: list[Input], target: Target) -> Frame | None:
    count = tensors[0].shape[0] if tensors[0].shape else 0
    shapes = ([count], [count, 1])
    columns = {}
    for tensor in tensors:
        if tensor.datatype != "FP64" or tensor.parameters is not None or tensor.shape not in shapes:
            return None
        columns[tensor.name] = values = _doubles(tensor.data)
        if len(values) != count:
            return None
    if count < 1 or columns.keys() != {*target.schema.names}:
        return None
    check_count(count, target.max_rows, tensors[0].name)
    ordered = [columns[name] for name in target.schema.names]
    values = [value for row in zip(*ordered, strict=True) for value in row]
    return Frame(MATRIX, pack(f"<{len(values)}d", *values), count)


def _frame(question: Question, rest: memoryview, target: Target) -> Frame:
    tensors: list[RawTensor | Input] = []
    start = 0
    for tensor in question.inputs:
        size = _binary_size(tensor)
        if size is None:
            tensors.append(tensor)
            continue
        if not 0 <= size <= len(rest) - start:
            raise RequestError(
                400, f"the input {tensor.name!r} announces {size} bytes behind the JSON; "
                f"there are {len(rest) - start}", tensor.name,
            )  # fmt: skip
        raw = rest[start : start + size]
        start += size
        tensors.append(RawTensor(tensor.name, tensor.datatype, tensor.shape, raw))
    if start != len(rest):
        raise RequestError(400, f"{len(rest) - start} bytes behind the JSON belong to no input")
    if len(tensors) == 1 and isinstance(tensors[0], RawTensor):
        frame = straight(tensors[0], target)
        if frame is not None:
            return frame
    values = [read(one) if isinstance(one, RawTensor) else _tensor(one) for one in tensors]
    return frame_of(values, target)


def _binary_size(tensor: Input) -> int | None:
    parameters = tensor.parameters
    if parameters is None:
        return None
    if parameters.shared_memory_region is not None:
        raise RequestError(400, f"{tensor.name!r}: shared memory is not supported", tensor.name)
    if parameters.binary_data_size is not None and memoryview(tensor.data).nbytes:
        raise RequestError(
            400, f"the input {tensor.name!r} has both data and binary_data_size", tensor.name
        )
    return parameters.binary_data_size


def _tensor(tensor: Input) -> Tensor:
    """The values of an input from JSON. Raises `RequestError`."""
    name = tensor.name
    datatype = datatype_named(tensor.datatype, name)
    if not memoryview(tensor.data).nbytes:
        raise RequestError(400, f"the input {name!r} has no data", name)
    if datatype.name == "FP16":
        raise RequestError(400, f"the input {name!r} is FP16, which is only sent as binary", name)
    try:
        data = _anything(tensor.data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        _explain(error, bytes(tensor.data), name)
    if not isinstance(data, list):
        raise RequestError(400, f"the data of {name!r} is {kind_of(data)}; expected a list", name)
    if data and isinstance(data[0], list):
        data = _flattened(data, tensor.shape, name)
    check_elements(len(data), tensor.shape, name)
    return Tensor(name, datatype, tensor.shape, checked(data, datatype, name))


def _flattened(data: list[Any], shape: list[int], name: str) -> list[Any]:
    """Nested lists as one. They must be nested as the shape says."""
    elements_of(shape, name)
    flat = data
    fits = bool(shape) and len(flat) == shape[0]
    for size in shape[1:]:
        fits = fits and all(isinstance(item, list) and len(item) == size for item in flat)
        if not fits:
            break
        flat = [value for item in flat for value in item]
    if not fits:
        raise RequestError(
            400, f"the data of {name!r} is not nested as its shape {shape} says", name
        )
    return flat


def _wants_binary(question: Question) -> bool:
    """Raises `RequestError` for outputs that there are not, and forms that are not supported."""
    parameters = question.parameters
    binary = parameters is not None and bool(parameters.binary_data_output)
    if not question.outputs:
        return binary
    check_outputs([output.name for output in question.outputs])
    for output in question.outputs:
        if output.parameters is not None:
            if output.parameters.classification or output.parameters.shared_memory_region:
                raise RequestError(
                    400, "classification and shared memory are not supported", "outputs"
                )
            if output.parameters.binary_data is not None:
                binary = output.parameters.binary_data
    return binary


def refuse(status: int, message: str, field: str | None, headers: Mapping[str, str]) -> bytes:
    """The protocol has no place for the field; the message names it."""
    return answer(status, msgspec.json.encode({"error": message}), JSON, headers)


def _explain(error: Exception, text: bytes, tensor: str | None = None) -> NoReturn:
    """Raises `RequestError` saying why a body, or the data of an input, could not be read."""
    what = "the body" if tensor is None else f"the data of {tensor!r}"
    message = str(error)
    if isinstance(error, RecursionError):
        raise RequestError(400, f"{what} is nested too deeply", tensor) from error
    if isinstance(error, msgspec.ValidationError):
        reason, _, path = message.partition(" - at `$")
        field = tensor or path.strip("`").lstrip(".") or None
        where = f" at {field}" if field and tensor is None else ""
        raise RequestError(400, f"{what}{where}: {reason}", field) from error
    at = re.search(r"\(byte (\d+)\)", message)
    if at and text[int(at[1]) :].startswith((b"N", b"I")):
        message = "JSON has neither NaN nor infinities; send null for a missing value"
    raise RequestError(400, f"{what} is not JSON: {message}", tensor) from error


OPEN_INFERENCE: Final = Protocol("open-inference", parse, refuse)
