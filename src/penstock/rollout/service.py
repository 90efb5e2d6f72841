"""What people and programs do with rollouts: start one, look at it, act on it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine

from penstock.approvals.book import standing_of
from penstock.approvals.decision import version_of as policy_version
from penstock.audit.entries import Actor, Draft
from penstock.audit.ledger import Ledger, actor_of
from penstock.errors import ConflictError, RolloutError
from penstock.project import Project
from penstock.records import Release
from penstock.registry.champions import DEPLOYED
from penstock.registry.promotion import make_champion
from penstock.registry.versions import Found
from penstock.rollout import events as e
from penstock.rollout import operations
from penstock.rollout.acting import route_back
from penstock.rollout.agreement import require_fit
from penstock.rollout.candidate import release_for, version_of
from penstock.rollout.machine import decide
from penstock.rollout.memory import Memory, Remembered
from penstock.rollout.observing import Sources, foreign_table, observe
from penstock.rollout.readings import Readings
from penstock.rollout.routing import desired_table
from penstock.rollout.scene import Decision
from penstock.rollout.spec import RolloutSpec, Version, check
from penstock.rollout.states import Rollout
from penstock.rollout_settings import RolloutSettings
from penstock.serving import endpoint as endpoints
from penstock.serving.release import ReleaseSpec
from penstock.serving.routing.table import RoutingTable, serving_only
from penstock.state import rollouts, routes

TRIES = 5  # of an operation that others keep getting ahead of
HEARD = timedelta(seconds=10)  # a gateway that said something so lately lives

Operation = Callable[..., e.Event]
OPERATIONS: dict[str, Operation] = {
    "approve": operations.approve,
    "pause": operations.pause,
    "resume": operations.resume,
    "promote": operations.promote,
    "abort": operations.abort,
    "rollback": operations.rollback,
}


class RefusedError(RolloutError):
    """Something speaks against a rollout; `field`: the first one of its spec that is to blame."""

    def __init__(self, message: str, *, hint: str = "", field: str = "") -> None:
        super().__init__(message, hint=hint)
        self.field = field


@dataclass(frozen=True)
class Desk:
    """Where somebody works: a project, its state, and who it is."""

    project: Project
    engine: Engine
    by: Actor
    readings: Readings = field(default_factory=Readings)

    @classmethod
    def of(cls, project: Project, engine: Engine, actor: str | Actor | None = None) -> Desk:
        return cls(project, engine, actor_of(actor))

    @property
    def actor(self) -> str:
        return self.by.id

    @property
    def memory(self) -> Memory:
        return Memory(self.engine, self.by)


@dataclass(frozen=True)
class View:
    """A rollout as it is now, and what a controller would decide."""

    remembered: Remembered
    observed: Any  # penstock.rollout.evidence.Observed
    decision: Decision

    @property
    def state(self) -> Rollout:
        return self.remembered.state


def start(desk: Desk, model: str, endpoint: str, plan: RolloutSettings) -> Remembered | Release:
    """Begins the rollout of a version; the first release of an endpoint is simply served.

    Raises `RolloutError` that names the field of what speaks against it.
    """
    project, engine = desk.project, desk.engine
    found = version_of(project, model)
    number = secrets.token_hex(3)
    if routes.published(engine, endpoint) is None:
        _refuse(rollouts.in_quarantine(engine, found.digest) is not None, found.label)
        first = release_for(project, engine, found, endpoint, number)
        return _serve_first(desk, found, first, plan)
    now = datetime.now(UTC)
    spec = RolloutSpec(
        settings=plan,
        candidate=Version(
            release=f"{found.name}-{found.version}-{number}",
            model=found.label,
            digest=found.digest,
        ),
        baseline=baseline_of(engine, endpoint),
        created_at=now,
        created_by=desk.actor,
    )
    quarantined = rollouts.in_quarantine(engine, found.digest) is not None
    if refusals := check(spec, quarantined=quarantined):
        reasons = "; ".join(f"{one.field}: {one.reason}" for one in refusals)
        raise RefusedError(reasons, hint=refusals[0].hint, field=refusals[0].field)
    release_for(project, engine, found, endpoint, number)  # what cannot be served is told now
    rollout = f"ro-{now:%Y%m%d}-{number}"
    created = e.Created(at=now, actor=desk.actor, id=rollout, endpoint=endpoint, spec=spec)
    return desk.memory.create(created)


def baseline_of(engine: Engine, endpoint: str) -> Version:
    """The champion of an endpoint. Raises `RolloutError` where nothing is served."""
    published = routes.published(engine, endpoint)
    if published is None:
        raise RolloutError(
            f"nothing is served by {endpoint} yet",
            hint="`penstock rollout start` serves the first version at once",
        )
    table = RoutingTable.model_validate(published.document)
    champion = table.releases[table.champion]
    return Version(release=champion.id, model=champion.model, digest=champion.digest)


def operate(desk: Desk, rollout: str, operation: str, **given: Any) -> Remembered:
    """Does one of `OPERATIONS`. Raises `RolloutError` where the state does not allow it."""
    for _ in range(TRIES):
        one = desk.memory.load(rollout)
        at = max(datetime.now(UTC), one.state.updated)
        if operation == "approve":
            require_fit(desk.project, desk.engine, one.state, desk.actor, at)
        event = OPERATIONS[operation](one.state, actor=desk.actor, at=at, **given)
        if (done := _written(desk, one, [event])) is not None:
            return done
    raise RolloutError(f"{rollout} changes all the time", hint="try again")


def note_alert(
    desk: Desk, rollout: str, alert: str, reason: str, *, rolls_back: bool
) -> Remembered:
    """Writes down what monitoring says, once, and rolls back. Raises `RolloutError`."""
    for _ in range(TRIES):
        one = desk.memory.load(rollout)
        at = max(datetime.now(UTC), one.state.updated)
        told = e.Alerted(at=at, actor=desk.actor, alert=alert, reason=reason)
        back = operations.rollback(one.state, actor=desk.actor, at=at, reason=reason)
        events = [*([] if is_noted(one, alert) else [told]), *([back] if rolls_back else [])]
        if (done := _written(desk, one, events)) is not None:
            return done
    raise RolloutError(f"{rollout} changes all the time", hint="try again")


def is_noted(one: Remembered, alert: str) -> bool:
    """Whether an alert, by its fingerprint and start, is written down."""
    return any(isinstance(event, e.Alerted) and event.alert == alert for event in one.events)


def _written(desk: Desk, one: Remembered, events: Sequence[e.Event]) -> Remembered | None:
    """What follows from the events; None: somebody else was faster. A way back begins at once."""
    try:
        done = desk.memory.append(one, events)
    except ConflictError:
        return None
    route_back(desk.engine, done, datetime.now(UTC))
    return done


def view(desk: Desk, rollout: str) -> View:
    """A rollout as it is now. Changes nothing."""
    one = desk.memory.load(rollout)
    now, state = datetime.now(UTC), one.state
    published = routes.published(desk.engine, state.endpoint)
    desired = None
    if published is not None and state.routed and not state.ended:
        present = RoutingTable.model_validate(published.document)
        both = (state.spec.candidate.release, state.spec.baseline.release)
        if all(name in present.releases for name in both):
            foreign = bool(foreign_table(one, published))
            desired = desired_table(state, present.releases, present, foreign=foreign)
    folder = desk.project.endpoint(state.endpoint)
    sources = Sources(desk.project, desk.engine, folder, desk.readings)
    seen = observe(sources, one, published, desired, None, now)
    return View(one, seen, decide(state, seen, now))


def listed(desk: Desk) -> Sequence[Rollout]:
    """All rollouts, the latest first."""
    return [desk.memory.load(one.id).state for one in desk.memory.listed()]


def _serve_first(desk: Desk, found: Found, spec: ReleaseSpec, plan: RolloutSettings) -> Release:
    """There is nothing to compare with: people agree, and it is served; dry, it has no URL."""
    agreed = standing_of(desk.project, desk.engine, found, spec.endpoint, datetime.now(UTC))
    have, needed = len(agreed.approvals), plan.approvals.required
    if not agreed.met or (have < needed and not agreed.glass):
        count = f"{spec.model} has {have} of {needed} approvals"
        raise RefusedError(
            f"candidate: {'; '.join((count, *agreed.missing))}",
            hint=f"`penstock models approve {spec.model} --for {spec.endpoint} --meaning '…'`",
            field="candidate",
        )
    if plan.dry_run:
        return _as_release(spec, url="")
    place = endpoints.place_of(desk.project, spec.endpoint)
    settings = desk.project.settings.serving.of(spec.endpoint)
    alive = [
        one
        for one in routes.gateways_of(desk.engine, spec.endpoint)
        if datetime.now(UTC) - one.seen_at < HEARD and one.state != "stopped"
    ]
    if alive:
        endpoints.publish(place, serving_only(spec))
        url = alive[0].url
    else:
        url = endpoints.serve_table(place, serving_only(spec), settings).url
    Ledger(desk.engine).write(
        Draft(
            by=desk.by,
            action=DEPLOYED,
            subject=spec.endpoint,
            digest=spec.digest,
            reason="the first release of the endpoint",
            approvals=agreed.entries,
            policy=policy_version(desk.project.settings.approval_of(spec.endpoint)),
            details={"release": spec.id, "model": spec.model, "url": url},
        )
    )
    make_champion(
        desk.project,
        desk.engine,
        spec.model,
        spec.digest,
        reason=f"the first release of {spec.endpoint}",
        actor=desk.actor,
    )
    return _as_release(spec, url)


def _as_release(spec: ReleaseSpec, url: str) -> Release:
    return Release(
        endpoint=spec.endpoint,
        id=spec.id,
        url=url,
        model=spec.model,
        digest=spec.digest,
        replicas=spec.replicas,
    )


def _refuse(quarantined: bool, label: str) -> None:
    if quarantined:
        raise RefusedError(
            f"candidate: {label} is in quarantine: a rollout of the same bytes was rolled back",
            hint="register a mended version",
            field="candidate",
        )
