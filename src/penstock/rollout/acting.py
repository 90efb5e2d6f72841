"""Carries out what a rollout's state asks for. Everything here may be done twice."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from sqlalchemy import Engine

from penstock.errors import ConflictError, PenstockError
from penstock.project import Project
from penstock.registry.champions import PROMOTION, ROLLBACK, champion_label
from penstock.registry.promotion import make_champion
from penstock.rollout import events as e
from penstock.rollout.memory import Memory, Remembered, written_at
from penstock.rollout.notices import Notice, notice_of
from penstock.rollout.observing import document_of, foreign_table, writer_of
from penstock.rollout.post_mortem import write_post_mortem
from penstock.rollout.routing import desired_table, leased
from penstock.rollout.spec import Version
from penstock.rollout.states import GOING_BACK, Rollout
from penstock.serving.routing.table import RoutingTable
from penstock.state import rollouts, routes
from penstock.state.rollouts import Quarantined
from penstock.state.routes import Published

log = logging.getLogger(__name__)


def route(
    engine: Engine,
    one: Remembered,
    published: Published | None,
    desired: RoutingTable | None,
    now: datetime,
) -> int:
    """Publishes the desired table where another one stands, and renews its lease.

    Gives the revision of the desired table; 0 where it does not stand. A table that is made from a
    later state of the rollout is left as it is.
    """
    if desired is None:
        return 0
    state = one.state
    until = now + state.spec.settings.lease if leased(state) else None
    document = document_of(desired)
    revision = published.revision if published else 0
    if published is None or published.document != document:
        try:
            return routes.publish(
                engine,
                state.endpoint,
                document,
                expected=revision,
                actor=writer_of(state.id),
                at=now,
                lease_until=until,
                fence=one.sequence,
            )
        except ConflictError as error:
            log.warning("%s", error)
            return 0
    if published.lease_until != until and _is_due(published.lease_until, until, state):
        routes.renew(engine, state.endpoint, revision, until)
    return revision


def _is_due(present: datetime | None, until: datetime | None, state: Rollout) -> bool:
    """A lease is renewed when a third of it is gone: the database is written to less often.

    One that ends later than it should was given by a clock that went ahead.
    """
    if present is None or until is None:
        return True
    third: timedelta = state.spec.settings.lease / 3
    return abs(until - present) >= third


def route_back(engine: Engine, one: Remembered, now: datetime) -> None:
    """Takes the candidate's share away at once, whether a controller looks at it soon or not."""
    state = one.state
    published = routes.published(engine, state.endpoint)
    if published is None or state.ended or state.status not in GOING_BACK:
        return
    present = RoutingTable.model_validate(published.document)
    if state.spec.baseline.release not in present.releases:
        return  # a controller knows how to describe it
    foreign = bool(foreign_table(one, published))
    desired = desired_table(state, present.releases, present, foreign=foreign)
    route(engine, one, published, desired, now)


def follow(project: Project, engine: Engine, memory: Memory, one: Remembered) -> None:
    """All that follows from entries whose consequences may not be done yet, in their order.

    What cannot be done now is tried again at the next look. No decision waits for it: a version
    that MLflow cannot be told of is guarded all the same.
    """
    for position, event in enumerate(one.unsettled, start=one.settled + 1):
        try:
            _follow(project, engine, memory, one, event)
        except (PenstockError, OSError) as error:
            log.error("%s: %s", one.state.id, error)
            return
        memory.settle(one, position)


def _follow(
    project: Project, engine: Engine, memory: Memory, one: Remembered, event: e.Event
) -> None:
    state = one.state
    if isinstance(event, e.RollingBack):
        if event.quarantine:
            _quarantine(engine, state, event)
        _report(project, memory, one)
    if isinstance(event, e.Promoted):
        _become_champion(project, engine, state)
    if isinstance(event, e.Returned | e.Done):
        _report(project, memory, one)
        if state.outcome is not e.Outcome.PROMOTED and written_at(one, e.Promoted):
            _remain_champion(project, engine, state)
    if notice := notice_of(state, event):
        _tell(project, notice, f"{state.id}/{type(event).__name__}/{event.at.isoformat()}")


def _report(project: Project, memory: Memory, one: Remembered) -> None:
    """The whole story, also where others went on with it while this one slept."""
    write_post_mortem(project, one)
    while (latest := memory.load(one.state.id)).sequence != one.sequence:
        one = latest
        write_post_mortem(project, one)


def _quarantine(engine: Engine, state: Rollout, event: e.RollingBack) -> None:
    candidate = state.spec.candidate
    rollouts.put_into_quarantine(
        engine,
        Quarantined(candidate.digest, candidate.model, event.reason, state.id, event.at),
    )


def _become_champion(project: Project, engine: Engine, state: Rollout) -> None:
    _make_champion(project, engine, state, state.spec.candidate, "champion", PROMOTION)


def _remain_champion(project: Project, engine: Engine, state: Rollout) -> None:
    """After a promotion that was taken back, unless another version was promoted since."""
    if champion_label(engine) == state.spec.candidate.model:
        baseline = state.spec.baseline
        _make_champion(project, engine, state, baseline, "champion again", ROLLBACK)


def _make_champion(
    project: Project, engine: Engine, state: Rollout, version: Version, what: str, decision: str
) -> None:
    make_champion(
        project,
        engine,
        version.model,
        version.digest,
        reason=state.reason,
        actor=state.id,
        occasion=f"{what}/{state.id}",
        decision=decision,
    )


def _tell(project: Project, notice: Notice, key: str) -> None:
    from penstock.notifications.outbox import tell

    try:
        tell(project, notice.title, notice.body, key=key, failure=notice.failure)
    except PenstockError as error:  # it is queued; a rollback must not wait for a mail server
        log.error("%s", error)
