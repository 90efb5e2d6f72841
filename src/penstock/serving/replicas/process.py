"""A replica: one process that holds one model and answers all that came while it was busy at once.

That is the whole of its batching: under load a batch is what arrived during the previous one, and
without load a request never waits for another.
"""

from __future__ import annotations

import gc
import importlib
import os
import resource
import signal
import socket
from pathlib import Path
from typing import Any

from penstock.errors import PenstockError, ServingError
from penstock.processes.channel import Channel
from penstock.processes.host import end_with
from penstock.registry.loading import load_model
from penstock.serving.release import FeatureSource, ReleaseSpec
from penstock.serving.replicas.frames import Decoder
from penstock.serving.replicas.predictor import OnlineReader, Predictor

RECEIVE_BYTES = 1 << 18  # the most that is answered at once, unless one question is larger


def run(channel: Channel, release: dict[str, Any], socket_path: str) -> None:
    """The whole life of the process; it ends with the gateway's end of either connection.

    Says {"ready": True} and the model's inputs over the channel once it listens on `socket_path`,
    or what went wrong.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the gateway decides when a replica has drained
    end_with(channel)
    try:
        spec = ReleaseSpec.model_validate(release)
        limit(spec)
        predictor, about = prepare(spec)
    except PenstockError as error:
        channel.send(error.as_dict())
        return
    except MemoryError:
        channel.send(_too_little_memory(spec).as_dict())
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(socket_path)
        listener.listen(1)
        channel.send({"ready": True, **about})
        connection, _ = listener.accept()
    with connection:
        answer_all(connection, predictor)


def limit(spec: ReleaseSpec) -> None:
    """What the process may take of the machine."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(spec.threads)
    if spec.memory:
        resource.setrlimit(resource.RLIMIT_DATA, (spec.memory, spec.memory))


def prepare(spec: ReleaseSpec) -> tuple[Predictor, dict[str, Any]]:
    """Loads, verifies and warms up; and what the gateway must know. Raises `PenstockError`."""
    model = load_model(Path(spec.path), spec.digest, spec.trusted_types, spec.admitted)
    source = None if spec.features is None else construct(spec.features)
    predictor = Predictor(
        model, source, refuse_unknown=spec.unknown_entity == "refuse", memory=spec.memory
    )
    if missing := predictor.warm_up():
        print(f"{spec.id}: no warm-up row could be made: {missing}", flush=True)
    gc.collect()
    gc.freeze()  # what was loaded lives as long as the process; no need to look at it again
    return predictor, {
        "flavor": model.flavor,
        "features": [column.model_dump() for column in model.features],
        "required": sorted(model.required),
        "positional": model.positional,
    }


def construct(source: FeatureSource) -> OnlineReader:
    """Raises `ServingError` when the class cannot be imported or constructed."""
    module, _, name = source.module.partition(":")
    try:
        reader: OnlineReader = getattr(importlib.import_module(module), name)(**source.arguments)
    except Exception as error:  # whatever the class or its imports raise
        raise ServingError(f"{source.module} cannot be constructed: {error!r}") from error
    return reader


def answer_all(connection: socket.socket, predictor: Predictor) -> None:
    """Returns when the gateway closes the connection, or when memory is at its end.

    What has no answer then, the gateway asks of another replica.
    """
    decoder = Decoder()
    while data := connection.recv(RECEIVE_BYTES):
        if questions := decoder.feed(data):
            connection.sendall(b"".join(predictor.answers(questions)))
            if predictor.exhausted:
                return


def _too_little_memory(spec: ReleaseSpec) -> ServingError:
    return ServingError(
        f"{spec.model} does not fit into {spec.memory / 2**20:.0f} MiB",
        hint="raise [serving] memory",
    )
