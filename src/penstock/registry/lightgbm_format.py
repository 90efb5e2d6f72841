"""LightGBM boosters saved as text."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from penstock.errors import ModelError
from penstock.records import Column

if TYPE_CHECKING:
    import pandas


def load(data: bytes, features: tuple[Column, ...]) -> Callable[[pandas.DataFrame], Any]:
    """The booster's output; text columns become the categories that it was trained with."""
    import lightgbm
    import numpy

    booster = lightgbm.Booster(model_str=data.decode())
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
        return booster.predict(matrix, num_threads=1)

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
