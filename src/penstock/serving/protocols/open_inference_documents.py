"""What the Open Inference Protocol tells of the server and its models, over HTTP and gRPC alike.

    GET /v2                                        server_metadata()
    GET /v2/health/live                            ServerLive(live)
    GET /v2/health/ready                           ServerReady(live, ready)
    GET /v2/models/{name}[/versions/{v}]           model_metadata(served, name, version)
    GET /v2/models/{name}[/versions/{v}]/ready     model_ready(served, name, version)

Each is written by `encode`. "Not ready" is for HTTP a status of 503 beside the document.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from penstock import __version__
from penstock.serving.http_server.messages import RequestError
from penstock.serving.protocols.asked import Target
from penstock.serving.protocols.open_inference_tensors import (
    DATATYPE_OF,
    OUTPUT,
    OUTPUT_DATATYPE,
)

EXTENSIONS: Final = ("binary_tensor_data",)


class Served(NamedTuple):
    """A version of a model under a name that clients may ask for."""

    name: str
    target: Target
    platform: str  # the model's flavour: lightgbm, sklearn, …
    ready: bool


class ServerLive(msgspec.Struct, frozen=True):
    live: bool


class ServerReady(msgspec.Struct, frozen=True):
    live: bool
    ready: bool


class ServerMetadata(msgspec.Struct, frozen=True):
    name: str
    version: str
    extensions: tuple[str, ...]


class TensorMetadata(msgspec.Struct, frozen=True):
    name: str
    datatype: str
    shape: tuple[int, ...]  # -1: any number of rows


class ModelMetadata(msgspec.Struct, frozen=True):
    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]


class ModelReady(msgspec.Struct, frozen=True):
    name: str
    ready: bool


Document = ServerLive | ServerReady | ServerMetadata | ModelMetadata | ModelReady


def encode(document: Document) -> bytes:
    """The body of the answer."""
    return msgspec.json.encode(document)


def server_metadata() -> ServerMetadata:
    return ServerMetadata("penstock", __version__, EXTENSIONS)


def model_metadata(served: Sequence[Served], name: str, version: str = "") -> ModelMetadata:
    """What a model takes and gives; without a version, of the first that is served by that name.

    Raises `RequestError` for a name or version that is not served.
    """
    found = _named(served, name, version)
    if not found:
        what = f"version {version!r} of the model {name!r}" if version else f"the model {name!r}"
        raise RequestError(404, f"{what} is not served here", name)
    features = found[0].target.schema.features
    return ModelMetadata(
        name=name,
        versions=tuple(dict.fromkeys(one.target.version for one in _named(served, name, ""))),
        platform=found[0].platform,
        inputs=tuple(
            TensorMetadata(column.name, DATATYPE_OF[column.type], (-1,)) for column in features
        ),
        outputs=(TensorMetadata(OUTPUT, OUTPUT_DATATYPE, (-1,)),),
    )


def model_ready(served: Sequence[Served], name: str, version: str = "") -> ModelReady:
    """Whether a request for the model would be answered; one that is not served is not ready."""
    found = _named(served, name, version)
    return ModelReady(name, any(one.ready for one in found))


def _named(served: Sequence[Served], name: str, version: str) -> list[Served]:
    return [one for one in served if one.name == name and version in ("", one.target.version)]
