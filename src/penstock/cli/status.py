"""`penstock status`."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import Any

from penstock.cli.opening import project_of
from penstock.cli.output import MARKS, moment, print_json
from penstock.project import PRODUCTION, STAGING, Project


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
    print(f"services  {_services_line(found['services'])}")
    for broken in found["broken_glass"]:
        print(f"to review {broken}: penstock models review {broken} --reason '…'")
    print(f"next      {found['next']}")
    return 0


def _collect(project: Project) -> dict[str, Any]:
    from penstock.approvals.book import pinned_keys, read_book
    from penstock.registry.champions import champion_label
    from penstock.services.standing import Office, plain
    from penstock.serving.endpoint import place_of, table_of
    from penstock.serving.endpoint import status as endpoint_status
    from penstock.state import rollouts
    from penstock.state.database import open_database
    from penstock.state.runs import Runs

    database = open_database(project)
    latest = Runs(database).list(1)
    endpoint = endpoint_status(project.endpoint(STAGING))
    table = table_of(place_of(project, STAGING)) if endpoint.live else None
    release = table.releases[table.champion] if table else None
    model = release.model if release else ""
    champion = champion_label(database)
    book, now = read_book(database, pinned_keys(project)), datetime.now(UTC)
    policy = project.settings.approval_of(PRODUCTION)
    agreed = bool(
        release and book.standing(policy, release.digest, PRODUCTION, now, model=model).met
    )
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
        "services": plain(Office(project).standing()),
        "broken_glass": sorted({one.model for one in book.open_glasses()}),
        "next": _next(latest[0].status if latest else None, model, champion, agreed, going_on),
    }


def _next(last: str | None, model: str, champion: str, agreed: bool, going_on: list[str]) -> str:
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
    if agreed and model != champion:
        return f"penstock rollout start {model}"
    if model != champion:
        return f"penstock models approve {model} --for production --meaning '…'"
    return "nothing waits"


def _services_line(standing: dict[str, Any]) -> str:
    """running: controller, scheduler; failed: mlflow; next run 2026-11-02 02:00:00 UTC"""
    if not standing["pid"]:
        return "not up"
    states: dict[str, list[str]] = {}
    for one in standing["services"]:
        states.setdefault(one["state"], []).append(one["name"])
    told = [f"{state}: {', '.join(names)}" for state, names in states.items()]
    if standing["next_run"]:
        told.append(f"next run {moment(datetime.fromisoformat(standing['next_run']))}")
    return "; ".join(told)


def _run_line(run: dict[str, Any] | None) -> str:
    if run is None:
        return "none yet"
    error = f": {run['error']['message']}" if run["error"] else ""
    return f"{MARKS[run['status']]} {run['status']} {run['id']}, {moment(run['started_at'])}{error}"
