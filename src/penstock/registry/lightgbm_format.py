"""LightGBM boosters saved as text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.errors import ModelError
from penstock.records import Column
from penstock.registry.lightgbm_library import Booster, open_library
from penstock.registry.lightgbm_rows import matrix_of
from penstock.registry.scorer import OfMatrix, Scorer, unchanged
from penstock.registry.signature import signature_of

if TYPE_CHECKING:
    import pandas


def load(
    data: bytes, features: tuple[Column, ...], _: tuple[str, ...] = (), __: str = ""
) -> Scorer:
    """The booster's output; text columns become the categories that it was trained with."""
    library = open_library()
    if library is not None:
        booster = Booster(library, data)
        return _scorer(matrix_of(booster), booster.features, booster.categories, features)
    import lightgbm  # a version that keeps its library elsewhere

    return _of_package(lightgbm.Booster(model_str=data.decode()), features, threads=1)


def fitted(model: Any, features: tuple[Column, ...]) -> Scorer:
    """The same, before it is saved."""
    return _of_package(booster_of(model), features, threads=0)


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


def _of_package(booster: Any, features: tuple[Column, ...], threads: int) -> Scorer:
    """`threads` is LightGBM's num_threads; 0 is all there are."""

    def outputs(rows: Any) -> Any:
        return booster.predict(rows, num_threads=threads)

    return _scorer(outputs, booster.num_feature(), booster.pandas_categorical or [], features)


def _scorer(
    outputs: OfMatrix, width: int, categories: list[list[Any]], features: tuple[Column, ...]
) -> Scorer:
    """Of a booster that takes `width` features, and gives `outputs`."""
    if width != len(features):
        raise ModelError(f"the booster takes {width} features, its signature names {len(features)}")
    codes = _category_codes(categories, features)

    def of_frame(frame: pandas.DataFrame) -> Any:
        return outputs(_coded(frame, codes))

    numeric = all(column.type != "string" for column in features)
    return Scorer(of_frame, of_frame, outputs if numeric else None, unchanged)


def _coded(frame: pandas.DataFrame, codes: dict[str, dict[str, int]]) -> Any:
    """Texts as the numbers that training knew them by: float64, (rows, features).

    As LightGBM itself encodes a frame's categoricals (basic.py, _data_from_pandas), a category that
    training did not know is missing. A matrix saves it its own checks.
    """
    import numpy

    matrix = numpy.empty(frame.shape)
    for position, name in enumerate(frame.columns):
        values = frame[name]
        if name in codes:
            values = values.map(codes[name])
        matrix[:, position] = values.to_numpy(dtype=numpy.float64, na_value=numpy.nan)
    return matrix


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
