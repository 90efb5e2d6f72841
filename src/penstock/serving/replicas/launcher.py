"""Starts replica processes from one warm host, so that a restart costs no import."""

from __future__ import annotations

import asyncio
import itertools
import logging
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from penstock.errors import PenstockError, ServingError, from_dict
from penstock.processes.host import Host, Job
from penstock.records import Column
from penstock.serving.release import ReleaseSpec
from penstock.serving.replicas.connection import Replica, Waiting
from penstock.serving.replicas.frames import Frame
from penstock.serving.schema import InputSchema

log = logging.getLogger(__name__)

REPLICA = "penstock.serving.replicas.process"
# Of the suffixes of model files: what loading one imports, as far as a head start is worth it. Of
# LightGBM nothing is: see `registry.lightgbm_library`.
LIBRARIES = {
    ".lgb": (),
    ".onnx": ("onnxruntime",),
    ".pt2": ("torch.export",),
    ".skops": ("pandas", "skops.io", "sklearn.pipeline"),
    ".ubj": ("xgboost",),
}


class Launched(NamedTuple):
    """A replica that is ready to answer, and what its model takes."""

    replica: Any  # a `Replica`, or what looks like one to the pool
    schema: InputSchema
    flavor: str


class Launcher:
    """Owned by the gateway. Replicas outlive the host, but not the gateway."""

    def __init__(self, replica_log: Path, modules: tuple[str, ...] = ()) -> None:
        self._log = replica_log
        # Not in the project: a Unix socket's path has at most 107 bytes, on macOS 103.
        self._sockets = Path(tempfile.mkdtemp(prefix="penstock-"))
        self._numbers = itertools.count()
        self._host = Host()
        self._host.warm(REPLICA, *modules)

    def warm(self, spec: ReleaseSpec) -> None:
        """Imports what the release needs before its replicas are forked."""
        self._host.warm(*imported_ahead(spec))

    def processes(self, spec: ReleaseSpec) -> int:
        """How many replicas the pool keeps."""
        return spec.replicas

    async def launch(
        self,
        spec: ReleaseSpec,
        answered: Callable[[Waiting, Frame], None],
        orphaned: Callable[[list[Waiting]], None],
    ) -> Launched:
        """A replica that is ready to answer. Raises `PenstockError` with the reason if it is not.

        Cancelling ends the process.
        """
        path = self._sockets / str(next(self._numbers))
        job = await asyncio.to_thread(self._start, spec, path)
        replica = None
        try:
            said = _checked(await asyncio.to_thread(job.channel.receive), self._log)
            loop = asyncio.get_running_loop()
            _, replica = await loop.create_unix_connection(
                lambda: Replica(job, answered, orphaned), str(path)
            )
        except OSError as error:
            raise ServingError(f"the replica died as it became ready: {error}") from error
        finally:
            path.unlink(missing_ok=True)
            if replica is None:
                job.kill()
        features = tuple(Column(**column) for column in said["features"])
        schema = InputSchema(features, frozenset(said["required"]), said["positional"])
        return Launched(replica, schema, said["flavor"])

    def close(self) -> None:
        self._host.close()
        shutil.rmtree(self._sockets, ignore_errors=True)

    def _start(self, spec: ReleaseSpec, path: Path) -> Job:
        arguments: dict[str, Any] = {
            "release": spec.model_dump(mode="json"),
            "socket_path": str(path),
        }
        try:
            job = self._host.start(f"{REPLICA}:run", arguments, self._log, imported_ahead(spec))
        except OSError:
            job = None
        if job is None or not job.pid:
            log.warning("the host of the replicas died; starting another")
            self._host.close()
            self._host = Host()
            job = self._host.start(f"{REPLICA}:run", arguments, self._log, imported_ahead(spec))
        return job


def _checked(said: dict[str, Any] | None, replica_log: Path) -> dict[str, Any]:
    if said is None:
        raise ServingError("the replica died while loading", hint=f"see {replica_log}")
    if "error" in said:
        error: PenstockError = from_dict(said)
        raise error
    return said


def imported_ahead(spec: ReleaseSpec) -> tuple[str, ...]:
    """What a replica of this release imports, so that it is imported once for all of them."""
    source = spec.features
    features = (*source.warm, source.module.partition(":")[0]) if source else ()
    return (REPLICA, *_libraries(Path(spec.path)), *features)


def _libraries(model: Path) -> list[str]:
    """A guess, good enough for a head start; loading looks properly."""
    known = [suffix for suffix in LIBRARIES if any(model.rglob(f"*{suffix}"))]
    found = [library for suffix in known for library in LIBRARIES[suffix]]
    # Frames are made for models of unknown kinds, and of texts; all others take a matrix.
    manifest = model / "MLmodel"
    texts = manifest.is_file() and b'"string"' in manifest.read_bytes()
    return found if known and not texts else ["pandas", *found]
