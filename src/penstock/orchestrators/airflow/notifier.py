"""What Airflow tells the team of, through the project's own [notify]."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseNotifier

from penstock.project import Project, open_project

if TYPE_CHECKING:
    from collections.abc import Mapping

LATE = "run.late"


class PenstockNotifier(BaseNotifier):
    """For the callbacks of a DAG written by hand; `title` and `body` are templates.

    on_failure_callback=PenstockNotifier(project=…, environment=…, title="{{ run_id }} failed")
    """

    template_fields = ("title", "body")

    def __init__(
        self, *, project: str, environment: str, title: str, body: str = "", failure: bool = True
    ) -> None:
        super().__init__()
        self.project = project
        self.environment = environment
        self.title = title
        self.body = body
        self.failure = failure  # how channels mark it

    def notify(self, context: Any) -> None:
        """Raises `DeliveryError` where a channel refused; the others, and the log, have it."""
        project = open_project(Path(self.project), self.environment)
        _deliver(project, self.title, self.body, failure=self.failure)

    async def async_notify(self, context: Any) -> None:
        await asyncio.to_thread(self.notify, context)


async def late(project: str, environment: str, context: Any) -> None:
    """Called in the triggerer when a run has missed its deadline: once, or more often."""
    opened = open_project(Path(project), environment)
    await asyncio.to_thread(tell_once_of, opened, context["dag_run"], context["deadline"])


def tell_once_of(project: Project, run: Mapping[str, Any], deadline: Mapping[str, Any]) -> bool:
    """Tells the team that a run is late; False: it was told before.

    The ledger decides who tells, as there may be several at once: the first to write the entry.
    """
    from penstock.audit.ledger import Ledger
    from penstock.errors import ConflictError
    from penstock.records import digest_of
    from penstock.state.database import open_database

    name, run_id = project.settings.project.name, str(run["dag_run_id"])
    due = str(deadline["deadline_time"])
    try:
        Ledger(open_database(project)).append(
            LATE,
            run_id,
            digest=digest_of({"run": run_id, "pipeline": name}),
            reason=f"it was to end by {due}",
            run_id=run_id,
            stream=f"late/{name}/{run_id}",
            position=1,
        )
    except ConflictError:
        return False
    lines = (
        f"Pipeline: {name} ({project.environment})",
        f"Run: {run_id}",
        f"It was to end by {due}, and is {run.get('state') or 'not done'}.",
        f"Next: penstock runs show {run_id}",
    )
    _deliver(project, f"[{name}] a run is late", "\n".join(lines), failure=True)
    return True


def _deliver(project: Project, title: str, body: str, *, failure: bool) -> None:
    from penstock.notifications.delivery import deliver

    deliver(title, body, project.settings.notify, project.notices, failure=failure)
