"""The formats that Penstock saves and loads models in. None of them runs code when it is loaded:
LightGBM's text, skops with reviewed types, PyTorch's exported program, ONNX."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from penstock.records import Column
from penstock.registry import lightgbm_format, onnx_format, skops_format, torch_format

if TYPE_CHECKING:
    import pandas

Probability = Callable[["pandas.DataFrame"], Any]  # of the positive class, shape (rows,)


class Format(Protocol):
    """What one module of this package does for one library. Frames conform to `features`."""

    def load(
        self, data: bytes, features: tuple[Column, ...], trusted: tuple[str, ...], /
    ) -> Probability:
        """The model in the data file of a model folder, single-threaded and on the CPU."""

    def fitted(self, model: Any, features: tuple[Column, ...], /) -> Probability:
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
}
