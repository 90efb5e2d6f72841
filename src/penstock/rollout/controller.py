"""The controller: observes, decides, remembers, acts; every few seconds, for every rollout.

Any number may run: one leads, the others stand by. What is decided is written to the ledger first;
everything after follows from the state, and may be done twice. So a controller may be killed at
any moment: the next one goes on, and if none comes, the gateways' lease gives everything back to
the baseline.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from penstock.clock import utc_now
from penstock.errors import ConflictError, PenstockError
from penstock.project import Project
from penstock.rollout.acting import follow, route
from penstock.rollout.candidate import release_for, version_of
from penstock.rollout.evidence import SmokeResult
from penstock.rollout.machine import decide
from penstock.rollout.memory import Memory, Remembered
from penstock.rollout.observing import Sources, foreign_table, observe
from penstock.rollout.readings import Readings
from penstock.rollout.routing import desired_table
from penstock.rollout.scene import Decision, Scene
from penstock.rollout.smoke import (
    SmokeTests,
    made_up_questions,
    recent_questions,
    smoke_test,
)
from penstock.rollout.states import Rollout
from penstock.serving.access import token_with
from penstock.serving.release import ReleaseSpec
from penstock.serving.routing.table import RoutingTable
from penstock.state import leadership, routes
from penstock.state.routes import Published

log = logging.getLogger(__name__)

INTERVAL = 2.0  # seconds between two looks
LEADERSHIP = timedelta(seconds=15)  # after which another controller takes over
STEPS = 20  # transitions of a rollout in one look, at most: the next look goes on


@dataclass(frozen=True)
class Seen:
    """A rollout after a look: for who watches."""

    remembered: Remembered
    decision: Decision


class Controller:
    """Drives the rollouts of one project. `tick` may be called with any clock."""

    def __init__(
        self, project: Project, engine: Engine, now: Callable[[], datetime] = utc_now
    ) -> None:
        self.name = leadership.own_name()
        self._project = project
        self._engine = engine
        self._memory = Memory(engine)
        self._now = now
        self._smoke = SmokeTests()
        self._readings = Readings()
        self._away = False

    def run(self, ended: threading.Event, interval: float = INTERVAL) -> None:
        """Looks until told to end; then another controller may lead at once."""
        while not ended.is_set():
            try:
                self.tick()
                self._away = False
            except (SQLAlchemyError, PenstockError) as error:
                if not self._away:
                    log.error("the state database is away: %s", str(error).splitlines()[0])
                self._away = True
            ended.wait(interval)
        try:
            leadership.resign(self._engine, self.name, self._now())
        except SQLAlchemyError as error:
            log.warning("another controller leads %s from now: %s", LEADERSHIP, error)

    def tick(self) -> list[Seen]:
        """One look at every live rollout; none where another controller leads."""
        now = self._now()
        if not leadership.lead(self._engine, self.name, now, now + LEADERSHIP):
            return []
        found = []
        for rollout in self._memory.live():
            # One rollout that cannot go on holds up no other. It is tried again.
            try:
                found.append(self.drive(rollout))
            except SQLAlchemyError:
                raise
            except (PenstockError, OSError) as error:
                log.error("%s: %s", rollout, error)
            except Exception:  # a fault of ours must not keep a bad version elsewhere in traffic
                log.exception("%s cannot go on", rollout)
        return found

    def drive(self, rollout: str) -> Seen:
        """Everything that is to be done for a rollout now."""
        one = self._memory.load(rollout)
        for _ in range(STEPS):
            decision = self._step(one)
            if not decision.events:
                return Seen(one, decision)
            try:
                one = self._memory.append(one, decision.events)
            except ConflictError:  # a person, or another controller, was faster
                one = self._memory.load(rollout)
            for event in decision.events:
                log.info("%s: %s", rollout, type(event).__name__)
        return Seen(one, decision)

    def _step(self, one: Remembered) -> Decision:
        """Acts for the state as it is, and decides what follows."""
        now, state = self._now(), one.state
        published = routes.published(self._engine, state.endpoint)
        desired = self._desired(one, published)
        # Routing before anything else: in a rollback, every request counts.
        if route(self._engine, one, published, desired, now):
            published = routes.published(self._engine, state.endpoint)
        follow(self._project, self._engine, self._memory, one)
        folder = self._project.endpoint(state.endpoint)
        sources = Sources(self._project, self._engine, folder, self._readings, asks_registry=True)
        smoke = self._smoke.result(state.id)
        seen = observe(sources, one, published, desired, smoke, self._now())
        now = self._now()  # all of that took its time
        decision = decide(state, seen, now)
        if decision.wants_smoke and (alive := Scene(state, seen, now).alive):
            self._smoke.begin(state.id, partial(self._smoke_test, state, alive[0].url))
        return decision

    def _desired(self, one: Remembered, published: Published | None) -> RoutingTable | None:
        state = one.state
        if state.ended or not state.routed:
            return None
        present = RoutingTable.model_validate(published.document) if published else None
        releases = Releases(present.releases if present else {}, partial(self._described, state))
        foreign = bool(foreign_table(one, published))
        return desired_table(state, releases, present, foreign=foreign)

    def _described(self, state: Rollout, release: str) -> ReleaseSpec:
        """A release of the rollout that the present table does not have."""
        both = (state.spec.candidate, state.spec.baseline)
        version = next(one for one in both if one.release == release)
        number = release.rpartition("-")[2]
        registered = version_of(self._project, version.model)
        return release_for(self._project, self._engine, registered, state.endpoint, number)

    def _smoke_test(self, state: Rollout, url: str) -> SmokeResult:
        count = state.spec.settings.blue_green.smoke_requests
        folder = self._project.endpoint(state.endpoint)
        questions = recent_questions(folder, state.endpoint, count)
        if not questions:
            questions = made_up_questions(url, self._project.seed)
        asked = [questions[number % len(questions)] for number in range(count)]
        token = token_with(self._project.settings.serving, "pin")
        return smoke_test(url, state.spec.candidate.release, asked, token)


class Releases(dict[str, ReleaseSpec]):
    """As the present table describes them; others as they are to be, once they are asked for."""

    def __init__(
        self, known: Mapping[str, ReleaseSpec], describe: Callable[[str], ReleaseSpec]
    ) -> None:
        super().__init__(known)
        self._describe = describe

    def __missing__(self, name: str) -> ReleaseSpec:
        self[name] = self._describe(name)
        return self[name]
