"""Starts a run of the project's flow through Prefect's own client, and looks at runs there.

Where the server is, and who we are to it, say Prefect's own settings: PREFECT_API_URL, or its
profile.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from penstock.errors import (
    AccessError,
    ConflictError,
    PenstockError,
    ProjectError,
    ResourceError,
    SettingsError,
)
from penstock.project import Project

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

LONGEST_REASON = 500  # characters
UNDER_WAY = ("PENDING", "RUNNING", "PAUSED", "CANCELLING")
DENIED = {401, 403}


@dataclass(frozen=True)
class PrefectRun:
    """A run of the flow, as Prefect tells of it."""

    id: str  # Prefect's own
    state: str  # SCHEDULED, PENDING, RUNNING, COMPLETED, FAILED, CRASHED, CANCELLED, …
    url: str  # its page in Prefect


def start_run(project: Project, run: str, reason: str) -> PrefectRun:
    """Starts a run of the flow under our id, or finds the one that was started under it before.

    It is a run of the deployment that `python flows/NAME.py` serves. Raises `ConflictError` while
    another run of it is under way, `ProjectError` where there is no such deployment,
    `ResourceError` where nobody carries it out or the server does not answer, and `AccessError`
    where that does not let us in.
    """
    name = f"{project.settings.project.name}/{project.environment}"
    with _client() as client:
        if (found := _found(client, run)) is not None:
            return found
        deployment = _deployment(client, name)
        _require_idle(client, name, deployment.id)
        begun = client.create_flow_run_from_deployment(
            deployment.id,
            name=run,
            parameters={"run_id": run, "reason": reason[:LONGEST_REASON]},
            idempotency_key=run,
        )
        return _described(begun)


def find_run(run: str) -> PrefectRun | None:
    """A run by our id or by Prefect's; None where Prefect knows none. Raises as `start_run`."""
    with _client() as client:
        return _found(client, run)


@contextlib.contextmanager
def _client() -> Iterator[SyncPrefectClient]:
    os.environ.setdefault("DO_NOT_TRACK", "1")
    try:
        import httpx
        from prefect.client.orchestration import get_client
        from prefect.settings import PREFECT_API_URL
    except ImportError as error:
        raise SettingsError(
            f"Prefect is not installed here: {error}",
            hint="pip install 'penstock[prefect]', where triggers are checked too",
        ) from error
    url = PREFECT_API_URL.value()
    if not url:  # else the client would start a server of its own
        raise SettingsError(
            "there is no address of a Prefect server",
            hint="set PREFECT_API_URL, such as http://127.0.0.1:4200/api",
        )
    try:
        with get_client(sync_client=True) as client:
            yield client
    except httpx.HTTPStatusError as error:
        raise _translated(url, error.response.status_code, error.response.text[:300]) from error
    except (httpx.HTTPError, OSError, RuntimeError) as error:
        raise ResourceError(
            f"Prefect at {url} does not answer: {error}",
            hint="check PREFECT_API_URL, and that `prefect server start` runs there",
        ) from error


def _translated(url: str, status: int, said: str) -> PenstockError:
    if status in DENIED:
        return AccessError(
            f"Prefect at {url} refused us ({status}): {said}",
            hint="set PREFECT_API_KEY or PREFECT_API_AUTH_STRING",
        )
    if status >= 500:
        return ResourceError(f"Prefect at {url} failed ({status}): {said}")
    return ProjectError(f"Prefect at {url} refused the run ({status}): {said}")


def _deployment(client: SyncPrefectClient, name: str) -> Any:
    from prefect.exceptions import ObjectNotFound

    serve = "`python flows/….py` in the project's folder serves it"
    try:
        deployment = client.read_deployment_by_name(name)
    except ObjectNotFound as error:
        raise ProjectError(f"Prefect has no deployment {name}", hint=serve) from error
    if deployment.status is not None and deployment.status.value == "NOT_READY":
        raise ResourceError(f"nobody carries out the deployment {name} in Prefect", hint=serve)
    return deployment


def _require_idle(client: SyncPrefectClient, name: str, deployment: UUID) -> None:
    from prefect.client.schemas import filters
    from prefect.client.schemas.objects import StateType

    states = [StateType(one) for one in UNDER_WAY]
    others = client.read_flow_runs(
        deployment_filter=filters.DeploymentFilter(
            id=filters.DeploymentFilterId(any_=[deployment])
        ),
        flow_run_filter=filters.FlowRunFilter(
            state=filters.FlowRunFilterState(type=filters.FlowRunFilterStateType(any_=states))
        ),
        limit=1,
    )
    if others:
        other = _described(others[0])
        raise ConflictError(
            f"a run of {name} is under way in Prefect: {other.id} ({other.state})",
            hint="wait for its end, and look whether there is still a reason for another",
        )


def _found(client: SyncPrefectClient, run: str) -> PrefectRun | None:
    from prefect.client.schemas import filters

    by = filters.FlowRunFilter(idempotency_key=filters.FlowRunFilterIdempotencyKey(any_=[run]))
    with contextlib.suppress(ValueError):  # what Prefect started itself we call as Prefect does
        by = filters.FlowRunFilter(id=filters.FlowRunFilterId(any_=[UUID(run)]))
    found = client.read_flow_runs(flow_run_filter=by, limit=1)
    return _described(found[0]) if found else None


def _described(run: Any) -> PrefectRun:
    from prefect.utilities.urls import url_for

    state = str(run.state_type.value) if run.state_type else "SCHEDULED"
    return PrefectRun(str(run.id), state, url_for("flow-run", run.id) or f"flow run {run.id}")
