"""XGBoost boosters in its own binary JSON, which holds numbers and names only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from penstock.errors import ModelError
from penstock.records import Column
from penstock.registry.matrix import require_numbers
from penstock.registry.scorer import Scorer, unchanged
from penstock.registry.signature import signature_of

BINARY = ("binary:logistic",)


def load(
    data: bytes, features: tuple[Column, ...], _: tuple[str, ...] = (), __: str = ""
) -> Scorer:
    """The booster's probability."""
    import xgboost

    booster = xgboost.Booster()
    booster.load_model(bytearray(data))
    booster.set_param({"nthread": 1})
    return _scorer(booster, features)


def fitted(model: Any, features: tuple[Column, ...]) -> Scorer:
    """The same, before it is saved."""
    return _scorer(booster_of(model), features)


def save(
    model: Any,
    folder: Path,
    features: tuple[Column, ...],
    _: tuple[str, ...],
    requirements: list[str],
) -> None:
    import mlflow.xgboost

    mlflow.xgboost.save_model(
        booster_of(model),
        str(folder),
        signature=signature_of(features),
        pip_requirements=requirements,
        model_format="ubj",
    )


def booster_of(model: Any) -> Any:
    """The booster in a scikit-learn style model, or the booster itself."""
    try:
        return model.get_booster() if hasattr(model, "get_booster") else model
    except Exception as error:  # XGBoost's own NotFittedError is scikit-learn's
        raise ModelError(
            f"the {type(model).__name__} was not fitted", hint="train() returns model.fit(X, y)"
        ) from error


def _scorer(booster: Any, features: tuple[Column, ...]) -> Scorer:
    import json

    require_numbers(features, "XGBoost")
    objective = json.loads(booster.save_config())["learner"]["objective"]["name"]
    if objective not in BINARY:
        raise ModelError(
            f"the booster's objective is {objective}",
            hint=f"expected a classifier of two classes: {', '.join(BINARY)}",
        )
    if booster.num_features() != len(features):
        raise ModelError(
            f"the booster takes {booster.num_features()} features, its signature names "
            f"{len(features)}"
        )

    def matrix(rows: Any) -> Any:
        return booster.inplace_predict(rows, validate_features=False)

    def of_frame(frame: Any) -> Any:
        return matrix(frame.to_numpy(dtype=float, na_value=float("nan")))

    return Scorer(of_frame, of_frame, matrix, unchanged)
