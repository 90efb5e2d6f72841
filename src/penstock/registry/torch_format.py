"""PyTorch programs exported to pt2, after the archive was searched for what could run code.

`torch.export.load` (2.13) unpickles in four places: weights and constants marked `use_pickle`,
custom objects, weights of the older layout, and sample inputs, for which it falls back from
`weights_only=True` to an unrestricted unpickling. It also gives symbolic shapes to
`sympy.sympify`, which evaluates them. Each is refused here before PyTorch sees the archive.
"""

from __future__ import annotations

import io
import json
import pickle
import re
from pathlib import Path
from typing import Any

from penstock.errors import ModelError
from penstock.records import Column
from penstock.registry.matrix import as_float32, positive_class, require_numbers
from penstock.registry.scorer import Scorer
from penstock.registry.signature import matrix_signature

WEIGHTS = "data/weights/model_weights_config.json"
CONSTANTS = "data/constants/model_constants_config.json"
PROGRAM = "models/model.json"
SAMPLE_INPUTS = "data/sample_inputs/model.pt"
ALLOWED_ENTRY = re.compile(
    r"archive_format|archive_version|byteorder|\.data/(version|serialization_id)"
    r"|data/weights/(weight_\d+|model_weights_config\.json)"
    r"|data/constants/(tensor_\d+|model_constants_config\.json)"
    r"|data/sample_inputs/model\.pt|models/model\.json"
)
LEAST = 2  # rows: torch.export treats a batch of one as a constant; a dynamic batch begins at two
# sympy's own notation: Max(Integer(1), Symbol('s77', positive=True)). No other name, text or
# attribute: `eval` and `chr` are within reach of an expression.
SYMBOLIC = re.compile(
    r"(?:[ ,()+*/<>=-]|\b\d+(?:\.\d+)?\b|\b[A-Z][A-Za-z]*\b|'[su]\d+'|\b[su]\d+\b"
    r"|\b(?:positive|nonnegative|integer|real)\b)*"
)


def load(
    data: bytes, features: tuple[Column, ...], _: tuple[str, ...] = (), __: str = ""
) -> Scorer:
    """The module's output for a float32 matrix of all features."""
    import torch
    from torch.export.pt2_archive._package import load_pt2

    _vet(data)
    torch.set_num_threads(1)
    # Not torch.export.load: on an error that one tries an older layout, which is all pickle.
    return _scorer(load_pt2(io.BytesIO(data)).exported_programs["model"].module(), features)


def fitted(model: Any, features: tuple[Column, ...]) -> Scorer:
    """The same, before it is saved."""
    return _scorer(model.eval(), features)


def save(
    model: Any,
    folder: Path,
    features: tuple[Column, ...],
    _: tuple[str, ...],
    requirements: list[str],
) -> None:
    """Exports the module by a batch of zeros: an example of real rows would stay in the folder."""
    import mlflow.pytorch
    import numpy

    signature, metadata = matrix_signature(features)
    try:
        mlflow.pytorch.save_model(
            model.eval(),
            str(folder),
            serialization_format="pt2",
            input_example=numpy.zeros((LEAST, len(features)), numpy.float32),
            signature=signature,
            metadata=metadata,
            pip_requirements=requirements,
        )
    except Exception as error:  # torch.export raises many kinds
        raise ModelError(
            f"the module cannot be exported: {str(error).splitlines()[0]}",
            hint="torch.export needs a forward() without data-dependent control flow",
        ) from error


def _scorer(module: Any, features: tuple[Column, ...]) -> Scorer:
    import numpy
    import torch

    require_numbers(features, "PyTorch")

    def outputs(rows: Any) -> Any:
        """Of a float32 matrix."""
        batch = torch.from_numpy(rows)
        padded = batch.repeat(LEAST, 1) if len(batch) == 1 else batch
        with torch.inference_mode():
            return module(padded)[: len(batch)].numpy()

    return Scorer(
        lambda frame: positive_class(outputs(as_float32(frame))),
        lambda frame: outputs(as_float32(frame)),
        lambda rows: outputs(rows.astype(numpy.float32)),
        positive_class,
    )


def _vet(data: bytes) -> None:
    """Raises `ModelError` unless the archive holds plain tensors and a program only."""
    import torch
    from torch.export.pt2_archive._package import PT2ArchiveReader

    with PT2ArchiveReader(io.BytesIO(data)) as archive:  # the same reader that will load it
        for entry in archive.get_file_names():
            if not ALLOWED_ENTRY.fullmatch(entry):
                _refuse(f"the entry {entry!r}")
        for file in (WEIGHTS, CONSTANTS):
            for name, payload in json.loads(archive.read_bytes(file))["config"].items():
                if payload["use_pickle"] or not payload["path_name"].startswith(
                    ("weight_", "tensor_")
                ):
                    _refuse(f"{name}, which is pickled")
        _vet_symbols(json.loads(archive.read_bytes(PROGRAM)))
        try:
            torch.load(io.BytesIO(archive.read_bytes(SAMPLE_INPUTS)), weights_only=True)
        except pickle.UnpicklingError as error:
            _refuse(f"sample inputs that are not tensors ({error})", error)


def _vet_symbols(part: Any) -> None:
    if isinstance(part, list):
        for item in part:
            _vet_symbols(item)
    elif isinstance(part, dict):
        expression = part.get("expr_str")
        if isinstance(expression, str) and not SYMBOLIC.fullmatch(expression):
            _refuse(f"the symbolic shape {expression!r}")
        for item in part.values():
            _vet_symbols(item)


def _refuse(what: str, cause: Exception | None = None) -> None:
    raise ModelError(
        f"the pt2 archive holds {what}, which could run code when it is loaded",
        hint="export a module of plain tensors with torch.export, and inputs that are tensors",
    ) from cause
