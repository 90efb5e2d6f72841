"""`penstock status`."""

from __future__ import annotations

import argparse
import contextlib
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from penstock.cli.models import tell_strays
from penstock.cli.opening import project_of
from penstock.cli.output import MARKS, moment, print_json
from penstock.errors import NoBetter, ResourceError
from penstock.project import PRODUCTION, STAGING, Project

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from penstock.registry.aliases import Stray
    from penstock.state.runs import RunRow


def status(options: argparse.Namespace) -> int:
    project = project_of(options)
    found = _collect(project)
    if options.json:
        print_json(found | {"strays": [asdict(one) for one in found["strays"]]})
        return 0
    print(f"project   {found['project']} ({found['environment']}), {project.root}")
    print(f"last run  {_run_line(found['last_run'])}")
    staging = found["staging"]
    serves = f"{staging['url']} serves {staging['model']}" if staging["live"] else staging["state"]
    print(f"staging   {serves}{'; ' + staging['error'] if staging['error'] else ''}")
    print(f"champion  {found['champion']}")
    tell_strays(found["strays"])
    for name in found["alerts"]:
        print(f"alert     {name}")
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
        "strays": _strays(project, database),
        "rollouts": going_on,
        "alerts": _alerts(project, database, now),
        "services": plain(Office(project).standing()),
        "broken_glass": sorted({one.model for one in book.open_glasses()}),
        "next": _next(_came_to(latest[0]) if latest else None, model, champion, agreed, going_on),
    }


def _strays(project: Project, database: Engine) -> list[Stray]:
    """None where the registry cannot be asked: `penstock doctor` says why."""
    from penstock.registry.aliases import strays

    with contextlib.suppress(ResourceError):
        return strays(project, database)
    return []


def _alerts(project: Project, database: Engine, now: datetime) -> list[str]:
    """What fires, the watchdog first: it barks also where nobody checks the rules."""
    from penstock.monitoring.alerts import memory
    from penstock.monitoring.alerts.sources import watchdog

    dog = watchdog(project, database, now)
    found = [dog.reason] if dog and dog.verdict == "found" else []
    return found + sorted(
        one.name
        for one in memory.read(database).values()
        if one.status == "firing" and one.last.metric != "monitoring.silent"
    )


def _came_to(run: RunRow) -> str:
    """Its status; a run that found the champion to be as good did all that it should."""
    stays = run.error is not None and run.error["error"] == NoBetter.__name__
    return "succeeded" if stays else run.status


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
