"""`penstock up`: starts, watches and restarts the services, and ends them all when it ends."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime

from sqlalchemy.exc import SQLAlchemyError

from penstock.audit.ledger import Ledger
from penstock.errors import PenstockError, ResourceError
from penstock.notifications.delivery import deliver
from penstock.project import Project
from penstock.services.cron import Schedule
from penstock.services.kept import Kept, Say
from penstock.services.roster import roster
from penstock.services.standing import Office, Standing
from penstock.state import routes
from penstock.state.database import open_database

INTERVAL = 0.5  # seconds between two looks
ASKING = 5.0  # seconds between two questions which endpoints there are


class Supervisor:
    """Keeps the services of one project. Used from the main thread: see `processes.tied`."""

    def __init__(
        self, project: Project, commands: Collection[str], say: Say, office: Office
    ) -> None:
        self._project = project
        self._commands = commands
        self._say = say
        self._office = office
        self._kept: dict[str, Kept] = {}
        self._since = datetime.now(UTC)
        self._asked = float("-inf")
        self._away = False
        settings = project.settings.pipeline
        given = settings.schedule and "scheduler" in project.settings.services.run
        self._schedule = Schedule(settings.schedule, settings.timezone) if given else None

    def run(self, ended: threading.Event, show: Callable[[Standing], None]) -> Standing:
        """Goes on until told to end. Raises `ConflictError` where another one runs."""
        with self._office.take():
            try:
                while not ended.is_set():
                    self._look()
                    show(self._written())
                    ended.wait(INTERVAL)
            finally:
                self._say("ending all services")
                self._end()
                last = self._written()
        return last

    def _look(self) -> None:
        if time.monotonic() - self._asked > ASKING:
            self._asked = time.monotonic()
            for service in roster(self._project, self._endpoints(), self._commands):
                if service.name not in self._kept:
                    log = self._office.log_of(service.name)
                    self._kept[service.name] = Kept(
                        self._project, service, log, self._say, self._gave_up
                    )
        for kept in self._kept.values():
            kept.look(datetime.now(UTC))

    def _endpoints(self) -> list[str]:
        """Those with something to serve; of what was found before, nothing is ended."""
        try:
            found = [name for name, _ in routes.endpoints(open_database(self._project))]
        except (SQLAlchemyError, PenstockError) as error:
            if not self._away:
                self._say(f"the state database is away: {error}".splitlines()[0])
            self._away = True
            return []
        self._away = False
        return found

    def _gave_up(self, service: str, reason: str) -> None:
        """Says so to those who are not looking; what cannot be told does not end the others."""
        project = self._project
        title = f"[{project.settings.project.name}] the service {service} is down"
        body = (
            f"Service: {service}\n"
            f"What happened: {reason}\n"
            f"What to do: penstock logs {service}; mend it; penstock down; penstock up"
        )
        with contextlib.suppress(ResourceError, OSError):
            deliver(title, body, project.settings.notify, project.notices, failure=True)
        with contextlib.suppress(SQLAlchemyError, PenstockError):
            ledger = Ledger(open_database(project))
            ledger.append("service.given_up", service, digest="", reason=reason)

    def _written(self) -> Standing:
        now = datetime.now(UTC)
        standing = Standing(
            pid=os.getpid(),
            environment=self._project.environment,
            since=self._since,
            services=tuple(kept.standing() for kept in self._kept.values()),
            next_run=self._schedule.next_after(now) if self._schedule else None,
        )
        self._office.write(standing)
        return standing

    def _end(self) -> None:
        """All at once; each is given the same time."""
        for kept in self._kept.values():
            kept.tell_to_end()
        deadline = time.monotonic() + self._project.settings.services.patience.total_seconds()
        for kept in self._kept.values():
            kept.end(deadline - time.monotonic(), datetime.now(UTC))
