"""Loads a model after verifying its bytes, from an allow-list of formats that carry no code."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.errors import ModelError, PenstockError
from penstock.records import Column
from penstock.registry import pyfunc_format
from penstock.registry.formats import FORMATS
from penstock.registry.model_folder import PYFUNC, model_digest, read_model_folder
from penstock.registry.scorer import Scorer

if TYPE_CHECKING:
    import numpy
    import pandas

    Floats = numpy.ndarray[Any, numpy.dtype[numpy.float64]]

__all__ = ["LoadedModel", "load_model", "model_digest"]


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory."""

    flavor: str
    features: tuple[Column, ...]
    scorer: Scorer
    required: frozenset[str] = frozenset()  # features that a client must send
    positional: bool = False  # MLflow's signature is one tensor, whose columns have no names

    @property
    def whole(self) -> bool:
        """Whether `outputs` are classes, which are whole numbers."""
        return self.scorer.classes

    @cached_property
    def numeric(self) -> bool:
        """Whether all features are numbers, so that rows are a matrix."""
        return all(column.type != "string" for column in self.features)

    def predict(self, frame: pandas.DataFrame) -> Floats:
        """The probability of the positive class: shape (rows,), each within [0, 1].

        The frame's columns may be in any order. Raises `ModelError` for a missing column, or when
        the model fails or gives anything else.
        """
        return self._called(self.scorer.positive, conform(frame, self.features), positive=True)

    def outputs(self, matrix: Floats, *, positive: bool) -> Floats:
        """Of rows of numbers, (rows, features), in the model's order; NaN is missing.

        With `positive` as `predict`; else what MLflow's pyfunc gives: (rows,) or (rows, k).
        """
        scorer = self.scorer
        if scorer.matrix is None or (positive and scorer.positive_of is None):
            columns = [matrix[:, place] for place in range(matrix.shape[1])]
            return self.outputs_of_columns(columns, positive=positive)
        if not positive or scorer.positive_of is None:
            return self._called(scorer.matrix, matrix, positive=False)
        outputs, positive_of = scorer.matrix, scorer.positive_of
        return self._called(lambda rows: positive_of(outputs(rows)), matrix, positive=True)

    def outputs_of_columns(self, columns: Sequence[Any], *, positive: bool) -> Floats:
        """The same of one sequence for each feature; None is missing."""
        if self.numeric and self.scorer.matrix is not None:
            return self.outputs(matrix_of(columns), positive=positive)
        import pandas

        pairs = zip(self.features, columns, strict=True)
        frame = pandas.DataFrame({column.name: values for column, values in pairs})
        function = self.scorer.positive if positive else self.scorer.outputs
        return self._called(function, conform(frame, self.features), positive=positive)

    def _called(self, function: Callable[[Any], Any], rows: Any, *, positive: bool) -> Floats:
        import numpy

        try:
            output = numpy.asarray(function(rows), dtype=numpy.float64)
        except PenstockError:
            raise
        except Exception as error:  # whatever the model's library raises
            raise ModelError(f"the {self.flavor} model failed: {error}") from error
        if len(output) != len(rows) or output.ndim > (1 if positive else 2):
            raise ModelError(f"the model gave shape {output.shape} for {len(rows)} rows")
        if positive and not ((output >= 0.0) & (output <= 1.0)).all():
            wrong = ~((output >= 0.0) & (output <= 1.0))
            raise ModelError(
                f"the model gave {output[wrong][0]} for row {int(wrong.argmax())}, "
                "which is not a probability",
                hint="the model must give the probability of the positive class",
            )
        return output


def load_model(
    folder: Path,
    digest: str,
    trusted_types: tuple[str, ...] = (),
    admitted: Collection[str] = (),
) -> LoadedModel:
    """The model in an MLflow model folder, single-threaded and on the CPU.

    Raises `IntegrityError` when the folder's digest is not `digest`, and `ModelError` when the
    model is in a format that could run code: a pickle, a `code` folder, a custom loader. The
    `admitted` are kinds of such models that this one may be loaded as: see `registry.waivers`.
    """
    described = read_model_folder(folder, digest, admitted)
    try:
        if described.flavor == PYFUNC:
            scorer = pyfunc_format.load(folder, described.features)
        else:
            scorer = FORMATS[described.flavor].load(
                described.data, described.features, trusted_types, described.predict
            )
    except PenstockError:
        raise
    except Exception as error:  # whatever the library raises on bytes that it cannot read
        raise ModelError(
            f"the {described.flavor} model in {folder} cannot be loaded: {error}",
            hint="was it saved with another version of the library?",
        ) from error
    return LoadedModel(
        described.flavor, described.features, scorer, described.required, described.positional
    )


def matrix_of(columns: Sequence[Any]) -> Floats:
    """One sequence of numbers for each feature as (rows, features), C order; None is NaN.

    Raises `TypeError` or `ValueError` for what is no number.
    """
    import numpy

    together = numpy.array(columns, dtype=numpy.float64)
    if together.ndim != 2:
        raise ValueError("a feature's values are lists; expected numbers")
    return numpy.ascontiguousarray(together.T)


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
