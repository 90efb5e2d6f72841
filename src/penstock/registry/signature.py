"""The features that a model takes: read off a data frame, and written as MLflow's signature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from penstock.errors import ModelError
from penstock.records import Column

if TYPE_CHECKING:
    import pandas

# As Arrow prints a type, and as MLflow calls it; model_folder.ARROW_TYPES is the way back.
MLFLOW_TYPES = {
    "bool": "boolean",
    "int32": "integer",
    "int64": "long",
    "float": "float",
    "double": "double",
    "string": "string",
}
INT32 = frozenset({"int8", "int16", "int32", "uint8", "uint16"})  # what fits into it


def features_of(frame: pandas.DataFrame) -> tuple[Column, ...]:
    """Names and types in the frame's order. Raises `ModelError` for a type that no model takes."""
    return tuple(Column(name=str(name), type=_type_of(frame[name])) for name in frame.columns)


def signature_of(features: tuple[Column, ...]) -> Any:
    """Columns by name in, any of which may be null; one probability a row out."""
    from mlflow.types import ColSpec, Schema

    columns = [ColSpec(MLFLOW_TYPES[c.type], c.name, required=False) for c in features]
    return _signature(Schema(columns))


def matrix_signature(features: tuple[Column, ...]) -> tuple[Any, dict[str, Any]]:
    """One float32 matrix in; and the metadata that names its columns, which a tensor cannot."""
    import numpy
    from mlflow.types import Schema, TensorSpec

    matrix = TensorSpec(numpy.dtype("float32"), (-1, len(features)))
    named = [{"name": c.name, "type": MLFLOW_TYPES[c.type]} for c in features]
    return _signature(Schema([matrix])), {"features": named}


def _signature(inputs: Any) -> Any:
    import numpy
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    return ModelSignature(inputs, Schema([TensorSpec(numpy.dtype("float64"), (-1,))]))


def _type_of(values: pandas.Series[Any]) -> str:
    from pandas.api import types

    kind = values.dtype
    if types.is_bool_dtype(kind):
        return "bool"
    if types.is_integer_dtype(kind):
        return "int32" if str(kind).lower() in INT32 else "int64"
    if types.is_float_dtype(kind):
        return "float" if kind == "float32" else "double"
    known = values.dropna()
    if all(isinstance(value, str) for value in known):
        return "string"
    raise ModelError(
        f"the feature {values.name!r} is of type {kind}, which no model takes",
        hint="make it a number, true or false, or text; a time as days before the label time",
    )
