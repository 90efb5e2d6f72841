"""Whether people let a candidate serve its endpoint: asked at every look, for approvals can end."""

from __future__ import annotations

from datetime import datetime
from functools import partial

from sqlalchemy import Engine

from penstock.approvals.book import pinned_keys, read_book
from penstock.approvals.decision import Decision
from penstock.errors import PenstockError, RolloutError
from penstock.project import Project
from penstock.registry import versions
from penstock.rollout.evidence import Agreement, Approval
from penstock.rollout.readings import Readings
from penstock.rollout.states import Rollout


def agreement(
    project: Project, engine: Engine, state: Rollout, now: datetime, registry: Readings | None
) -> tuple[Agreement, tuple[Approval, ...]]:
    """By the endpoint's policy, and whose approvals count.

    With `registry`, by the digests that MLflow has now: with others than were approved, approvals
    are void. While it is away, the ledger's are taken.
    """
    candidate, digests = state.spec.candidate, None
    if registry is not None:
        asked = partial(_registered, project, candidate.model)
        digests = registry.read(f"{candidate.model} in the registry", asked)
    found: Decision = read_book(engine, pinned_keys(project), candidate.digest).standing(
        project.settings.approval_of(state.endpoint),
        candidate.digest,
        state.endpoint,
        now,
        digests,
        candidate.model,
    )
    people = tuple(
        Approval(actor=one.person, digest=one.digest, point="start", at=one.at)
        for one in found.approvals
    )
    return Agreement(met=found.met, missing=found.missing, until=found.until), people


def require_fit(
    project: Project, engine: Engine, state: Rollout, person: str, now: datetime
) -> None:
    """Raises `RolloutError` for somebody whose approval the endpoint's policy would not count."""
    candidate, policy = state.spec.candidate, project.settings.approval_of(state.endpoint)
    book = read_book(engine, digest=candidate.digest)
    if why := book.refusal(policy, person, candidate.digest, candidate.model, now):
        raise RolloutError(
            f"{person} cannot approve {candidate.model}: {why}",
            hint="another person must approve it",
        )


def _registered(project: Project, model: str) -> dict[str, str] | None:
    try:
        return versions.find(project, int(model.rpartition("@")[2])).digests
    except PenstockError:  # away: nothing is void by that
        return None
