"""LightGBM boosters saved as text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.errors import ModelError
from penstock.records import Column
from penstock.registry.lightgbm_rows import matrix_of
from penstock.registry.scorer import Scorer, unchanged
from penstock.registry.signature import signature_of

if TYPE_CHECKING:
    import pandas


def load(
    data: bytes, features: tuple[Column, ...], _: tuple[str, ...] = (), __: str = ""
) -> Scorer:
    """The booster's output; text columns become the categories that it was trained with."""
    import lightgbm

    return _scorer(lightgbm.Booster(model_str=data.decode()), features, threads=1)


def fitted(model: Any, features: tuple[Column, ...]) -> Scorer:
    """The same, before it is saved."""
    return _scorer(booster_of(model), features, threads=0)


def save(
    model: Any,
    folder: Path,
    features: tuple[Column, ...],
    _: tuple[str, ...],
    requirements: list[str],
) -> None:
    import mlflow.lightgbm

    mlflow.lightgbm.save_model(
        booster_of(model),
        str(folder),
        signature=signature_of(features),
        pip_requirements=requirements,
    )


def booster_of(model: Any) -> Any:
    """The booster in a scikit-learn style model, or the booster itself."""
    import lightgbm

    booster = getattr(model, "booster_", model)  # LightGBM has no booster_ before it is fitted
    if not isinstance(booster, lightgbm.Booster):
        raise ModelError(
            f"the {type(model).__name__} was not fitted", hint="train() returns model.fit(X, y)"
        )
    classes = list(getattr(model, "classes_", [0, 1]))
    if classes != [0, 1]:
        raise ModelError(f"the model's classes are {classes}, not 0 and 1")
    return booster


def _scorer(booster: Any, features: tuple[Column, ...], threads: int) -> Scorer:
    probability = _probability(booster, features, threads)
    numeric = all(column.type != "string" for column in features)
    matrix = matrix_of(booster, len(features)) if numeric and threads == 1 else None
    return Scorer(probability, probability, matrix, unchanged)


def _probability(
    booster: Any, features: tuple[Column, ...], threads: int
) -> Callable[[pandas.DataFrame], Any]:
    """`threads` is LightGBM's num_threads; 0 is all there are."""
    import numpy

    if booster.num_feature() != len(features):
        raise ModelError(
            f"the booster takes {booster.num_feature()} features, its signature names "
            f"{len(features)}"
        )
    codes = _category_codes(booster.pandas_categorical or [], features)

    def probability(frame: pandas.DataFrame) -> Any:
        # As LightGBM itself encodes a frame's categoricals (basic.py, _data_from_pandas), a
        # category that training did not know is missing. A matrix saves it its own checks.
        matrix = numpy.empty((len(frame), len(features)))
        for position, column in enumerate(features):
            values = frame[column.name]
            if column.name in codes:
                values = values.map(codes[column.name])
            matrix[:, position] = values.to_numpy(dtype=numpy.float64, na_value=numpy.nan)
        return booster.predict(matrix, num_threads=threads)

    return probability


def _category_codes(
    categories: list[list[Any]], features: tuple[Column, ...]
) -> dict[str, dict[str, int]]:
    """LightGBM keeps the categories of each categorical column in order, but not its name."""
    texts = [column.name for column in features if column.type == "string"]
    if len(texts) != len(categories):
        raise ModelError(
            f"the booster was trained with {len(categories)} categorical columns, but "
            f"{len(texts)} features of its signature are text",
            hint="make every categorical feature a string column, and every string categorical",
        )
    return {
        name: {str(value): code for code, value in enumerate(values)}
        for name, values in zip(texts, categories, strict=True)
    }
