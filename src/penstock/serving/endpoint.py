"""What the rest of Penstock does with an endpoint: deploy to it, ask how it is, stop it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from filelock import FileLock, Timeout

from penstock.errors import ServingError
from penstock.records import Release
from penstock.serving import gateway
from penstock.serving.release import EndpointFolder, EndpointStatus, ReleaseSpec
from penstock.settings import ServingSettings

POLL = 0.05  # seconds
MARGIN = 30.0  # seconds beyond start_timeout, in which the gateway itself comes up and reports
STOP_TIMEOUT = 60.0  # seconds that a gateway may take to answer what it was asked
LOG_LINES = 5


def _silent(message: str, done: float | None = None) -> None:
    """Progress that nobody watches."""


def deploy(
    folder: Path,
    spec: ReleaseSpec,
    settings: ServingSettings,
    progress: Callable[..., None] = _silent,
) -> Release:
    """Makes a release the live one of an endpoint, and returns when it answers.

    Starts a gateway in the background where none runs. Raises `ServingError` with the reason when
    the release does not come up; what was live before stays live.
    """
    endpoint = EndpointFolder(folder.absolute())
    endpoint.path.mkdir(parents=True, exist_ok=True)
    running = status(endpoint.path)
    if running.state != "stopped" and running.settings != gateway.settings_digest(settings):
        progress("the settings changed: the gateway is started again")
        stop(endpoint.path)
    revision = endpoint.write_release(spec)
    progress(f"starting {spec.replicas} replicas of {spec.model}")
    reached = _wait_until_live(endpoint, revision, settings)
    return Release(
        endpoint=spec.endpoint,
        id=spec.id,
        url=reached.url,
        model=spec.model,
        digest=spec.digest,
        replicas=spec.replicas,
    )


def start_ahead(folder: Path, settings: ServingSettings, modules: tuple[str, ...]) -> None:
    """Starts the gateway before there is a release, so that its imports are done when there is.

    It serves nothing until then, and ends with the present process if none comes.
    """
    endpoint = EndpointFolder(folder.absolute())
    endpoint.path.mkdir(parents=True, exist_ok=True)
    if not _gateway_is_alive(endpoint):
        _start_gateway(endpoint, settings, "--ahead", str(endpoint.revision()), *modules)


def status(folder: Path) -> EndpointStatus:
    """What the endpoint's gateway last said; `stopped` when none is alive."""
    endpoint = EndpointFolder(folder)
    said = endpoint.read_status()
    if _gateway_is_alive(endpoint):
        return said
    return said.model_copy(update={"state": "stopped", "pid": 0, "live": ""})


def stop(folder: Path) -> None:
    """Ends the endpoint after it has answered what it was asked. Does nothing where none runs."""
    endpoint = EndpointFolder(folder)
    deadline = time.monotonic() + STOP_TIMEOUT
    asked = 0
    while _gateway_is_alive(endpoint):
        pid = endpoint.read_status().pid
        if pid and pid != asked:  # it may hold the lock before it has written its id
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            asked = pid
        if time.monotonic() > deadline:
            raise ServingError(
                f"the gateway {pid} did not end in {STOP_TIMEOUT:g} s",
                hint=f"see {endpoint.gateway_log}, or end it with kill -9 {pid}",
            )
        time.sleep(POLL)


def serve(folder: Path, settings: ServingSettings, spec: ReleaseSpec | None = None) -> None:
    """Runs the gateway in this process until SIGTERM or SIGINT, for containers and for debugging.

    `spec` becomes the release to serve; without it, the one that was deployed last.
    """
    endpoint = EndpointFolder(folder.absolute())
    endpoint.path.mkdir(parents=True, exist_ok=True)
    if spec is not None:
        endpoint.write_release(spec)
    gateway.run(endpoint, settings)


def _wait_until_live(
    endpoint: EndpointFolder, revision: int, settings: ServingSettings
) -> EndpointStatus:
    deadline = time.monotonic() + settings.start_timeout.total_seconds() + MARGIN
    process: subprocess.Popen[bytes] | None = None
    while time.monotonic() < deadline:
        said = endpoint.read_status()
        if said.revision == revision and said.state == "live":
            return said
        if said.revision == revision and said.state == "failed":
            raise ServingError(said.error, hint=_see_log(endpoint, said.hint))
        if endpoint.revision() != revision:
            raise ServingError("another deployment to this endpoint took the place of this one")
        if process is None and not _gateway_is_alive(endpoint):
            process = _start_gateway(endpoint, settings)
        elif process is not None and process.poll() is not None:
            _explain_end(endpoint, revision, process)
            process = None
        time.sleep(POLL)
    raise ServingError(
        f"the release was not live after {settings.start_timeout.total_seconds() + MARGIN:g} s",
        hint=_see_log(endpoint),
    )


def _start_gateway(
    endpoint: EndpointFolder, settings: ServingSettings, *options: str
) -> subprocess.Popen[bytes]:
    """In a session of its own: it outlives the command that deployed."""
    given = json.dumps(settings.model_dump(), default=timedelta.total_seconds)
    command = [sys.executable, "-m", gateway.__name__]
    with endpoint.gateway_log.open("ab") as log:
        return subprocess.Popen(
            [*command, "--folder", str(endpoint.path), "--settings", given, *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _explain_end(endpoint: EndpointFolder, revision: int, process: subprocess.Popen[bytes]) -> None:
    """The gateway that was started ended. Returns when another one holds the folder."""
    said = endpoint.read_status()
    if _gateway_is_alive(endpoint) or (said.revision == revision and said.state != "starting"):
        return  # the next look tells
    lines = endpoint.gateway_log.read_text(errors="replace").splitlines()[-LOG_LINES:]
    raise ServingError(
        f"the gateway ended with status {process.returncode}: " + "\n".join(lines),
        hint=_see_log(endpoint),
    )


def _gateway_is_alive(endpoint: EndpointFolder) -> bool:
    """A gateway holds the lock as long as it lives, however it ends."""
    if not endpoint.lock_file.exists():
        return False
    try:
        with FileLock(endpoint.lock_file, timeout=0):
            return False
    except Timeout:
        return True


def _see_log(endpoint: EndpointFolder, hint: str = "") -> str:
    return f"{hint}; see {endpoint.gateway_log}" if hint else f"see {endpoint.gateway_log}"
