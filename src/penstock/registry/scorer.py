"""A model in memory as functions of rows, whatever library it came from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas

OfFrame = Callable[["pandas.DataFrame"], Any]
OfMatrix = Callable[[Any], Any]


@dataclass(frozen=True)
class Scorer:
    """Frames conform to the model's features; a matrix is float64, (rows, features), C order."""

    positive: OfFrame  # probability of the positive class, (rows,)
    outputs: OfFrame  # what MLflow's pyfunc gives for the same model: (rows,) or (rows, k)
    matrix: OfMatrix | None = None  # `outputs` of features that are all numbers, without a frame
    # The probability from `outputs`, where it is in there.
    positive_of: OfMatrix | None = None
    classes: bool = False  # `outputs` are classes


def unchanged(outputs: Any) -> Any:
    """For models whose one output is the probability."""
    return outputs
