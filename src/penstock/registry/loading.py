"""Loads a model after verifying its bytes, from an allow-list of formats that carry no code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.errors import ModelError, PenstockError
from penstock.records import Column
from penstock.registry.formats import FORMATS, Probability
from penstock.registry.model_folder import model_digest, read_model_folder

if TYPE_CHECKING:
    import numpy
    import pandas

__all__ = ["LoadedModel", "load_model", "model_digest"]


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory. `predict` gives the probability of the positive class."""

    flavor: str
    features: tuple[Column, ...]
    probability: Probability

    def predict(self, frame: pandas.DataFrame) -> numpy.ndarray[Any, numpy.dtype[numpy.float64]]:
        """Shape (rows,), float64, each within [0, 1]. The frame's columns may be in any order.

        Raises `ModelError` for a missing column, or when the model fails or gives anything else.
        """
        import numpy

        ordered = conform(frame, self.features)
        try:
            output = numpy.asarray(self.probability(ordered), dtype=numpy.float64)
        except PenstockError:
            raise
        except Exception as error:  # whatever the model's library raises
            raise ModelError(f"the {self.flavor} model failed: {error}") from error
        if output.shape != (len(frame),):
            raise ModelError(f"the model gave shape {output.shape} for {len(frame)} rows")
        wrong = ~((output >= 0.0) & (output <= 1.0))
        if wrong.any():
            raise ModelError(
                f"the model gave {output[wrong][0]} for row {int(wrong.argmax())}, "
                "which is not a probability",
                hint="the model must give the probability of the positive class",
            )
        return output


def load_model(folder: Path, digest: str, trusted_types: tuple[str, ...] = ()) -> LoadedModel:
    """The model in an MLflow model folder, single-threaded and on the CPU.

    Raises `IntegrityError` when the folder's digest is not `digest`, and `ModelError` when the
    model is in a format that could run code: a pickle, a `code` folder, a custom loader.
    """
    described = read_model_folder(folder, digest)
    try:
        probability = FORMATS[described.flavor].load(
            described.data, described.features, trusted_types
        )
    except PenstockError:
        raise
    except Exception as error:  # whatever the library raises on bytes that it cannot read
        raise ModelError(
            f"the {described.flavor} model in {folder} cannot be loaded: {error}",
            hint="was it saved with another version of the library?",
        ) from error
    return LoadedModel(described.flavor, described.features, probability)


def conform(frame: pandas.DataFrame, features: tuple[Column, ...]) -> pandas.DataFrame:
    """The features in the model's order and types; a missing number is NaN, a missing text None."""
    import pandas

    missing = [column.name for column in features if column.name not in frame.columns]
    if missing:
        raise ModelError(f"the features lack {', '.join(missing)}")
    return pandas.DataFrame(
        {column.name: _conform(frame[column.name], column) for column in features}
    )


def _conform(values: pandas.Series[Any], column: Column) -> pandas.Series[Any]:
    import numpy

    if column.type == "string":
        return values.astype(object).where(values.notna(), None)
    if column.type in {"double", "float"} or values.isna().any():
        kind = "float32" if column.type == "float" else "float64"
    else:
        kind = column.type
    try:
        return values.astype(numpy.dtype(kind))
    except (TypeError, ValueError) as error:
        raise ModelError(f"the feature {column.name} is not {column.type}: {error}") from error
