"""Ray Serve on a Ray of its own; with or without batches."""

import os
import signal
import threading

import lightgbm
import numpy
import ray
from ray import serve
from starlette.requests import Request

batch, replicas = int(os.environ["BENCH_BATCH"]), int(os.environ["BENCH_WORKERS"])


class Model:
    def __init__(self):
        self.booster = lightgbm.Booster(model_file=os.environ["BENCH_MODEL"])

    def predictions(self, rows):
        return self.booster.predict(numpy.array(rows), num_threads=1).tolist()


class Alone(Model):
    async def __call__(self, request: Request):
        return {"prediction": self.predictions([(await request.json())["row"]])[0]}


class Batched(Model):
    @serve.batch(max_batch_size=max(batch, 1), batch_wait_timeout_s=0.001)
    async def together(self, rows):
        return self.predictions(rows)

    async def __call__(self, request: Request):
        return {"prediction": await self.together((await request.json())["row"])}


def on_loopback():
    """In each worker: replicas of Ray 2.60 offer gRPC on all addresses, and have no setting."""
    from ray.serve._private import replica

    given = replica.add_port_to_grpc_server
    replica.add_port_to_grpc_server = lambda server, address: given(
        server, address.replace("[::]", "127.0.0.1")
    )


if __name__ == "__main__":
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=80 * 2**20,
        runtime_env={"worker_process_setup_hook": on_loopback},
        _temp_dir=os.path.abspath("ray"),
        logging_level="warning",
    )
    serve.start(
        http_options={"host": "127.0.0.1", "port": int(os.environ["BENCH_PORT"])},
        logging_config={"enable_access_log": False, "log_level": "WARNING"},
    )
    deployment = serve.deployment(
        num_replicas=replicas, max_ongoing_requests=100, ray_actor_options={"num_cpus": 0.5}
    )(Batched if batch > 1 else Alone)
    serve.run(deployment.bind(), name="bench", route_prefix="/")
    ended.wait()
    serve.shutdown()
    ray.shutdown()
