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
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout
from sqlalchemy import Engine

from penstock.errors import ServingError
from penstock.project import Project
from penstock.records import Release
from penstock.registry.model_keys import KeyFiles
from penstock.serving.config import Ahead, GatewayConfig, Trust, settings_digest
from penstock.serving.release import EndpointFolder, EndpointStatus, ReleaseSpec
from penstock.serving.routing.table import RoutingTable, serving_only
from penstock.settings import ServingSettings
from penstock.state import routes
from penstock.state.database import open_state

POLL = 0.05  # seconds
MARGIN = 30.0  # seconds beyond start_timeout, in which the gateway itself comes up and reports
STOP_TIMEOUT = 60.0  # seconds that a gateway may take to answer what it was asked
LOG_LINES = 5


def _silent(message: str, done: float | None = None) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True)
class Place:
    """Where an endpoint lives."""

    name: str
    folder: Path
    state: str = ""  # URL of the state database; empty: SQLite in the folder
    actor: str = "penstock"
    trust: Trust = field(default_factory=Trust)

    def engine(self) -> Engine:
        return open_state(self.state, self.folder)

    def config(self, settings: ServingSettings, ahead: Ahead | None = None) -> GatewayConfig:
        return GatewayConfig(
            endpoint=self.name,
            folder=self.folder.absolute(),
            settings=settings,
            state=self.state,
            trust=self.trust,
            ahead=ahead,
        )


def place_of(project: Project, name: str) -> Place:
    """An endpoint of a project, with the project's state database."""
    url = project.settings.state.url.get_secret_value()
    project.folder.mkdir(parents=True, exist_ok=True)
    url = url or f"sqlite:///{project.folder / 'state.db'}"
    return Place(name, project.endpoint(name), url, trust=_trust(project, name))


def _trust(project: Project, endpoint: str) -> Trust:
    settings, policy = project.settings.registry, project.settings.approval_of(endpoint)
    keys = KeyFiles.of(project).public
    return Trust(
        keys=keys if settings.require_signatures else None,
        admit=settings.admit,
        approval=policy if policy.required else None,
        approver_keys=project.place(project.settings.access.approver_keys),
    )


def deploy(
    place: Place,
    spec: ReleaseSpec,
    settings: ServingSettings,
    progress: Callable[..., None] = _silent,
) -> Release:
    """Makes a release the only one of an endpoint, and returns when it answers.

    Starts a gateway in the background where none runs. Raises `ServingError` with the reason when
    the release does not come up; what was live before stays live.
    """
    progress(f"starting {spec.replicas} replicas of {spec.model}")
    reached = serve_table(place, serving_only(spec), settings, progress)
    return Release(
        endpoint=spec.endpoint,
        id=spec.id,
        url=reached.url,
        model=spec.model,
        digest=spec.digest,
        replicas=spec.replicas,
    )


def serve_table(
    place: Place,
    table: RoutingTable,
    settings: ServingSettings,
    progress: Callable[..., None] = _silent,
) -> EndpointStatus:
    """Publishes a routing table, and returns when the gateway of this machine serves it.

    Raises `ServingError` when it cannot; the gateway then serves what it served before.
    """
    endpoint = EndpointFolder(place.folder.absolute())
    endpoint.path.mkdir(parents=True, exist_ok=True)
    running = status(endpoint.path)
    if running.state != "stopped" and running.settings != settings_digest(settings, place.trust):
        progress("the settings changed: the gateway is started again")
        stop(endpoint.path)
    revision = publish(place, table)
    return _wait_until_live(place, revision, settings)


def publish(
    place: Place,
    table: RoutingTable,
    expected: int | None = None,
    *,
    lease_until: datetime | None = None,
    fence: int | None = None,
) -> int:
    """Writes a routing table, which all gateways of the endpoint will follow; its revision.

    Raises `ConflictError` when `expected` is given and is not the revision of the present one, and
    `StaleError` when `fence` is smaller than the present one's: see `state.routes.publish`.
    """
    engine = place.engine()
    if expected is None:
        expected = routes.revision_of(engine, place.name)
    document = table.model_dump(mode="json")
    return routes.publish(
        engine,
        place.name,
        document,
        expected=expected,
        actor=place.actor,
        at=datetime.now(UTC),
        lease_until=lease_until,
        fence=fence,
    )


def table_of(place: Place) -> RoutingTable | None:
    """The routing table as it was published last."""
    found = routes.published(place.engine(), place.name)
    return RoutingTable.model_validate(found.document) if found else None


def start_ahead(place: Place, settings: ServingSettings, modules: tuple[str, ...]) -> None:
    """Starts the gateway before there is a release, so that its imports are done when there is.

    It serves nothing until then, and ends with the present process if none comes.
    """
    endpoint = EndpointFolder(place.folder.absolute())
    endpoint.path.mkdir(parents=True, exist_ok=True)
    if not _gateway_is_alive(endpoint):
        revision = routes.revision_of(place.engine(), place.name)
        ahead = Ahead(revision=revision, modules=modules, owner=os.getpid())
        _start_gateway(endpoint, place.config(settings, ahead))


def status(folder: Path) -> EndpointStatus:
    """What the endpoint's gateway last said; `stopped` when none is alive."""
    endpoint = EndpointFolder(folder)
    alive = _gateway_is_alive(endpoint)
    said = endpoint.read_status()  # afterwards: before, it may be what a killed one said last
    if alive:
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


def serve(place: Place, settings: ServingSettings) -> None:
    """Runs the gateway in this process until SIGTERM or SIGINT, for containers and for debugging.

    It serves the routing table that was published last.
    """
    from penstock.serving import main

    main.run(place.config(settings))


def _wait_until_live(place: Place, revision: int, settings: ServingSettings) -> EndpointStatus:
    endpoint = EndpointFolder(place.folder.absolute())
    limit = settings.start_timeout.total_seconds() + MARGIN
    deadline = time.monotonic() + limit
    process: subprocess.Popen[bytes] | None = None
    while time.monotonic() < deadline:
        said = endpoint.read_status()
        if said.revision == revision and said.state == "live":
            return said
        if said.revision == revision and said.state == "failed":
            raise ServingError(said.error, hint=_see_log(endpoint, said.hint))
        if said.revision > revision:
            raise ServingError("another deployment to this endpoint took the place of this one")
        if process is None and not _gateway_is_alive(endpoint):
            process = _start_gateway(endpoint, place.config(settings))
        elif process is not None and process.poll() is not None:
            _explain_end(endpoint, revision, process)
            process = None
        time.sleep(POLL)
    raise ServingError(f"the release was not live after {limit:g} s", hint=_see_log(endpoint))


def _start_gateway(endpoint: EndpointFolder, config: GatewayConfig) -> subprocess.Popen[bytes]:
    """In a session of its own: it outlives the command that deployed."""
    with endpoint.gateway_log.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "penstock.serving.main"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    assert process.stdin is not None
    with process.stdin as given:
        given.write(json.dumps(config.plain()).encode())
    return process


def _explain_end(endpoint: EndpointFolder, revision: int, process: subprocess.Popen[bytes]) -> None:
    """The gateway that was started ended. Returns when another one holds the folder."""
    said = endpoint.read_status()
    if _gateway_is_alive(endpoint) or (said.revision == revision and said.state != "starting"):
        return  # the next look tells
    if said.state == "failed":
        raise ServingError(said.error, hint=_see_log(endpoint, said.hint))
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
