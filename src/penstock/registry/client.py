"""The MLflow client of a project: its own server if one is set, else SQLite in the project."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from penstock.errors import ResourceError
from penstock.project import Project

# Nothing is told to anybody outside, and progress bars are not for logs.
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


def open_client(project: Project) -> Any:
    """An `mlflow.MlflowClient` on the project's tracking server and registry."""
    return _client(_tracking_uri(project))


@dataclass(frozen=True)
class MlflowServer:
    """How MLflow's own web server is started for a project, on this machine and for it alone."""

    arguments: tuple[str, ...]  # after `python -m`
    url: str
    variables: Mapping[str, str]


def server_arguments(project: Project, port: int) -> MlflowServer | None:
    """None where MLflow keeps its things elsewhere than in files of this machine: whoever set up
    that server or database has web pages too.
    """
    uri = _tracking_uri(project)
    if not uri.startswith(("sqlite:", "file:", "/")):
        return None
    variables = {**QUIET, "MLFLOW_BACKEND_STORE_URI": uri}
    # MLflow 3.17 starts nine more processes, for evaluations by language models.
    variables["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    arguments = ("mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1")
    return MlflowServer(arguments, f"http://127.0.0.1:{port}", variables)


def _tracking_uri(project: Project) -> str:
    uri = project.settings.registry.tracking_uri.get_secret_value()
    if uri:
        return uri
    _embedded(project).mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{_embedded(project) / 'mlflow.db'}"


def artifact_location(project: Project) -> str | None:
    """Where a new experiment keeps its files; None leaves that to the project's MLflow server."""
    if project.settings.registry.tracking_uri.get_secret_value():
        return None
    return (_embedded(project) / "artifacts").as_uri()


def _embedded(project: Project) -> Path:
    return project.folder / "mlflow"


@lru_cache(maxsize=4)
def _client(uri: str) -> Any:
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """MLflow's errors as ours."""
    import requests
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, requests.RequestException) as error:
        raise ResourceError(
            f"MLflow: {str(error).splitlines()[0]}",
            hint="check [registry] tracking_uri, and that the server runs",
        ) from error
