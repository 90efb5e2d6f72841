"""The formats that Penstock saves and loads models in. None of them runs code when it is loaded:
LightGBM's text, XGBoost's own, skops with reviewed types, PyTorch's exported program, ONNX."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from penstock.records import Column
from penstock.registry import (
    lightgbm_format,
    onnx_format,
    skops_format,
    torch_format,
    xgboost_format,
)
from penstock.registry.scorer import Scorer


class Format(Protocol):
    """What one module of this package does for one library. Frames conform to `features`."""

    def load(
        self, data: bytes, features: tuple[Column, ...], trusted: tuple[str, ...], predict: str, /
    ) -> Scorer:
        """The model in the data file of a model folder, single-threaded and on the CPU.

        `predict` is the function that `MLmodel` names for MLflow's pyfunc, where it names one.
        """

    def fitted(self, model: Any, features: tuple[Column, ...], /) -> Scorer:
        """A model as train() returned it, before it is saved."""

    def save(
        self,
        model: Any,
        folder: Path,
        features: tuple[Column, ...],
        trusted: tuple[str, ...],
        requirements: list[str],
        /,
    ) -> None:
        """Writes an MLflow model folder. Raises `ModelError` where that would not be safe."""


FORMATS: Mapping[str, Format] = {
    "lightgbm": lightgbm_format,
    "sklearn": skops_format,
    "pytorch": torch_format,
    "onnx": onnx_format,
    "xgboost": xgboost_format,
}
