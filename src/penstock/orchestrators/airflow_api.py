"""Starts a run of the project's DAG through Airflow's public REST API, and looks at runs there.

Nothing of Airflow is imported: the server may be another machine's. `[pipeline] airflow_url` says
where it is; the token is Airflow's own, or that of its simple auth manager for user and password.
"""

from __future__ import annotations

import http.client
import json
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

from penstock.errors import (
    AccessError,
    ConflictError,
    PenstockError,
    ProjectError,
    ResourceError,
    SettingsError,
)
from penstock.project import Project
from penstock.records import digest_of

TIMEOUT = 30.0  # seconds that one answer may take
LONGEST_KEY, LONGEST_REASON = 120, 500  # characters; of a reason, what the DAG's params allow
UNDER_WAY = (("state", "queued"), ("state", "running"), ("limit", "1"))


@dataclass(frozen=True)
class AirflowRun:
    """A run of the DAG, as Airflow tells of it."""

    id: str
    state: str  # queued, running, success, failed
    url: str  # its page in Airflow
    new: bool = False  # whether it was started just now


def start_run(
    project: Project,
    reason: str,
    *,
    key: str = "",
    as_of: datetime | None = None,
    conf: Mapping[str, Any] | None = None,
) -> AirflowRun:
    """Starts a run, or finds the one that the same key has started before.

    The reason becomes the run's note, and `reason` in its configuration beside `conf`. The run sees
    the data as of `as_of`, or as of now. Raises `ConflictError` while another run is under way,
    `AccessError` when Airflow does not let us in, `ProjectError` when it has no such DAG or does
    not run it, `ResourceError` when it does not answer.
    """
    now = datetime.now(UTC)
    server = _Server.of(project)
    run = run_id(key or now.isoformat())
    if (found := server.run(run)) is not None:
        return found
    server.require_ready()
    moment = None if as_of is None else as_of.astimezone(UTC).isoformat()
    body = {
        "dag_run_id": run,
        "logical_date": now.isoformat(),  # Airflow wants no two runs with the same
        "data_interval_start": moment or now.isoformat(),
        "data_interval_end": moment or now.isoformat(),
        "conf": {**(conf or {}), "reason": reason[:LONGEST_REASON]},
        "note": reason[:LONGEST_REASON],
    }
    try:
        return replace(server.described(server.ask(server.runs, body)), new=True)
    except _Refused as refusal:
        # Whoever had the same key may have been quicker.
        if refusal.status == http.client.CONFLICT and (found := server.run(run)) is not None:
            return found
        raise refusal.translated(server) from None


def find_run(project: Project, run: str) -> AirflowRun | None:
    """A run by its id; None where Airflow knows none. Raises as `start_run`."""
    return _Server.of(project).run(run)


def run_id(key: str) -> str:
    """The id of the run that a key starts: readable, and one that Airflow accepts.

    >>> run_id("drift:2026-11-29"), run_id("new data/7")
    ('penstock__drift:2026-11-29', 'penstock__new-data-7-2f597b93')
    """
    kept = re.sub(r"[^A-Za-z0-9_.~:+-]", "-", key)[:LONGEST_KEY]
    return f"penstock__{kept}" if kept == key else f"penstock__{kept}-{digest_of(key)[:8]}"


class _Refused(Exception):
    """Airflow answered, and what it said is no."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status, self.said = status, said

    def translated(self, server: _Server) -> PenstockError:
        if self.status in {http.client.UNAUTHORIZED, http.client.FORBIDDEN}:
            return AccessError(
                f"Airflow at {server.url} refused us ({self.status}): {self.said}",
                hint="set [pipeline] airflow_user and PENSTOCK_PIPELINE_AIRFLOW_PASSWORD, or "
                "PENSTOCK_PIPELINE_AIRFLOW_TOKEN; the user needs the right to start runs",
            )
        if self.status == http.client.NOT_FOUND:
            return ProjectError(
                f"Airflow at {server.url} has no DAG {server.dag}: {self.said}",
                hint=f"link dags/{server.dag}.py into its folder of DAGs; "
                "`airflow dags list-import-errors` tells of one that cannot be read",
            )
        if self.status == http.client.CONFLICT:
            return ConflictError(f"Airflow has such a run of {server.dag} already: {self.said}")
        if self.status >= http.client.INTERNAL_SERVER_ERROR:
            return ResourceError(f"Airflow at {server.url} failed ({self.status}): {self.said}")
        if 300 <= self.status < 400:
            return SettingsError(
                f"{server.url} answers with a redirection ({self.status})",
                hint="set [pipeline] airflow_url to where it leads; no token is sent on",
            )
        return ProjectError(f"Airflow refused the run ({self.status}): {self.said}")


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    """A redirected request would take the token to whoever the answer names."""

    def redirect_request(self, *_: Any) -> None:
        return None


@dataclass
class _Server:
    """Airflow's API server, as far as one DAG goes."""

    url: str
    dag: str
    user: str
    password: str
    token: str

    @classmethod
    def of(cls, project: Project) -> _Server:
        settings = project.settings.pipeline
        return cls(
            settings.airflow_url,
            project.settings.project.name,
            settings.airflow_user,
            settings.airflow_password.get_secret_value(),
            settings.airflow_token.get_secret_value().strip(),
        )

    @property
    def runs(self) -> str:
        return f"/api/v2/dags/{quote(self.dag)}/dagRuns"

    def run(self, run: str) -> AirflowRun | None:
        try:
            return self.described(self.ask(f"{self.runs}/{quote(run)}"))
        except _Refused as refusal:
            if refusal.status == http.client.NOT_FOUND:
                return None
            raise refusal.translated(self) from None

    def described(self, told: Mapping[str, Any]) -> AirflowRun:
        run = str(self.part(told, "dag_run_id"))
        page = f"{self.url}/dags/{quote(self.dag)}/runs/{quote(run)}"
        return AirflowRun(run, str(self.part(told, "state")), page)

    def require_ready(self) -> None:
        """The DAG is there, runs at all, and does not run now."""
        try:
            paused = self.part(self.ask(f"/api/v2/dags/{quote(self.dag)}"), "is_paused")
            others = self.part(self.ask(f"{self.runs}?{urlencode(UNDER_WAY)}"), "dag_runs")
        except _Refused as refusal:
            raise refusal.translated(self) from None
        if paused:
            raise ProjectError(
                f"the DAG {self.dag} is paused in Airflow, so that no run of it would begin",
                hint=f"`airflow dags unpause {self.dag}`, or the switch beside it at {self.url}",
            )
        if others:
            other = self.described(others[0])
            raise ConflictError(
                f"a run of {self.dag} is under way in Airflow: {other.id} ({other.state})",
                hint="wait for its end, and look whether there is still a reason for another",
            )

    def ask(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """GET, or POST with a body. Raises `_Refused`, or `ResourceError` without an answer."""
        if not self.token:
            self.token = self._new_token()
        return self._send(path, body, {"Authorization": f"Bearer {self.token}"})

    def _new_token(self) -> str:
        if not self.password:
            raise AccessError(
                f"there is neither a token nor a password for Airflow at {self.url}",
                hint="set PENSTOCK_PIPELINE_AIRFLOW_TOKEN or PENSTOCK_PIPELINE_AIRFLOW_PASSWORD",
            )
        who = {"username": self.user, "password": self.password}
        try:
            return str(self.part(self._send("/auth/token", who, {}), "access_token"))
        except _Refused as refusal:
            raise AccessError(
                f"Airflow at {self.url} gave {self.user} no token ({refusal.status}): "
                f"{refusal.said}",
                hint="check the password; an auth manager that gives no tokens for passwords "
                "wants PENSTOCK_PIPELINE_AIRFLOW_TOKEN",
            ) from None

    def _send(self, path: str, body: Mapping[str, Any] | None, headers: dict[str, str]) -> Any:
        raw = None if body is None else json.dumps(body).encode()
        kind = {"Content-Type": "application/json", "Accept": "application/json"}
        request = urllib.request.Request(f"{self.url}{path}", raw, {**kind, **headers})
        opener = urllib.request.build_opener(_NoRedirection)
        try:
            with opener.open(request, timeout=TIMEOUT) as answer:
                said = answer.read()
        except urllib.error.HTTPError as error:
            raise _Refused(error.code, _said(error)) from None
        except (OSError, http.client.HTTPException) as error:
            raise ResourceError(
                f"Airflow at {self.url} does not answer: {getattr(error, 'reason', error)}",
                hint="check [pipeline] airflow_url, and that `airflow api-server` runs there",
            ) from error
        except ValueError:  # names the header, and in it the token
            raise SettingsError(
                "the token for Airflow cannot be sent: no header may have such characters",
                hint="set PENSTOCK_PIPELINE_AIRFLOW_TOKEN to the token alone",
            ) from None
        try:
            return json.loads(said)
        except ValueError as error:
            raise self._no_airflow(str(error)) from error

    def part(self, answer: Any, name: str) -> Any:
        """Of an answer that may be anybody's."""
        if not isinstance(answer, Mapping) or name not in answer:
            raise self._no_airflow(f"its answer has no {name}")
        return answer[name]

    def _no_airflow(self, why: str) -> SettingsError:
        return SettingsError(
            f"what answers at {self.url} is not Airflow's API: {why}",
            hint="check [pipeline] airflow_url",
        )


def _said(error: urllib.error.HTTPError) -> str:
    """Airflow's own words for a refusal."""
    raw = error.read().decode(errors="replace")
    try:
        detail = json.loads(raw)["detail"]
    except (ValueError, KeyError, TypeError):
        return str(error.reason)
    return detail if isinstance(detail, str) else json.dumps(detail)
