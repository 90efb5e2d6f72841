"""Tensors as raw bytes: the binary tensor data extension over HTTP, and gRPC's raw contents.

Elements are little-endian, row after row, without gaps; true and false are the bytes 1 and 0; a
text is its length in 4 bytes and its UTF-8. NaN is a missing value. Over HTTP the bytes of all
tensors follow the JSON, whose length is in the header Inference-Header-Content-Length. Source:
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from penstock.serving.http_server.messages import BYTES, RequestError
from penstock.serving.protocols.asked import Target
from penstock.serving.protocols.open_inference_tensors import (
    Frame,
    Tensor,
    datatype_named,
    elements_of,
    is_matrix,
    missing_for_nan,
    only_doubles,
)
from penstock.serving.replicas.frames import MATRIX
from penstock.serving.schema import check_count

LENGTH_HEADER: Final = "Inference-Header-Content-Length"


class RawTensor(NamedTuple):
    """An input as it came."""

    name: str
    datatype: str
    shape: Sequence[int]
    raw: memoryview | bytes


def split_body(body: bytes, length: bytes) -> tuple[bytes, memoryview]:
    """The JSON of a request and the bytes behind it. Raises `RequestError` for a wrong length."""
    # int() would take "+1", " 1" and "1_0" as well.
    if not length.isdigit() or len(length) > 18 or int(length) > len(body):
        raise RequestError(
            400, f"{LENGTH_HEADER} is {length.decode('latin-1')!r}; the body has {len(body)} bytes"
        )
    return body[: int(length)], memoryview(body)[int(length) :]


def straight(tensor: RawTensor, target: Target) -> Frame | None:
    """The frame of numbers that are laid out as the model takes them: nothing but copied.

    None where they are not, or where one of them is infinite.
    """
    name, datatype, shape, raw = tensor
    schema = target.schema
    if datatype != "FP64" or not is_matrix(shape, schema):
        return None
    if not only_doubles(schema) or shape[0] <= 0 or len(raw) != 8 * shape[0] * shape[1]:
        return None
    check_count(shape[0], target.max_rows, name)
    values = memoryview(raw).cast("B").cast("d")
    if not math.isfinite(sum(values)) and (math.inf in values or -math.inf in values):
        return None
    return Frame(MATRIX, bytes(raw), shape[0])


def read(tensor: RawTensor) -> Tensor:
    """The values of a tensor. Raises `RequestError` when the bytes are not what it announces."""
    name, _, shape, raw = tensor
    datatype = datatype_named(tensor.datatype, name)
    count = elements_of(shape, name)
    if datatype.code == "s":
        return Tensor(name, datatype, shape, _texts(name, count, bytes(raw)))
    if len(raw) != count * datatype.size:
        raise RequestError(
            400, f"the input {name!r} has {len(raw)} bytes; "
            f"{datatype.name} of shape {[*shape]} has {count * datatype.size}", name,
        )  # fmt: skip
    if datatype.code == "?" and bytes(raw).strip(b"\0\1"):
        raise RequestError(400, f"the input {name!r} has bytes other than 0 and 1", name)
    values = struct.unpack(f"<{count}{datatype.code}", raw)
    return Tensor(
        name, datatype, shape, missing_for_nan(values) if datatype.code in "efd" else values
    )


def _texts(name: str, count: int, raw: bytes) -> list[str]:
    texts: list[str] = []
    start = 0
    try:
        while start < len(raw):
            (length,) = struct.unpack_from("<I", raw, start)
            start += 4 + length
            texts.append(raw[start - length : start].decode())
    except struct.error:
        start = len(raw) + 1
    except UnicodeDecodeError as error:
        raise RequestError(
            400, f"the input {name!r}: text {len(texts)} is not UTF-8: {error.reason}", name
        ) from error
    if start != len(raw):
        raise RequestError(400, f"the input {name!r}: text {len(texts)} is cut off", name)
    if len(texts) != count:
        raise RequestError(
            400, f"the input {name!r} holds {len(texts)} texts; its shape needs {count}", name
        )
    return texts


_OK = (
    b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\ncontent-length: %%d\r\n%s: %%d\r\n"
    b"x-request-id: %%s\r\n\r\n"
) % (BYTES, LENGTH_HEADER.encode())


def ok_binary(document: bytes, tensor: memoryview[float], request_id: bytes) -> bytes:
    """All bytes of an answer whose tensor follows the JSON."""
    head = _OK % (len(document) + tensor.nbytes, len(document), request_id)
    return b"".join((head, document, tensor))
