"""The Open Inference Protocol v2 over gRPC: `inference.GRPCInferenceService`.

The messages are those of open_inference.proto. Tensors come raw or in typed fields; the answer has
the form of the question. Needs the package grpcio.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import unquote

import grpc
import msgspec

from penstock.errors import ServingError
from penstock.serving.http_server.messages import RequestError
from penstock.serving.protocols import open_inference_pb2 as messages
from penstock.serving.protocols.asked import Asked, Context, Target
from penstock.serving.protocols.open_inference_documents import (
    Served,
    model_metadata,
    model_ready,
    server_metadata,
)
from penstock.serving.protocols.open_inference_grpc_tensors import answer_of, asked_of
from penstock.serving.replicas.frames import Answered

SERVICE: Final = "inference.GRPCInferenceService"
INTERNAL: Final = "the gateway failed on this request"
MAX_MESSAGE: Final = 500  # characters; gRPC's clients give up on trailers of more than 8 KB
CODES: Final = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}

Method = Callable[[Any, Any], Awaitable[Any]]  # of a message and gRPC's context

log = logging.getLogger(__name__)


class Ask(Protocol):
    """Routes a question to a model and brings the answer. Raises `RequestError`."""

    def __call__(
        self,
        target_name: str,
        version: str,
        inputs_to_asked: Callable[[Target], Asked],
        metadata: Mapping[str, str],
        client: str,
    ) -> Awaitable[tuple[Answered, Context]]: ...


class GrpcService:
    """The six methods of the service; what is served, and how it is asked, is given to it."""

    def __init__(
        self,
        ask: Ask,
        live: Callable[[], bool],
        ready: Callable[[], bool],
        targets: Callable[[], Sequence[Served]],
    ) -> None:
        self._ask = ask
        self._live = live
        self._ready = ready
        self._targets = targets

    async def server_live(self, request: Any, context: Any) -> Any:
        return messages.ServerLiveResponse(live=self._live())

    async def server_ready(self, request: Any, context: Any) -> Any:
        return messages.ServerReadyResponse(ready=self._ready())

    async def server_metadata(self, request: Any, context: Any) -> Any:
        return messages.ServerMetadataResponse(**msgspec.structs.asdict(server_metadata()))

    async def model_ready(self, request: Any, context: Any) -> Any:
        known = model_ready(self._targets(), request.name, request.version)
        return messages.ModelReadyResponse(ready=known.ready)

    async def model_metadata(self, request: Any, context: Any) -> Any:
        known = model_metadata(self._targets(), request.name, request.version)
        return messages.ModelMetadataResponse(**msgspec.to_builtins(known))

    async def model_infer(self, request: Any, context: Any) -> Any:
        answered, about = await self._ask(
            request.model_name,
            request.model_version,
            lambda target: asked_of(request, target),
            _texts(context.invocation_metadata()),
            address_of(context.peer()),
        )
        return answer_of(request, answered, about)

    def handlers(self) -> grpc.GenericRpcHandler:
        """The methods by their names on the wire."""
        methods: dict[str, tuple[Method, Any]] = {
            "ServerLive": (self.server_live, messages.ServerLiveRequest),
            "ServerReady": (self.server_ready, messages.ServerReadyRequest),
            "ServerMetadata": (self.server_metadata, messages.ServerMetadataRequest),
            "ModelReady": (self.model_ready, messages.ModelReadyRequest),
            "ModelMetadata": (self.model_metadata, messages.ModelMetadataRequest),
            "ModelInfer": (self.model_infer, messages.ModelInferRequest),
        }
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                name: grpc.unary_unary_rpc_method_handler(
                    _guarded(method),
                    request_deserializer=question.FromString,
                    response_serializer=lambda said: said.SerializeToString(),
                )
                for name, (method, question) in methods.items()
            },
        )


def _guarded(method: Method) -> Method:
    """The method with its errors as gRPC has them; of unexpected ones the client learns nothing."""

    async def answer(request: Any, context: Any) -> Any:
        try:
            return await method(request, context)
        except RequestError as error:
            code, message = CODES.get(error.status, grpc.StatusCode.INTERNAL), error.message
        except Exception:
            log.exception("a gRPC request failed")
            code, message = grpc.StatusCode.INTERNAL, INTERNAL
        return await context.abort(code, message[:MAX_MESSAGE])

    return answer


def _texts(metadata: Any) -> dict[str, str]:
    """gRPC gives names in lower case, and bytes for those that end with -bin."""
    return {
        name: value if isinstance(value, str) else value.decode("latin-1")
        for name, value in metadata or ()
    }


def address_of(peer: str) -> str:
    """The other side's address, without its port; empty where it has none.

    >>> address_of("ipv4:192.0.2.7:50051"), address_of("ipv6:%5B2001:db8::1%5D:50051")
    ('192.0.2.7', '2001:db8::1')
    >>> address_of("unix:/run/grpc.sock")
    ''
    """
    kind, _, address = peer.partition(":")
    return unquote(address).rpartition(":")[0].strip("[]") if kind in ("ipv4", "ipv6") else ""


class Listening(NamedTuple):
    """A server that has been started; `await server.stop(grace)` ends it."""

    server: grpc.aio.Server
    port: int


async def serve(
    host: str,
    port: int,
    service: GrpcService,
    credentials: grpc.ServerCredentials | None = None,
    *,
    max_body: int = 4 << 20,
    share_port: bool = False,
) -> Listening:
    """Starts to answer; port 0 takes a free one. `credentials` make it TLS.

    `max_body` is in bytes. With `share_port` several processes may listen at one port. Raises
    `ServingError` when the port cannot be had.
    """
    options = [
        ("grpc.max_receive_message_length", max_body),
        ("grpc.so_reuseport", int(share_port)),
    ]
    server = grpc.aio.server(options=options)
    server.add_generic_rpc_handlers((service.handlers(),))
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        if credentials is None:
            bound = server.add_insecure_port(address)
        else:
            bound = server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise ServingError(
            f"gRPC cannot listen at {address}: {error}", hint="Is the port taken already?"
        ) from error
    await server.start()
    return Listening(server, bound)
