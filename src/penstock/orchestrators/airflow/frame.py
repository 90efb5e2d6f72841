"""What all DAGs of a project have in common."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from penstock.orchestrators.airflow.outline import Outline

EPOCH = datetime(2025, 1, 1, tzinfo=UTC)  # where [pipeline] start_date says nothing


def shared_by(outline: Outline) -> dict[str, Any]:
    """Arguments of each of them."""
    return {
        "start_date": outline.start_date or EPOCH,
        "max_active_tasks": outline.workers,
        "tags": list(outline.tags),
        "default_args": {
            "owner": outline.owner,
            "retries": outline.retries,
            "retry_delay": outline.retry_delay,
            "pool": outline.pool,
        },
    }
