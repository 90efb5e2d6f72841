"""`penstock status`."""

from __future__ import annotations

import argparse
from typing import Any

from penstock.cli.opening import project_of
from penstock.cli.output import MARKS, moment, print_json
from penstock.project import STAGING, Project


def status(options: argparse.Namespace) -> int:
    project = project_of(options)
    found = _collect(project)
    if options.json:
        print_json(found)
        return 0
    print(f"project   {found['project']} ({found['environment']}), {project.root}")
    print(f"last run  {_run_line(found['last_run'])}")
    staging = found["staging"]
    serves = f"{staging['url']} serves {staging['model']}" if staging["live"] else staging["state"]
    print(f"staging   {serves}{'; ' + staging['error'] if staging['error'] else ''}")
    print(f"champion  {found['champion']}")
    print(f"next      {found['next']}")
    return 0


def _collect(project: Project) -> dict[str, Any]:
    from penstock.audit.approvals import approvals
    from penstock.registry.champions import champion_label
    from penstock.serving.endpoint import place_of, table_of
    from penstock.serving.endpoint import status as endpoint_status
    from penstock.state import rollouts
    from penstock.state.database import open_database
    from penstock.state.runs import Runs

    database = open_database(project)
    latest = Runs(database).list(1)
    endpoint = endpoint_status(project.endpoint(STAGING))
    table = table_of(place_of(project, STAGING)) if endpoint.live else None
    model = table.releases[table.champion].model if table else ""
    champion = champion_label(database)
    approved = {entry.subject for entry in approvals(database)}
    going_on = [one.id for one in rollouts.live(database)]
    return {
        "project": project.settings.project.name,
        "environment": project.environment,
        "last_run": vars(latest[0]) if latest else None,
        "staging": {
            "state": endpoint.state,
            "url": endpoint.url if endpoint.live else "",
            "live": endpoint.live,
            "model": model,
            "error": endpoint.error,
        },
        "champion": champion,
        "rollouts": going_on,
        "next": _next(latest[0].status if latest else None, model, champion, approved, going_on),
    }


def _next(
    last: str | None, model: str, champion: str, approved: set[str], going_on: list[str]
) -> str:
    if last is None:
        return "penstock run"
    if last == "running":
        return "penstock runs show last"
    if last != "succeeded":
        return "penstock runs show last, then penstock run"
    if not model:
        return "penstock serve, or penstock run"
    if going_on:
        return f"penstock rollout status {going_on[0]} --watch"
    if model in approved and model != champion:
        return f"penstock rollout start {model}"
    if model != champion:
        return f"penstock models approve {model} --for production --meaning '…'"
    return "nothing waits"


def _run_line(run: dict[str, Any] | None) -> str:
    if run is None:
        return "none yet"
    error = f": {run['error']['message']}" if run["error"] else ""
    return f"{MARKS[run['status']]} {run['status']} {run['id']}, {moment(run['started_at'])}{error}"
