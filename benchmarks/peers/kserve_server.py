"""KServe's Python server, without gRPC and without a log line for each request."""

import logging
import os

import lightgbm
import numpy
import uvicorn


class Loopback(uvicorn.Config):
    """KServe 0.21 listens on all addresses, without a setting for it."""

    def __init__(self, *args, **options):
        super().__init__(*args, **{**options, "host": "127.0.0.1", "access_log": False})


uvicorn.Config = Loopback

from kserve import Model, ModelServer  # noqa: E402

logging.getLogger("kserve.trace").setLevel(logging.WARNING)  # two lines for each request


class Bench(Model):
    def __init__(self):
        super().__init__("bench")
        self.load()

    def load(self):
        self.booster = lightgbm.Booster(model_file=os.environ["BENCH_MODEL"])
        self.ready = True
        return self.ready

    async def predict(self, payload, headers=None, response_headers=None):
        matrix = numpy.array(payload["instances"])
        return {"predictions": self.booster.predict(matrix, num_threads=1).tolist()}


if __name__ == "__main__":
    server = ModelServer(
        http_port=int(os.environ["BENCH_PORT"]),
        workers=int(os.environ["BENCH_WORKERS"]),
        enable_grpc=False,
        enable_latency_logging=False,
    )
    server.start([Bench()])
