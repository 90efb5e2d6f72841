"""A replica: one process that holds one model and answers one request after the other."""

from __future__ import annotations

import gc
import importlib
import signal
import socket
from pathlib import Path
from typing import Any

from penstock.errors import PenstockError, ServingError
from penstock.processes.channel import Channel
from penstock.processes.host import end_with
from penstock.registry.loading import load_model
from penstock.serving.frames import Decoder, Frame, encode
from penstock.serving.predictor import OnlineReader, Predictor
from penstock.serving.release import FeatureSource, ReleaseSpec

RECEIVE_BYTES = 1 << 18


def run(channel: Channel, release: dict[str, Any], socket_path: str, max_rows: int) -> None:
    """The whole life of the process; it ends with the gateway's end of either connection.

    Says {"ready": True} over the channel once it listens on `socket_path`, or what went wrong.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the gateway decides when a replica has drained
    end_with(channel)
    try:
        predictor = prepare(ReleaseSpec.model_validate(release), max_rows)
    except PenstockError as error:
        channel.send(error.as_dict())
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(socket_path)
        listener.listen(1)
        channel.send({"ready": True})
        connection, _ = listener.accept()
    with connection:
        answer_all(connection, predictor)


def prepare(spec: ReleaseSpec, max_rows: int) -> Predictor:
    """Loads, verifies and warms up. Raises `PenstockError`."""
    model = load_model(Path(spec.path), spec.digest, spec.trusted_types)
    source = None if spec.features is None else construct(spec.features)
    predictor = Predictor(spec, model, source, max_rows)
    predictor.warm_up()
    gc.collect()
    gc.freeze()  # what was loaded lives as long as the process; no need to look at it again
    return predictor


def construct(source: FeatureSource) -> OnlineReader:
    """Raises `ServingError` when the class cannot be imported or constructed."""
    module, _, name = source.module.partition(":")
    try:
        reader: OnlineReader = getattr(importlib.import_module(module), name)(**source.arguments)
    except Exception as error:  # whatever the class or its imports raise
        raise ServingError(f"{source.module} cannot be constructed: {error!r}") from error
    return reader


def answer_all(connection: socket.socket, predictor: Predictor) -> None:
    """Returns when the gateway closes the connection."""
    decoder = Decoder()
    while data := connection.recv(RECEIVE_BYTES):
        for request in decoder.feed(data):
            status, body = predictor.answer(request.body, request.label.decode("latin-1"))
            connection.sendall(encode(Frame(request.number, status, b"", body)))
