"""One act that takes production back: model, feature definitions and routing together.

An entry in the ledger first, by which the earlier version is the champion again; then all that
follows from it, each part of which may be done twice. Where that is interrupted, the same command
goes on from the entry.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Engine

from penstock.approvals.book import required
from penstock.approvals.decision import version_of as policy_version
from penstock.audit.ledger import Draft, Entry, Ledger, present_actor
from penstock.errors import ConflictError, RolloutError
from penstock.project import PRODUCTION, Project
from penstock.registry.aliases import follow_the_ledger
from penstock.registry.champions import (
    ACTIONS,
    ROLLBACK,
    ROLLED_BACK,
    Champion,
    require_expected,
    standing,
    standing_of,
)
from penstock.registry.promotion import former_champion, refuse_quarantined
from penstock.releases.history import of_version
from penstock.releases.restoring import restore_features, restore_routing, source_of
from penstock.rollout import service
from penstock.rollout.candidate import release_for, version_of
from penstock.serving.release import ReleaseSpec
from penstock.serving.routing.table import RoutingTable
from penstock.state import rollouts, routes

RESTORED = "release.restored"  # all that follows from a rollback is done
STREAM = "rollback/"

Progress = Callable[..., None]


@dataclass(frozen=True)
class Restored:
    """What a rollback did."""

    entry: int
    model: str
    archived: str
    features: str  # what became of the definitions
    routing: str


def roll_back(
    project: Project,
    engine: Engine,
    name: str = "",
    *,
    reason: str,
    abort_rollout: bool = False,
    progress: Progress,
) -> Restored:
    """Takes production back to the champion before, or to a release that was the champion once.

    Goes on with a rollback that was interrupted. Raises `IntegrityError` for bytes in quarantine,
    `RolloutError` while a rollout goes on, `ConflictError` where another version became the
    champion meanwhile.
    """
    entry = unfinished(engine)
    if entry is None:
        entry = _begin(project, engine, name, reason, abort_rollout)
    else:
        progress(f"going on with the rollback of entry {entry.sequence}")
    return _carry_out(project, engine, entry, progress)


def unfinished(engine: Engine) -> Entry | None:
    """The rollback that made the present champion, and was not carried out to its end."""
    present = standing(engine)
    begun = Ledger(engine).entries(ROLLED_BACK)
    if not begun or begun[-1].sequence != present.sequence:
        return None
    done = {int(entry.details["of"]) for entry in Ledger(engine).entries(RESTORED)}
    return None if begun[-1].sequence in done else begun[-1]


def _begin(project: Project, engine: Engine, name: str, reason: str, abort_rollout: bool) -> Entry:
    going_on = _going_on(project, engine)
    if going_on and not abort_rollout:
        raise RolloutError(
            f"the rollout {going_on[0]} of {PRODUCTION} goes on",
            hint=f"`penstock rollout rollback {going_on[0]}` takes it back; --abort-rollout ends "
            "it, and takes back the champion too",
        )
    present = standing(engine)
    to = former_champion(present, version_of(project, name).label if name else "")
    refuse_quarantined(engine, to.label, to.digest)
    made = of_version(engine, to.label, to.digest)
    if made:
        source_of(project, made.manifest)  # what cannot be restored is told before anything is done
    spec = _spec(project, engine, to)
    approvals = _agreed(project, engine, to) if spec else ()
    for rollout in going_on:
        service.operate(service.Desk.of(project, engine), rollout, "abort", reason=reason)
    with Ledger(engine).page() as page:
        now = standing_of(page.entries(ACTIONS))
        require_expected(now, present.label, to.label)
        before = now.champion
        return page.write(
            Draft(
                by=present_actor(),
                action=ROLLED_BACK,
                subject=to.label,
                digest=to.digest,
                before=before.digest if before else "",
                after=to.digest,
                digests=made.manifest.digests if made else {},
                reason=reason,
                environment=PRODUCTION,
                approvals=approvals,
                policy=policy_version(project.settings.approval_of(PRODUCTION)),
                decision=ROLLBACK,
                details={
                    "archived": present.label,
                    "manifest": made.digest if made else "",
                    "spec": spec.model_dump(mode="json") if spec else None,
                },
            )
        )


def _carry_out(project: Project, engine: Engine, entry: Entry, progress: Progress) -> Restored:
    made = of_version(engine, entry.subject, entry.digest)
    features = restore_features(project, made.manifest if made else None, progress)
    spec = entry.details["spec"]
    routing = "routing: production is not served by Penstock"
    if spec:
        routing = restore_routing(
            project, engine, ReleaseSpec.model_validate(spec), entry.sequence, progress
        )
    follow_the_ledger(project, engine)
    _note_end(engine, entry, features, routing)
    archived = str(entry.details["archived"])
    return Restored(entry.sequence, entry.subject, archived, features, routing)


def _note_end(engine: Engine, entry: Entry, features: str, routing: str) -> None:
    """Once, whoever else went on with it at the same time."""
    try:
        Ledger(engine).append(
            RESTORED,
            entry.subject,
            digest=entry.digest,
            reason=entry.reason,
            details={"of": entry.sequence, "features": features, "routing": routing},
            stream=f"{STREAM}{entry.sequence}",
            position=1,
        )
    except ConflictError:
        return


def _going_on(project: Project, engine: Engine) -> list[str]:
    """The rollouts of production that may still change its routing."""
    memory = service.Desk.of(project, engine).memory
    listed = (one.id for one in rollouts.live(engine, PRODUCTION))
    return [one for one in listed if not memory.load(one).state.ended]


def _agreed(project: Project, engine: Engine, to: Champion) -> tuple[str, ...]:
    """The approvals by which it may serve: else the gateway would not load it.

    What production serves still, beside the champion, needs none. Raises `AccessError`.
    """
    published = routes.published(engine, PRODUCTION)
    table = RoutingTable.model_validate(published.document) if published else None
    if table and any(spec.digest == to.digest for spec in table.releases.values()):
        return ()
    found = version_of(project, to.label)
    return required(project, engine, found, PRODUCTION, datetime.now(UTC))


def _spec(project: Project, engine: Engine, to: Champion) -> ReleaseSpec | None:
    """What production shall serve; None where it serves nothing.

    A release of these bytes that runs there still, unless it reads features: those that it began
    with may be others than those that are restored.
    """
    published = routes.published(engine, PRODUCTION)
    if published is None:
        return None
    table = RoutingTable.model_validate(published.document)
    for spec in table.releases.values():
        if spec.digest == to.digest and spec.features is None:
            return spec
    found = version_of(project, to.label)
    return release_for(project, engine, found, PRODUCTION, secrets.token_hex(3))
