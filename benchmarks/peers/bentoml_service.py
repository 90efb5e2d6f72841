"""BentoML: a service with NumPy inputs; with or without adaptive batches."""

import os
from typing import Annotated

import bentoml
import lightgbm
import numpy
from bentoml.validators import DType

Matrix = Annotated[numpy.ndarray, DType("float64")]
batch = int(os.environ["BENCH_BATCH"])
how = {"batchable": True, "max_batch_size": batch, "max_latency_ms": 1000} if batch > 1 else {}


@bentoml.service(
    name="bench",
    workers=int(os.environ["BENCH_WORKERS"]),
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
)
class Bench:
    def __init__(self) -> None:
        self.booster = lightgbm.Booster(model_file=os.environ["BENCH_MODEL"])

    @bentoml.api(**how)
    def predict(self, rows: Matrix) -> Matrix:
        return self.booster.predict(rows, num_threads=1)
