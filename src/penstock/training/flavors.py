"""Fitted models of several libraries: one way to predict, one safe way to save each.

No format here runs code when it is loaded: LightGBM's text, skops with reviewed types,
PyTorch's exported program, ONNX.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from penstock.errors import ModelError
from penstock.registry.trusted_types import TRUSTED_TYPES

Flavor = Literal["lightgbm", "sklearn", "pytorch", "onnx"]
HINT = "train() returns a fitted scikit-learn classifier, LightGBM model, torch.nn.Module or ONNX"


def flavor_of(model: Any) -> Flavor:
    """Which library a model belongs to. Raises `ModelError` where none is known."""
    libraries = {kind.__module__.partition(".")[0] for kind in type(model).__mro__}
    if "lightgbm" in libraries:
        return "lightgbm"
    if "torch" in libraries:
        return "pytorch"
    if "onnx" in libraries:
        return "onnx"
    if "sklearn" in libraries or hasattr(model, "predict_proba"):
        return "sklearn"
    raise ModelError(f"train() returned {type(model).__name__}", hint=HINT)


def probabilities(model: Any, frame: pd.DataFrame) -> NDArray[np.float64]:
    """Of the positive class, shape (n,). Raises `ModelError` when they are not probabilities."""
    match flavor_of(model):
        case "lightgbm":
            values = booster_of(model).predict(frame)
        case "sklearn":
            values = model.predict_proba(frame)[:, 1]
        case "pytorch":
            values = _torch_output(model, frame)
        case "onnx":
            raise ModelError("an ONNX model is scored after it was saved", hint=HINT)
    values = np.asarray(values, dtype=np.float64).reshape(len(frame))
    if not ((values >= 0) & (values <= 1)).all():
        raise ModelError(
            f"the model's outputs go from {values.min():g} to {values.max():g}",
            hint="it must give probabilities: a binary objective, or a sigmoid as the last layer",
        )
    return values


def booster_of(model: Any) -> Any:
    """The booster in a scikit-learn style LightGBM model, or the booster itself."""
    if not hasattr(model, "booster_"):
        return model
    if list(getattr(model, "classes_", [0, 1])) != [0, 1]:
        raise ModelError(f"the model's classes are {list(model.classes_)}, not 0 and 1")
    return model.booster_


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


def save(model: Any, example: pd.DataFrame, folder: Path, trusted: tuple[str, ...]) -> Flavor:
    """Writes an MLflow model folder in a safe format. Raises `ModelError` where none exists."""
    # MLflow would otherwise spend seconds finding the requirements out in another process.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    flavor = flavor_of(model)
    common = {"path": str(folder), "pip_requirements": _requirements(flavor)}
    signature = _signature(example)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _SAVERS[flavor](model, example, trusted, {**common, "signature": signature})
    return flavor


def _save_lightgbm(
    model: Any, _: pd.DataFrame, __: tuple[str, ...], common: dict[str, Any]
) -> None:
    import mlflow.lightgbm

    mlflow.lightgbm.save_model(booster_of(model), **common)


def _save_sklearn(
    model: Any, _: pd.DataFrame, trusted: tuple[str, ...], common: dict[str, Any]
) -> None:
    import mlflow.sklearn
    import skops.io
    from mlflow.exceptions import MlflowException

    allowed = [*TRUSTED_TYPES, *trusted]
    try:
        found = set(skops.io.get_untrusted_types(data=skops.io.dumps(model)))
        unknown = sorted(found - set(allowed))
    except (TypeError, ValueError, AttributeError, MlflowException) as error:
        raise ModelError(f"the model cannot be saved by skops: {error}", hint=HINT) from error
    if unknown:
        raise ModelError(
            f"the model holds objects that nobody has reviewed: {', '.join(unknown)}",
            hint="review their code, then list them in [training] trusted_types; "
            "Penstock does not save pickles",
        )
    mlflow.sklearn.save_model(
        model,
        serialization_format="skops",
        skops_trusted_types=sorted(found),
        **common,
    )


def _save_pytorch(
    model: Any, example: pd.DataFrame, _: tuple[str, ...], common: dict[str, Any]
) -> None:
    import mlflow.pytorch

    model.eval()
    sample = example.head(2).to_numpy(dtype=np.float32)
    try:
        mlflow.pytorch.save_model(model, serialization_format="pt2", input_example=sample, **common)
    except Exception as error:  # torch.export raises many kinds
        raise ModelError(
            f"the module cannot be exported: {str(error).splitlines()[0]}",
            hint="torch.export needs a forward() without data-dependent control flow",
        ) from error


def _save_onnx(model: Any, _: pd.DataFrame, __: tuple[str, ...], common: dict[str, Any]) -> None:
    import mlflow.onnx

    mlflow.onnx.save_model(model, **common)


_SAVERS = {
    "lightgbm": _save_lightgbm,
    "sklearn": _save_sklearn,
    "pytorch": _save_pytorch,
    "onnx": _save_onnx,
}


def _signature(example: pd.DataFrame) -> Any:
    from mlflow.models import infer_signature

    return infer_signature(example, np.zeros(1))


def _requirements(flavor: Flavor) -> list[str]:
    from importlib.metadata import version

    packages = {
        "lightgbm": ("lightgbm",),
        "sklearn": ("scikit-learn", "skops"),
        "pytorch": ("torch",),
        "onnx": ("onnx", "onnxruntime"),
    }
    return [f"{package}=={version(package)}" for package in (*packages[flavor], "numpy", "pandas")]


def _torch_output(model: Any, frame: pd.DataFrame) -> Any:
    import torch

    model.eval()
    with torch.no_grad():
        return model(torch.from_numpy(frame.to_numpy(dtype=np.float32))).numpy()
