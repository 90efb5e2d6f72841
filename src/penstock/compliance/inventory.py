"""The inventory: every registered version, where it serves, who answers for it, and what is due."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime

from sqlalchemy import Engine

from penstock.approvals.book import APPROVED, REGISTERED
from penstock.audit.ledger import Ledger
from penstock.compliance.gathering import owned_fields, serving
from penstock.errors import ProjectError
from penstock.project import Project
from penstock.registry.versions import versions

MISSING = "MISSING"


@dataclass(frozen=True)
class Line:
    """A version."""

    model: str  # name@version
    stands: str  # its aliases
    serves: str  # endpoints that answer with it
    risk_class: str  # as its owner says
    owner: str
    validated: datetime | None  # UTC: when it passed the gates and was registered
    approved: datetime | None  # UTC: the latest approval
    next_review: str  # a date
    overdue: bool
    digest: str


def inventory(project: Project, engine: Engine, today: date) -> tuple[Line, ...]:
    """The newest first. Raises `ProjectError` for a review that is no date."""
    return tuple(_lines(project, engine, today))


def _lines(project: Project, engine: Engine, today: date) -> Iterator[Line]:
    answers = owned_fields(project)
    review, risk = answers.get("next_review"), answers.get("risk_class")
    due = _date(review.text) if review else None
    entries = Ledger(engine).entries_of((REGISTERED, APPROVED))
    latest = {(entry.action, entry.digest): entry.at for entry in entries}
    places = serving(engine)
    for found in versions(project):
        yield Line(
            model=found.label,
            stands=", ".join(found.aliases),
            serves=", ".join(one.endpoint for one in places.get(found.label, ())),
            risk_class=risk.text if risk else MISSING,
            owner=risk.owner if risk else project.settings.project.owner,
            validated=latest.get((REGISTERED, found.digest)),
            approved=latest.get((APPROVED, found.digest)),
            next_review=due.isoformat() if due else MISSING,
            overdue=due is not None and due < today,
            digest=found.digest,
        )


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ProjectError(
            f"compliance.yaml: next_review is {text!r}, which is no date",
            hint=f"write one like {datetime.now(UTC):%Y}-12-31",
        ) from None
