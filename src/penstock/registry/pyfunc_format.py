"""Models that only MLflow can load: Python with code and pickles of its own.

Loading one runs whatever it brings along, so this is called for versions alone that are signed, and
waived in the ledger, where the settings admit the kind.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.errors import ModelError
from penstock.records import Column
from penstock.registry.scorer import Scorer, unchanged

if TYPE_CHECKING:
    import pandas


def load(folder: Path, features: tuple[Column, ...]) -> Scorer:
    """Whatever the model's predict() gives is the probability of the positive class."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # MLflow 3 asks for this word before it unpickles; the waiver in the ledger has said it.
    os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "true"
    import mlflow.pyfunc

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # versions of libraries: the model's affair
        model = mlflow.pyfunc.load_model(str(folder))
    names = [column.name for column in features]

    def outputs(frame: pandas.DataFrame) -> Any:
        return _plain(model.predict(frame[names]))

    return Scorer(outputs, outputs, positive_of=unchanged)


def _plain(given: Any) -> Any:
    """A column is a list: MLflow's models give arrays, frames, series and lists."""
    import numpy

    values = numpy.asarray(given)
    if values.ndim == 2 and values.shape[1] == 1:
        return values[:, 0]
    if values.ndim == 0:
        raise ModelError("the model gave one value for all rows", hint="one for each is needed")
    return values
