"""Runs one step in the process of a job, and sends what becomes of it through the channel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from penstock.access.present import acting
from penstock.access.roles import Permission
from penstock.errors import PenstockError, StepError
from penstock.pipeline.execution import GateRefused, RunIdentity, perform, prepare
from penstock.pipeline.plan import plan_of
from penstock.processes.channel import Channel
from penstock.processes.host import end_with
from penstock.project import open_project
from penstock.records import from_json, to_json
from penstock.state.database import open_database


def work(
    channel: Channel,
    *,
    project: str,
    environment: str,
    step: str,
    key: str,
    run: dict[str, Any],
    records: dict[str, dict[str, Any]],
) -> None:
    """Sends `{"progress": …}` any number of times, then `{"record": …}` or `{"error": …}`."""
    end_with(channel)

    def progress(message: str, done: float | None = None) -> None:
        channel.send({"progress": message, "done": done})

    try:
        opened = open_project(Path(project), environment)
        plan = plan_of(opened)
        done = {name: from_json(record) for name, record in records.items()}
        database = open_database(opened)
        identity = RunIdentity.from_dict(run)
        prepared = prepare(plan, plan.step(step), opened, done, database, identity.asked_as_of)
        if prepared.key != key:
            raise StepError(
                f"the settings or files of {step} were changed while the run was going on",
                hint="run again",
            )
        with acting(opened, Permission.OPERATE):
            record = perform(prepared, opened, identity, database, progress)
    except GateRefused as refusal:
        report = to_json(refusal.report) if refusal.report else None
        channel.send({"error": refusal.as_dict(), "record": report})
    except PenstockError as error:
        channel.send({"error": error.as_dict()})
    else:
        channel.send({"record": to_json(record)})
