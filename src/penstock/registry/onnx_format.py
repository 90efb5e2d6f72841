"""ONNX graphs, run by onnxruntime on one thread of the CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.errors import ModelError
from penstock.records import Column
from penstock.registry.matrix import as_float32, positive_class, require_numbers
from penstock.registry.scorer import Scorer
from penstock.registry.signature import signature_of

if TYPE_CHECKING:
    import pandas

FLOATS = frozenset({"tensor(float)", "tensor(double)"})
INPUT_TYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(bool)": "bool",
    "tensor(string)": "object",
}


def load(
    data: bytes, features: tuple[Column, ...], _: tuple[str, ...] = (), __: str = ""
) -> Scorer:
    """The graph's probability output. Session options and providers in `MLmodel` are ignored:
    options can name libraries to load."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    feed = _feed(session.get_inputs(), features)
    output = _probability_output(session.get_outputs())

    def outputs(frame: pandas.DataFrame) -> Any:
        (result,) = session.run([output], feed(frame))
        return _tensor(result)

    def matrix(rows: Any) -> Any:
        (given,) = session.get_inputs()
        (result,) = session.run([output], {given.name: rows.astype(INPUT_TYPES[given.type])})
        return _tensor(result)

    one_input = len(session.get_inputs()) == 1
    return Scorer(
        lambda frame: positive_class(outputs(frame)),
        outputs,
        matrix if one_input else None,
        positive_class,
    )


def fitted(model: Any, features: tuple[Column, ...]) -> Scorer:
    """The same, before it is saved."""
    return load(model.SerializeToString(), features)


def save(
    model: Any,
    folder: Path,
    features: tuple[Column, ...],
    _: tuple[str, ...],
    requirements: list[str],
) -> None:
    import mlflow.onnx

    mlflow.onnx.save_model(
        model, str(folder), signature=signature_of(features), pip_requirements=requirements
    )


def _feed(
    inputs: list[Any], features: tuple[Column, ...]
) -> Callable[[pandas.DataFrame], dict[str, Any]]:
    """One matrix of all features, or one column of shape (n, 1) for each."""
    kinds = {given.name: INPUT_TYPES.get(given.type, "") for given in inputs}
    if set(kinds) == {column.name for column in features} and len(kinds) > 1:
        return lambda frame: {
            name: frame[[name]].to_numpy(dtype=kind) for name, kind in kinds.items()
        }
    (name, kind), *others = kinds.items()
    if others or kind not in {"float32", "float64"}:
        raise ModelError(
            f"the graph's inputs are {', '.join(kinds)}",
            hint="expected one matrix of floats, or one input for each feature, by name",
        )
    require_numbers(features, "ONNX")
    return lambda frame: {name: as_float32(frame).astype(kind, copy=False)}


def _probability_output(outputs: list[Any]) -> str:
    named = [output.name for output in outputs if "prob" in output.name.lower()]
    floats = [
        output.name for output in outputs if output.type in {"tensor(float)", "tensor(double)"}
    ]
    for candidates in (named, floats):
        if len(candidates) == 1:
            return str(candidates[0])
    raise ModelError(
        f"the graph's outputs are {', '.join(output.name for output in outputs)}",
        hint="expected one output of floats, or one with 'probability' in its name",
    )


def _tensor(result: Any) -> Any:
    """skl2onnx's ZipMap gives a list of {class: probability}; other graphs a tensor."""
    if isinstance(result, list):
        import numpy

        return numpy.array([[row[name] for name in sorted(row)] for row in result])
    return result
