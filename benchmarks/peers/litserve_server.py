"""LitServe: its queue for high rates; with or without batches."""

import os

import lightgbm
import litserve
import numpy


class Model(litserve.LitAPI):
    def setup(self, device):
        self.booster = lightgbm.Booster(model_file=os.environ["BENCH_MODEL"])

    def decode_request(self, request):
        return numpy.array(request["row"])

    def batch(self, inputs):
        return numpy.stack(inputs)

    def predict(self, rows):
        return self.booster.predict(numpy.atleast_2d(rows), num_threads=1)

    def unbatch(self, output):
        return list(output)

    def encode_response(self, output):
        return {"prediction": float(numpy.ravel(output)[0])}


if __name__ == "__main__":
    batch, workers = int(os.environ["BENCH_BATCH"]), int(os.environ["BENCH_WORKERS"])
    model = Model(max_batch_size=batch, batch_timeout=0.001) if batch > 1 else Model()
    server = litserve.LitServer(
        model, accelerator="cpu", workers_per_device=workers, fast_queue=True
    )
    server.run(
        host="127.0.0.1",
        port=int(os.environ["BENCH_PORT"]),
        log_level="warning",
        generate_client_file=False,
        access_log=False,
    )
