"""Tensors of the Open Inference Protocol, and what a model's features make of them.

A model's inputs come in one of two forms: one input for each feature, named like it, of shape [n]
or [n, 1]; or, where all features are numbers, one input of any name and of shape [n, features].
Specification: https://github.com/kserve/open-inference-protocol.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from penstock.records import Column
from penstock.serving.http_server.messages import RequestError
from penstock.serving.protocols.asked import Target
from penstock.serving.replicas.frames import Answered
from penstock.serving.schema import InputSchema, check_count, kind_of

OUTPUT: Final = "predictions"  # the one output of every model; FP64
OUTPUT_DATATYPE: Final = "FP64"


class Datatype(NamedTuple):
    """How the elements of a tensor are stored, and the types of features that they can hold."""

    name: str
    code: str  # of one element, as `struct` calls it; "s": texts
    size: int  # bytes an element; of a text, of its length
    features: frozenset[str]


_NUMBERS = frozenset({"double", "float", "int64", "int32"})
_FLOATS = frozenset("efd")
DATATYPES: Final = {
    name: Datatype(name, code, struct.calcsize(f"<{code}"), features)
    for name, code, features in [
        ("BOOL", "?", frozenset({"bool"})),
        *(
            (f"{kind}{8 * struct.calcsize(code)}", code, _NUMBERS)
            for kind, codes in [("UINT", "BHIQ"), ("INT", "bhiq"), ("FP", "efd")]
            for code in codes
        ),
    ]
} | {"BYTES": Datatype("BYTES", "s", 4, frozenset({"string"}))}

# What a feature is announced as.
DATATYPE_OF: Final = {
    "bool": "BOOL",
    "int32": "INT32",
    "int64": "INT64",
    "float": "FP32",
    "double": "FP64",
    "string": "BYTES",
}


class Tensor(NamedTuple):
    """An input whose values have been read: as many as its shape says, row after row."""

    name: str
    datatype: Datatype
    shape: Sequence[int]
    values: Sequence[Any]  # None: missing


class Frame(NamedTuple):
    """What goes to the model."""

    kind: int  # MATRIX or COLUMNS
    body: bytes
    rows: int


def datatype_named(datatype: str, tensor: str) -> Datatype:
    """Raises `RequestError` for one that the protocol does not have."""
    found = DATATYPES.get(datatype)
    if found is None:
        known = ", ".join(DATATYPES)
        raise RequestError(
            400, f"the input {tensor!r} has the datatype {datatype!r}; expected {known}", tensor
        )
    return found


def elements_of(shape: Sequence[int], tensor: str) -> int:
    """How many values a tensor of that shape holds. Raises `RequestError` for no shape at all."""
    if any(size < 0 for size in shape):
        raise RequestError(400, f"the input {tensor!r} has the shape {[*shape]}", tensor)
    return math.prod(shape)


def check_elements(seen: int, shape: Sequence[int], tensor: str) -> None:
    """Raises `RequestError` unless there are as many values as the shape says."""
    if seen != elements_of(shape, tensor):
        raise RequestError(
            400, f"the input {tensor!r} holds {seen} values; its shape is {[*shape]}", tensor
        )


def checked(values: Sequence[Any], datatype: Datatype, tensor: str) -> Sequence[Any]:
    """The values as an element of the datatype holds them: FP32 is rounded, NaN is missing.

    Raises `RequestError` for values that the datatype does not have.
    """
    kept = []
    for number, value in enumerate(values):
        problem = "" if value is None else _problem(value, datatype)
        if problem:
            raise RequestError(400, f"the input {tensor!r}: value {number} {problem}", tensor)
        kept.append(value)
    if datatype.code == "f":
        kept = [None if value is None else _round(value) for value in kept]
    return missing_for_nan(kept) if datatype.code in _FLOATS else kept


def _round(value: float) -> float:
    (rounded,) = struct.unpack("<f", struct.pack("<f", value))
    return float(rounded)


def missing_for_nan(values: Sequence[Any]) -> Sequence[Any]:
    return [None if value != value else value for value in values]


def _problem(value: Any, datatype: Datatype) -> str:
    code = datatype.code
    if code in _NOT_NUMBERS:
        kind, expected = _NOT_NUMBERS[code]
        return "" if isinstance(value, kind) else _other(value, datatype, expected)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _other(value, datatype, "numbers")
    if code not in _FLOATS and value % 1:
        return f"is {value}; {datatype.name} holds whole numbers"
    try:
        struct.pack(f"<{code}", value if code in _FLOATS else int(value))
    except (struct.error, OverflowError):
        return f"does not fit into {datatype.name}"
    return ""


_NOT_NUMBERS: dict[str, tuple[type, str]] = {"?": (bool, "true or false"), "s": (str, "texts")}


def _other(value: Any, datatype: Datatype, expected: str) -> str:
    return f"is {kind_of(value)}; {datatype.name} holds {expected}"


def frame_of(tensors: Sequence[Tensor], target: Target) -> Frame:
    """The inputs of a request, checked against the signature and packed for the model.

    Raises `RequestError` naming the feature or the input that is to blame.
    """
    if not tensors:
        raise RequestError(400, "inputs is empty", "inputs")
    if len(tensors) == 1 and is_matrix(tensors[0].shape, target.schema):
        return _of_matrix(tensors[0], target)
    return _of_columns(tensors, target)


@lru_cache(maxsize=64)
def only_doubles(schema: InputSchema) -> bool:
    """Whether the model takes nothing but FP64: then no value needs a look of its own."""
    return all(column.type == "double" for column in schema.features)


def is_matrix(shape: Sequence[int], schema: InputSchema) -> bool:
    """Whether an input that is alone holds all features."""
    return len(shape) == 2 and shape[1] == len(schema.features) and schema.numeric


def _of_matrix(tensor: Tensor, target: Target) -> Frame:
    count, width = tensor.shape
    check_count(count, target.max_rows, tensor.name)
    for column in target.schema.features:
        _check_datatype(tensor, column)
    rows = [tensor.values[start : start + width] for start in range(0, count * width, width)]
    return Frame(*target.schema.pack_rows(rows), count)


def _of_columns(tensors: Sequence[Tensor], target: Target) -> Frame:
    types = {column.name: column for column in target.schema.features}
    columns: dict[str, Sequence[Any]] = {}
    count = tensors[0].shape[0] if tensors[0].shape else 0
    for tensor in tensors:
        if tensor.name not in types:
            raise RequestError(
                400, f"unknown input {tensor.name!r} of shape {[*tensor.shape]}; "
                f"expected {_expected(target.schema)}", tensor.name,
            )  # fmt: skip
        if tensor.name in columns:
            raise RequestError(400, f"the input {tensor.name!r} is given twice", tensor.name)
        if [*tensor.shape] not in ([count], [count, 1]):
            raise RequestError(
                400, f"the input {tensor.name!r} has the shape {[*tensor.shape]}; "
                f"expected [{count}] or [{count}, 1]", tensor.name,
            )  # fmt: skip
        _check_datatype(tensor, types[tensor.name])
        columns[tensor.name] = tensor.values
    check_count(count, target.max_rows, tensors[0].name)
    return Frame(*target.schema.pack_columns(columns, count), count)


def _expected(schema: InputSchema) -> str:
    each = "one input for each feature, named like it"
    width = len(schema.features)
    return f"{each}, or a single one of shape [rows, {width}]" if schema.numeric else each


def _check_datatype(tensor: Tensor, column: Column) -> None:
    if column.type not in tensor.datatype.features:
        raise RequestError(
            400, f"the input {tensor.name!r} is {tensor.datatype.name}, which cannot hold "
            f"the feature {column.name!r}; expected {DATATYPE_OF[column.type]}", column.name,
        )  # fmt: skip


def check_outputs(names: Sequence[str]) -> None:
    """Raises `RequestError` for an output that no model has."""
    for name in names:
        if name != OUTPUT:
            raise RequestError(400, f"unknown output {name!r}; expected {OUTPUT!r}", "outputs")


def shape_of(answered: Answered) -> tuple[int, ...]:
    """Of the output: [rows], or [rows, width] where the model gives several numbers a row."""
    return answered.shape
