"""Replicas on Ray Serve: the same questions and answers, on whatever machines Ray has.

A release becomes one application of Ray Serve, without a proxy of its own: the gateway stays in
front, with its routing, log and limits. Ray starts the replicas, spreads questions over them and
replaces those that die; to the gateway all of them are one.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from penstock.errors import PenstockError, ServingError, from_dict
from penstock.records import Column
from penstock.registry.model_folder import read_model_folder
from penstock.serving.release import ReleaseSpec
from penstock.serving.replicas.connection import Waiting
from penstock.serving.replicas.frames import Decoder, Frame, encode
from penstock.serving.replicas.launcher import Launched
from penstock.serving.schema import InputSchema

log = logging.getLogger(__name__)


class RayLauncher:
    """Owned by the gateway, like `Launcher`; connects to Ray with the first release."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._connected = False

    def warm(self, spec: ReleaseSpec) -> None:
        """Ray's workers import for themselves."""

    def processes(self, spec: ReleaseSpec) -> int:
        """How many replicas the pool keeps: one, behind which Ray keeps its own."""
        return 1

    async def launch(
        self,
        spec: ReleaseSpec,
        answered: Callable[[Waiting, Frame], None],
        orphaned: Callable[[list[Waiting]], None],
    ) -> Launched:
        """An application that is ready to answer. Raises `PenstockError` with the reason if not."""
        handle = await asyncio.to_thread(self._deployed, spec)
        try:
            said = await handle.about.remote()
        except Exception as error:  # whatever Ray raises
            await asyncio.to_thread(_delete, spec)
            raise _as_ours(error) from error
        schema = InputSchema(
            tuple(Column(**column) for column in said["features"]),
            frozenset(said["required"]),
            said["positional"],
        )
        return Launched(RayReplica(spec, handle, answered, orphaned), schema, said["flavor"])

    def close(self) -> None:
        """Leaves Ray; a cluster that was there before goes on."""
        if self._connected:
            import ray

            ray.shutdown()

    def _deployed(self, spec: ReleaseSpec) -> Any:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        import ray
        from ray import serve

        # Ray would not say why it refused.
        read_model_folder(Path(spec.path), spec.digest, spec.admitted)
        if not self._connected:
            options = {"address": self._address} if self._address else {"include_dashboard": False}
            ray.init(ignore_reinit_error=True, log_to_driver=False, **options)
            serve.start(proxy_location="Disabled")
            self._connected = True
        deployment = serve.deployment(
            _model_class(),
            name="model",
            num_replicas=spec.replicas,
            ray_actor_options={"num_cpus": 0 if not self._address else spec.threads},
            max_ongoing_requests=64,
        )
        try:
            application = deployment.bind(spec.model_dump(mode="json"))
            return serve.run(application, name=spec.id, route_prefix=None)
        except Exception as error:  # whatever Ray raises
            _delete(spec)
            raise _as_ours(error) from error


class RayReplica:
    """All replicas of a release, as the pool sees a replica."""

    def __init__(
        self,
        spec: ReleaseSpec,
        handle: Any,
        answered: Callable[[Waiting, Frame], None],
        orphaned: Callable[[list[Waiting]], None],
    ) -> None:
        self.gone = asyncio.Event()
        self.pid = 0  # Ray's affair, perhaps on another machine
        self._spec = spec
        self._handle = handle
        self._answered = answered
        self._orphaned = orphaned
        self._waiting: dict[int, Waiting] = {}
        self._unsent: list[tuple[int, bytes]] = []
        self._numbers = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._sign_of_life = 0.0

    @property
    def alive(self) -> bool:
        return not self.gone.is_set()

    @property
    def owed(self) -> int:
        return len(self._waiting)

    def ask(self, waiting: Waiting) -> None:
        """Sends a question with all others of this turn of the loop."""
        number = next(self._numbers)
        if not self._waiting:
            self._sign_of_life = time.perf_counter()
        self._waiting[number] = waiting
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._send)
        frame = encode(number, waiting.kind, waiting.flags, 0, waiting.body)
        self._unsent.append((number, frame))

    def _send(self) -> None:
        sent, self._unsent = self._unsent, []
        task = asyncio.create_task(self._together(sent))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _together(self, sent: list[tuple[int, bytes]]) -> None:
        try:
            data = await self._handle.answers.remote(b"".join(frame for _, frame in sent))
        except Exception as error:  # noqa: BLE001 -- a replica died, or the cluster is away
            log.warning("Ray did not answer: %s", str(error).splitlines()[0])
            lost = (self._waiting.pop(number, None) for number, _ in sent)
            self._orphaned([waiting for waiting in lost if waiting is not None])
            return
        self._sign_of_life = time.perf_counter()
        for frame in Decoder().feed(data):
            waiting = self._waiting.pop(frame.number, None)
            if waiting is not None:
                self._answered(waiting, frame)

    def silent_for(self, now: float) -> float:
        """Seconds since it owes an answer and gave none."""
        return now - self._sign_of_life if self._waiting else 0.0

    def kill(self) -> None:
        """Ends the application; the pool starts another."""
        orphans = [*self._waiting.values()]
        self._waiting.clear()
        self.gone.set()
        self._orphaned(orphans)

    def close(self) -> None:
        self.gone.set()
        task = asyncio.ensure_future(asyncio.to_thread(_delete, self._spec))
        task.add_done_callback(lambda done: done.exception())


def _model_class() -> type:
    """The class that Ray constructs in its workers."""

    class Model:
        def __init__(self, release: dict[str, Any]) -> None:
            from penstock.serving.replicas.process import prepare

            self._predictor, self._about = prepare(ReleaseSpec.model_validate(release))

        async def about(self) -> dict[str, Any]:
            return self._about

        async def answers(self, data: bytes) -> bytes:
            answers = b"".join(self._predictor.answers(Decoder().feed(data)))
            if self._predictor.exhausted:
                os._exit(1)  # Ray starts another
            return answers

    return Model


def _delete(spec: ReleaseSpec) -> None:
    from ray import serve

    serve.delete(spec.id)


def _as_ours(error: Exception) -> PenstockError:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, PenstockError):
            return from_dict(cause.as_dict())
        cause = cause.__cause__ or getattr(cause, "cause", None)
    lines = str(error).strip().splitlines()
    return ServingError(f"Ray Serve did not start the release: {lines[-1] if lines else error!r}")
