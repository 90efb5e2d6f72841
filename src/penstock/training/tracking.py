"""MLflow tracking: one run a trained model, through an explicit client."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from penstock.project import Project
from penstock.registry.client import artifact_location, open_client, translated

SOURCE = "penstock"


def start_run(project: Project, name: str, tags: Mapping[str, str]) -> str:
    """Starts a run in the project's experiment and returns its id."""
    with translated():
        client = open_client(project)
        experiment = _experiment(client, project)
        run = client.create_run(
            experiment,
            run_name=name,
            start_time=_now_ms(),
            tags={"mlflow.source.name": SOURCE, **tags},
        )
    return str(run.info.run_id)


def log(
    project: Project,
    run_id: str,
    *,
    params: Mapping[str, Any] | None = None,
    metrics: Mapping[str, float] | None = None,
    tags: Mapping[str, str] | None = None,
    files: Mapping[str, Path] | None = None,
) -> None:
    """Adds to a run. `files` maps a folder among the run's artefacts to a local file or folder."""
    from mlflow.entities import Metric, Param, RunTag

    with translated():
        client, now = open_client(project), _now_ms()
        client.log_batch(
            run_id,
            params=[Param(k, str(v)) for k, v in (params or {}).items()],
            metrics=[Metric(k, v, now, 0) for k, v in (metrics or {}).items()],
            tags=[RunTag(k, v) for k, v in (tags or {}).items()],
        )
        for place, path in (files or {}).items():
            if path.is_dir():
                client.log_artifacts(run_id, str(path), place)
            else:
                client.log_artifact(run_id, str(path), place)


def end_run(project: Project, run_id: str, status: str = "FINISHED") -> None:
    with translated():
        open_client(project).set_terminated(run_id, status=status, end_time=_now_ms())


def _experiment(client: Any, project: Project) -> str:
    name = project.settings.project.name
    found = client.get_experiment_by_name(name)
    if found:
        return str(found.experiment_id)
    return str(client.create_experiment(name, artifact_location=artifact_location(project)))


def _now_ms() -> int:
    return int(time.time() * 1000)


def environment() -> str:
    """The installed packages and their versions, a line each: what the model was trained with."""
    import platform
    from importlib.metadata import distributions

    packages = sorted({f"{d.metadata['Name']}=={d.version}" for d in distributions()})
    return "\n".join([f"# Python {platform.python_version()}, {os.uname().sysname}", *packages])
