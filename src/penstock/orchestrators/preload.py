"""What steps need, imported once in the process that an orchestrator forks its tasks from.

Each task of Airflow's is a fork of its scheduler (LocalExecutor) or its Celery worker, and would
import Great Expectations, Feast and MLflow anew. Every process of Airflow's imports
`config/airflow_local_settings.py` below its home; there:

    from penstock.orchestrators.preload import preload

    preload()
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from penstock.orchestrators.attempts import COMMON
from penstock.pipeline.plan import STANDARD_PLAN
from penstock.processes.host import FORK_AFTER_IMPORT_IS_SAFE, import_if_possible

FORKING = frozenset({"scheduler", "celery"})  # commands of `airflow`
# What steps import: what they say, what their task does, and the tools' own lazy parts.
NEEDED = (
    *COMMON,
    *(module for step in STANDARD_PLAN for module in step.warm),
    "penstock.orchestrators.task",
    "mlflow.store.tracking.sqlalchemy_workspace_store",
    "mlflow.store.model_registry.sqlalchemy_workspace_store",
    "alembic.command",
)


def preload(command: Sequence[str] = sys.argv) -> None:
    """Imports what the standard plan's steps need.

    Does nothing in a process of Airflow's that forks no tasks, and on macOS, whose system libraries
    do not survive a fork. What cannot be imported fails in its step, aloud.
    """
    if FORK_AFTER_IMPORT_IS_SAFE and FORKING.intersection(command[1:2]):
        for module in NEEDED:
            import_if_possible(module)
