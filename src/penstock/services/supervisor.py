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
from penstock.monitoring.alerts import memory
from penstock.notifications.delivery import deliver
from penstock.project import Project
from penstock.services.alarms import Alarm, Alarms, alarms
from penstock.services.cron import schedule_of
from penstock.services.kept import Kept, Say
from penstock.services.reread import Reread
from penstock.services.roster import Service, roster
from penstock.services.standing import Office, Standing
from penstock.state import routes
from penstock.state.database import open_database

INTERVAL = 0.5  # seconds between two looks
ASKING = 5.0  # seconds between two questions to the state database
# Gateways have clients, and a run may be under way: they go on with the settings they have.
STARTED_AGAIN = ("controller", "monitor")  # when the settings change


class Supervisor:
    """Keeps the services of one project. Used from the main thread: see `processes.tied`."""

    def __init__(
        self, project: Project, commands: Collection[str], say: Say, office: Office
    ) -> None:
        self._reread = Reread(project)
        self._settings = project.settings  # that the services know
        self._commands = commands
        self._say = say
        self._office = office
        self._kept: dict[str, Kept] = {}
        self._since = datetime.now(UTC)
        self._asked = float("-inf")
        self._trouble = dict[str, str]()  # by what has it
        self._endpoints = list[str]()
        self._alarms = Alarms()
        schedule_of(project.settings.pipeline)  # what is wrong with it is said at once

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

    @property
    def _project(self) -> Project:
        return self._reread.project

    def _look(self) -> None:
        if self._reread.look():
            self._take_up()
        if time.monotonic() - self._asked > ASKING:
            self._asked = time.monotonic()
            self._ask()
        for service in self._roster():
            if service.name not in self._kept:
                log = self._office.log_of(service.name)
                self._kept[service.name] = Kept(
                    self._project, service, log, self._say, self._failed
                )
        for kept in self._kept.values():
            kept.look(datetime.now(UTC), self._reread.trouble)

    def _roster(self) -> list[Service]:
        return roster(self._project, self._endpoints, self._commands)

    @property
    def _patience(self) -> float:
        return self._project.settings.services.patience.total_seconds()

    def _take_up(self) -> None:
        """Settings that were changed, or what is wrong with them."""
        trouble = self._reread.trouble
        self._troubled("settings", f"{trouble}; what runs goes on as it is" if trouble else "")
        if trouble or self._project.settings == self._settings:
            return
        self._settings = self._project.settings
        self._say("the settings were changed; gateways take them up when they are started anew")
        named = {one.name: one for one in self._roster()}
        for name, kept in list(self._kept.items()):
            if name in named:
                kept.next_as(self._project, named[name])
            else:
                kept.leave(self._patience, datetime.now(UTC))
                del self._kept[name]
        for name in STARTED_AGAIN:
            if name in self._kept:
                self._kept[name].tell_to_end()

    def _ask(self) -> None:
        """Which endpoints have something to serve, and what fires; else both are as before."""
        now = datetime.now(UTC)
        try:
            engine = open_database(self._project)
            self._endpoints = [name for name, _ in routes.endpoints(engine)]
            alerts, silences = memory.read(engine).values(), memory.silences(engine, now)
        except (SQLAlchemyError, PenstockError) as error:
            self._troubled("state", f"the state database is away: {error}".splitlines()[0])
            return
        self._troubled("state", "")
        before = {one.id for one in self._alarms.firing}
        self._alarms = alarms(alerts, silences, self._project.settings.alerts, now)
        for one in reversed(self._alarms.firing):
            if one.id not in before:
                self._say(_fires(one))

    def _troubled(self, what: str, trouble: str) -> None:
        """What stays as it is is said once."""
        if trouble != self._trouble.get(what, ""):
            self._say(trouble or f"the trouble with the {what} is over")
        self._trouble[what] = trouble

    def _failed(self, service: str, reason: str) -> None:
        """Says so to those who are not looking; what cannot be told does not end the others."""
        project = self._project
        title = f"[{project.settings.project.name}] the service {service} is down"
        body = (
            f"Service: {service}\n"
            f"What happened: {reason}\n"
            f"What to do: penstock logs {service}; it is tried again and again meanwhile"
        )
        with contextlib.suppress(ResourceError, OSError):
            deliver(title, body, project.settings.notify, project.notices, failure=True)
        with contextlib.suppress(SQLAlchemyError, PenstockError):
            ledger = Ledger(open_database(project))
            ledger.append("service.failed", service, digest="", reason=reason)

    def _written(self) -> Standing:
        standing = Standing(
            pid=os.getpid(),
            environment=self._project.environment,
            since=self._since,
            services=tuple(kept.standing() for kept in self._kept.values()),
            next_run=self._next_run(),
            alarms=self._alarms,
            trouble="; ".join(filter(None, self._trouble.values())),
        )
        try:
            self._office.write(standing)
        except OSError as error:
            self._troubled("disk", f"cannot write down how the services are: {error}")
        else:
            self._troubled("disk", "")
        return standing

    def _next_run(self) -> datetime | None:
        settings = self._project.settings
        schedule = schedule_of(settings.pipeline) if "scheduler" in settings.services.run else None
        return schedule.next_after(datetime.now(UTC)) if schedule else None

    def _end(self) -> None:
        """All at once; each is given the same time."""
        for kept in self._kept.values():
            kept.tell_to_end()
        deadline = time.monotonic() + self._patience
        for kept in self._kept.values():
            kept.end(deadline - time.monotonic(), datetime.now(UTC))


def _fires(one: Alarm) -> str:
    return f"alert, {one.severity}: {one.name} fires; see penstock alerts show {one.id[:8]}"
