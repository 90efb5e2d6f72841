"""What a task waits for, looked at in the state database: by a worker, or by the triggerer.

A look imports no tool, so that the triggerer can take many.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from penstock.orchestrators.airflow.answer import Answer
from penstock.orchestrators.airflow.waiting import (
    on_approval,
    on_reports,
    on_rollout,
    on_turn,
)
from penstock.project import Project, open_project
from penstock.state.database import open_database

About = Mapping[str, Any]


def approval(project: Project, about: About) -> Answer:
    """`about`: the digest and the model (name@version), and the target that it is to serve."""
    from penstock.approvals.book import pinned_keys, read_book

    engine, target = open_database(project), about["target"]
    policy = project.settings.approval_of(target)
    book = read_book(engine, pinned_keys(project), about["digest"])
    standing = book.standing(
        policy, about["digest"], target, datetime.now(UTC), model=about["model"]
    )
    return on_approval(standing, _tested_since(engine, about["model"]))


def rollout(project: Project, about: About) -> Answer:
    """`about`: the rollout's id."""
    from penstock.rollout.memory import Memory

    return on_rollout(Memory(open_database(project)).load(about["rollout"]).state)


def turn(project: Project, about: About) -> Answer:
    """`about`: the digest that is to be rolled out, and the endpoint."""
    from penstock.rollout.memory import Memory
    from penstock.rollout.service import baseline_of
    from penstock.state import rollouts, routes

    engine, endpoint = open_database(project), about["endpoint"]
    memory = Memory(engine)
    live = [memory.load(one.id).state for one in rollouts.live(engine, endpoint)]
    served = routes.published(engine, endpoint) is not None
    champion = baseline_of(engine, endpoint).digest if served else ""
    return on_turn(live, champion, about["digest"])


def reports(project: Project, about: About) -> Answer:
    """`about`: the kinds of report, the endpoint, and since when (ISO 8601) one counts."""
    from penstock.monitoring.history import report_from
    from penstock.state.monitor_reports import read

    engine = open_database(project)
    kept = [
        one
        for kind in about["kinds"]
        for one in read(engine, kind=kind, endpoint=about["endpoint"], limit=1)
    ]
    since = datetime.fromisoformat(about["since"])
    return on_reports([report_from(one.document) for one in kept], since)


LOOKS: dict[str, Callable[[Project, About], Answer]] = {
    "approval": approval,
    "reports": reports,
    "rollout": rollout,
    "turn": turn,
}


def look(project: str, environment: str, what: str, about: About) -> Answer:
    """Raises `PenstockError`."""
    return LOOKS[what](open_project(Path(project), environment), about)


def _tested_since(engine: Engine, model: str) -> str:
    """The latest version registered after this one that has passed its integration tests."""
    from penstock.approvals.book import REGISTERED
    from penstock.audit.ledger import Ledger
    from penstock.records import GateReport, from_json
    from penstock.state.runs import Runs

    for entry in reversed(Ledger(engine).entries(REGISTERED)):
        if entry.subject == model:
            return ""
        report = Runs(engine).latest_of("IntegrationReport", entry.digest)
        found = from_json(report) if report else None
        if isinstance(found, GateReport) and found.passed:
            return entry.subject
    return ""
