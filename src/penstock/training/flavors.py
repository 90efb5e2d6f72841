"""Fitted models of several libraries: one way to predict with each, and one safe way to save it."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from penstock.errors import ModelError
from penstock.registry.formats import FORMATS
from penstock.registry.lightgbm_format import booster_of
from penstock.registry.loading import LoadedModel
from penstock.registry.signature import features_of

Flavor = Literal["lightgbm", "sklearn", "pytorch", "onnx", "xgboost"]
HINT = (
    "train() returns a fitted scikit-learn classifier, LightGBM or XGBoost model, "
    "torch.nn.Module or ONNX"
)
PACKAGES: dict[Flavor, tuple[str, ...]] = {
    "lightgbm": ("lightgbm",),
    "sklearn": ("scikit-learn", "skops"),
    "pytorch": ("torch",),
    "onnx": ("onnx", "onnxruntime"),
    "xgboost": ("xgboost",),
}


def flavor_of(model: Any) -> Flavor:
    """Which library a model belongs to. Raises `ModelError` where none is known."""
    libraries = {kind.__module__.partition(".")[0] for kind in type(model).__mro__}
    if "lightgbm" in libraries:
        return "lightgbm"
    if "xgboost" in libraries:
        return "xgboost"
    if "torch" in libraries:
        return "pytorch"
    if "onnx" in libraries:
        return "onnx"
    is_class = isinstance(model, type)
    if "sklearn" in libraries or (hasattr(model, "predict_proba") and not is_class):
        return "sklearn"
    seen = f"the class {model.__name__}" if is_class else type(model).__name__
    raise ModelError(f"train() returned {seen}", hint=HINT)


def probabilities(model: Any, frame: pd.DataFrame) -> NDArray[np.float64]:
    """Of the positive class, shape (n,): exactly what the model gives once it is saved and loaded.

    Raises `ModelError` when they are not probabilities.
    """
    flavor, features = flavor_of(model), features_of(frame)
    fitted = FORMATS[flavor].fitted(model, features)
    return LoadedModel(flavor, features, fitted).predict(frame)


def importance(model: Any, names: list[str]) -> dict[str, float]:
    """Share of each feature in what the model uses; empty where the library does not say."""
    if flavor_of(model) == "lightgbm":
        values = booster_of(model).feature_importance(importance_type="gain")
    else:
        last = model[-1] if hasattr(model, "steps") else model
        values = getattr(last, "feature_importances_", None)
        if values is None and hasattr(last, "coef_"):
            values = np.abs(np.ravel(last.coef_))
    if values is None or len(values) != len(names) or not np.sum(values):
        return {}
    return {n: float(v) for n, v in zip(names, values / np.sum(values), strict=True)}


def save(model: Any, example: pd.DataFrame, folder: Path, trusted: tuple[str, ...] = ()) -> Flavor:
    """Writes an MLflow model folder in a safe format. Raises `ModelError` where none exists.

    `example` gives the names and types of the features; none of its rows are kept.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    flavor = flavor_of(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        FORMATS[flavor].save(model, folder, features_of(example), trusted, _requirements(flavor))
    return flavor


def _requirements(flavor: Flavor) -> list[str]:
    """Given, since MLflow would spend seconds finding them out in another process."""
    return [f"{name}=={_version(name)}" for name in (*PACKAGES[flavor], "numpy", "pandas")]


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:  # the same library without its code for GPUs
        return version(f"{package}-cpu")
