"""The features as one matrix of numbers, for the formats that know no column names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from penstock.errors import ModelError
from penstock.records import Column

if TYPE_CHECKING:
    import pandas


def require_numbers(features: tuple[Column, ...], format_name: str) -> None:
    """Raises `ModelError` when a feature is text, which such a model cannot take."""
    texts = [column.name for column in features if column.type == "string"]
    if texts:
        raise ModelError(
            f"a {format_name} model takes numbers, but these features are text: {', '.join(texts)}",
            hint="encode them in features.py, or use scikit-learn or LightGBM",
        )


def positive_class(output: Any) -> Any:
    """The probability of the positive class, shape (n,), from (n,), (n, 1) or (n, 2)."""
    if output.ndim == 2 and output.shape[1] in (1, 2):
        return output[:, -1]
    if output.ndim == 1:
        return output
    raise ModelError(
        f"the model gives an output of shape {tuple(output.shape)}",
        hint="expected one probability a row: (n,), (n, 1), or (n, 2) for two classes",
    )


def as_float32(frame: pandas.DataFrame) -> Any:
    """Shape (rows, features), float32, C order."""
    import numpy

    return numpy.ascontiguousarray(frame.to_numpy(dtype=numpy.float32, na_value=numpy.nan))
