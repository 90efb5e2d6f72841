"""gRPC before the same dispatcher: each call becomes a request like any other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.errors import ServingError
from penstock.serving.access import PREDICT, Admission
from penstock.serving.dispatch import Dispatcher
from penstock.serving.http_server.messages import Request, RequestError
from penstock.serving.protocols.asked import Asked, Context, Protocol, Target
from penstock.serving.replicas.frames import Answered
from penstock.settings import ServingSettings

if TYPE_CHECKING:
    from penstock.serving.protocols.open_inference_grpc import Listening


async def serve_grpc(
    settings: ServingSettings, dispatcher: Dispatcher, admission: Admission
) -> Listening | None:
    """Listens on [serving] grpc_port; None where that is not set. Raises `ServingError`."""
    if settings.grpc_port is None:
        return None
    try:
        from penstock.serving.protocols.open_inference_grpc import GrpcService, serve
    except ImportError as error:
        raise ServingError(
            "[serving] grpc_port is set, and gRPC is not installed",
            hint="pip install 'penstock[grpc]'",
        ) from error
    live = dispatcher.live
    service = GrpcService(
        Calls(dispatcher, admission).ask, lambda: True, lambda: live.ready, live.served
    )
    body = int(settings.max_body_mb * 1_000_000)
    credentials = _credentials(settings)
    return await serve(settings.host, settings.grpc_port, service, credentials, max_body=body)


class Calls:
    """Turns calls into requests, and answers back into messages."""

    def __init__(self, dispatcher: Dispatcher, admission: Admission) -> None:
        self._dispatcher = dispatcher
        self._admission = admission

    async def ask(
        self,
        target_name: str,
        version: str,
        inputs_to_asked: Callable[[Target], Asked],
        metadata: Mapping[str, str],
        client: str,
    ) -> tuple[Answered, Context]:
        """Raises `RequestError`. `client` is the address of the other side."""
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        call = _Call(inputs_to_asked)
        headers = {key.lower().encode(): value.encode() for key, value in metadata.items()}

        def respond(_: bytes) -> None:
            if not ended.done():  # the caller may be gone
                ended.set_result(None)

        arrived = time.perf_counter()
        request = Request(b"POST", b"/grpc", b"", headers, b"", client, arrived, respond)
        self._admission.admit(request, PREDICT, time.monotonic())
        wanted = self._dispatcher.live.wanted(target_name, version)
        protocol = Protocol("grpc", call.parse, call.refuse)
        self._dispatcher.handle(request, protocol, wanted)
        await ended
        return call.outcome()


class _Call:
    """Keeps what the dispatcher would write."""

    def __init__(self, understand: Callable[[Target], Asked]) -> None:
        self._understand = understand
        self._answer: tuple[Answered, Context] | None = None
        self._refusal: RequestError | None = None

    def parse(self, _: Request, target: Target) -> Asked:
        return self._understand(target)._replace(render=self._kept)

    def _kept(self, answered: Answered, context: Context) -> bytes:
        self._answer = answered, context
        return b""

    def refuse(self, status: int, message: str, field: str | None, _: Mapping[str, str]) -> bytes:
        self._refusal = RequestError(status, message, field)
        return b""

    def outcome(self) -> tuple[Answered, Context]:
        if self._refusal is not None:
            raise self._refusal
        assert self._answer is not None
        return self._answer


def _credentials(settings: ServingSettings) -> Any:
    if not settings.tls_certificate:
        return None
    import grpc

    pair = Path(settings.tls_key).read_bytes(), Path(settings.tls_certificate).read_bytes()
    return grpc.ssl_server_credentials([pair])
