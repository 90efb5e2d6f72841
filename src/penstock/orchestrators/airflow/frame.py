"""What all DAGs of a project have in common."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from penstock.project import Project

EPOCH = datetime(2025, 1, 1, tzinfo=UTC)  # where [pipeline] start_date says nothing


def shared_by(project: Project) -> dict[str, Any]:
    """Arguments of each of them."""
    settings = project.settings.pipeline
    return {
        "start_date": settings.start_date or EPOCH,
        "max_active_tasks": settings.workers,
        "tags": list(project.settings.project.tags),
        "default_args": {
            "owner": project.settings.project.owner,
            "retries": settings.retries,
            "retry_delay": settings.retry_delay,
            "pool": project.settings.airflow.pool,
        },
    }


def opened_by(project: Project) -> dict[str, str]:
    """Arguments of each of their tasks, from which it opens the project."""
    return {"project": str(project.root), "environment": project.environment}
