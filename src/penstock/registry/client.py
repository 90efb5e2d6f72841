"""The MLflow client of a project: its own server if one is set, else SQLite in the project."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from penstock.errors import ResourceError
from penstock.project import Project


def open_client(project: Project) -> Any:
    """An `mlflow.MlflowClient` on the project's tracking server and registry."""
    uri = project.settings.registry.tracking_uri.get_secret_value()
    if not uri:
        _embedded(project).mkdir(parents=True, exist_ok=True)
        uri = f"sqlite:///{_embedded(project) / 'mlflow.db'}"
    return _client(uri)


def artifact_location(project: Project) -> str | None:
    """Where a new experiment keeps its files; None leaves that to the project's MLflow server."""
    if project.settings.registry.tracking_uri.get_secret_value():
        return None
    return (_embedded(project) / "artifacts").as_uri()


def _embedded(project: Project) -> Path:
    return project.folder / "mlflow"


@lru_cache(maxsize=4)
def _client(uri: str) -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
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
