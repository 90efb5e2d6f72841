"""The scheduler: starts a run for each slot of the schedule, one after the other.

Any number may run: one leads, the others stand by. A slot is claimed in the ledger before its run
starts; a scheduler that is killed leaves its claim, and the next one does that slot again. Steps
that were done are cached, so that doing it again has no effect twice.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from penstock.clock import utc_now
from penstock.errors import ConflictError, PenstockError, SettingsError
from penstock.project import Project
from penstock.services.cron import Schedule, schedule_of
from penstock.services.reread import Reread
from penstock.services.saying import Saying
from penstock.services.slot_memory import SlotMemory
from penstock.services.slots import Action, Decision, Standing, decide, written
from penstock.state import leadership

log = logging.getLogger(__name__)

ROLE = "scheduler"
INTERVAL = 1.0  # seconds between two looks at the clock
LEADERSHIP = timedelta(seconds=30)  # after which another scheduler takes over
ENDS = {0: "succeeded", 1: "failed", 2: "failed"}  # of a run, by exit status; others broke it off


class Run(Protocol):
    """A run under way, in a process of its own."""

    def poll(self) -> int | None:
        """Its exit status; None while it goes on. Below zero: the signal that ended it."""

    def interrupt(self) -> None:
        """Ends it, so that it is recorded as interrupted; returns when it has ended."""


@dataclass
class UnderWay:
    claimed: Standing
    run: Run
    disturbed: bool = False  # the state database was away meanwhile, for the run as for us


class Scheduler:
    """Runs one project on its schedule. `tick` may be called with any clock.

    `start` starts a run as of a slot, for a reason; `connect` opens the state database, and may
    raise as long as that is away.
    """

    def __init__(
        self,
        project: Project,
        connect: Callable[[], Engine],
        start: Callable[[datetime, str], Run],
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.schedule = _required(project)
        self.name = leadership.own_name()
        self._reread = Reread(project)
        self._connect = connect
        self._start = start
        self._now = now
        self._leads_until = datetime.min.replace(tzinfo=UTC)
        self._under_way: UnderWay | None = None
        self._say = Saying(log)

    def run(self, ended: threading.Event, interval: float = INTERVAL) -> None:
        """Looks until told to end. A run under way is then interrupted, and its slot done again
        by the next scheduler.
        """
        while not ended.is_set():
            try:
                self.tick()
            except (SQLAlchemyError, PenstockError) as error:
                self._say(
                    f"the state database is away: {str(error).splitlines()[0]}", logging.ERROR
                )
            ended.wait(interval)
        self._leave()

    @property
    def _project(self) -> Project:
        return self._reread.project

    def _take_up(self) -> None:
        """Settings that were changed meanwhile, or what is wrong with them."""
        if self._reread.trouble:
            log.error("%s; no run is started until it can be read", self._reread.trouble)
            return
        try:
            self.schedule = _required(self._project)
        except SettingsError as error:
            self._reread.trouble = error.message
            log.warning("%s", error.message)
            return
        log.info("the settings were changed: %s", self.schedule)
        self._say.anew()

    def tick(self) -> Decision | None:
        """One look at the clock. None while another scheduler leads, or a run goes on.

        Raises while the state database is away: `PenstockError`, `SQLAlchemyError`.
        """
        if self._reread.look():
            self._take_up()
        try:
            return self._look(self._connect())
        except (SQLAlchemyError, PenstockError):
            if self._under_way is not None:
                self._under_way.disturbed = True
            raise

    def _look(self, engine: Engine) -> Decision | None:
        leads = self._lead(engine)
        memory = self._memory(engine)
        if self._under_way is not None:
            self._look_after(memory, self._under_way)
            return None
        if not leads:
            self._say("another scheduler leads; standing by")
            return None
        standing = memory.standing() or memory.begin(self._since())
        policy = self._project.settings.pipeline
        decision = decide(self.schedule, standing, self._now(), catchup=policy.catchup)
        try:
            self._act(memory, standing, decision)
        except ConflictError:
            log.info("%s was claimed by another scheduler", written(decision.slot))
        return decision

    def _act(self, memory: SlotMemory, standing: Standing, decision: Decision) -> None:
        if decision.action is Action.WAIT:
            self._say(decision.reason)
        elif self._reread.trouble:
            self._say(f"{written(decision.slot)} waits: {self._reread.trouble}", logging.ERROR)
        elif decision.action is Action.GIVE_UP:
            memory.end(standing, "given up", decision.reason)
            log.error("%s is given up: %s", written(decision.slot), decision.reason)
        else:
            claimed = memory.claim(decision, standing)
            reason = f"{self.schedule}: {written(decision.slot)}, {decision.reason}"
            log.info("starting a run: %s", reason)
            try:
                self._under_way = UnderWay(claimed, self._start(decision.slot, reason))
            except OSError as error:  # no memory, no process: the next look tries again
                log.error("the run of %s cannot be started: %s", written(decision.slot), error)

    def _look_after(self, memory: SlotMemory, under_way: UnderWay) -> None:
        status = under_way.run.poll()
        if status is None:
            return
        slot = written(under_way.claimed.slot)
        if status not in ENDS or (status and under_way.disturbed):
            log.error("the run of %s broke off with status %d", slot, status)
        else:
            with contextlib.suppress(ConflictError):  # another scheduler took it over meanwhile
                memory.end(under_way.claimed, ENDS[status], f"its run {ENDS[status]}")
            log.info("the run of %s %s", slot, ENDS[status])
        self._under_way = None

    def _lead(self, engine: Engine) -> bool:
        """Renews when a third of the term is over: no write a second for nothing."""
        now = self._now()
        if now + LEADERSHIP * 2 / 3 < self._leads_until <= now + LEADERSHIP:
            return True
        until = now + LEADERSHIP
        leads = leadership.lead(engine, self.name, now, until, ROLE)
        self._leads_until = until if leads else now
        return leads

    def _since(self) -> datetime:
        """From when slots count for a schedule that nobody has begun."""
        policy = self._project.settings.pipeline
        if policy.catchup and policy.start_date is not None:
            # A slot at the start date itself counts.
            return policy.start_date - timedelta(seconds=1)
        return self._now()

    def _leave(self) -> None:
        if self._under_way is not None:
            log.info("interrupting the run of %s", written(self._under_way.claimed.slot))
            self._under_way.run.interrupt()
        try:
            leadership.resign(self._connect(), self.name, self._now())
        except (SQLAlchemyError, PenstockError) as error:
            log.warning("another scheduler leads %s from now: %s", LEADERSHIP, error)

    def _memory(self, engine: Engine) -> SlotMemory:
        return SlotMemory(engine, self._project.settings.project.name, self._project.environment)


def _required(project: Project) -> Schedule:
    if found := schedule_of(project.settings.pipeline):
        return found
    raise SettingsError(
        "[pipeline] schedule is empty: there is nothing to start",
        hint="write one like '0 2 * * *', or start runs by hand",
    )
