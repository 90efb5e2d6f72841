"""One service that is kept alive: what it is doing, and what is done about it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from penstock.project import Project
from penstock.services.child import Child
from penstock.services.restarts import CRASHES, LONGEST_PAUSE, STEADY, decide
from penstock.services.roster import Service
from penstock.services.standing import ServiceStanding
from penstock.serving import endpoint

Say = Callable[[str], None]


class Kept:
    """Owned by one thread, which starts the process."""

    def __init__(
        self,
        project: Project,
        service: Service,
        log: Path,
        say: Say,
        failed: Callable[[str, str], None],
    ) -> None:
        self.service = service
        self._project = project
        self._log = log
        self._say = say
        self._failed = failed  # is told the service and the reason
        self._child: Child | None = None
        self._state = "waiting"
        self._since: datetime | None = None
        self._due: datetime | None = None  # the next start; None: now
        self._reason = ""
        self._crashes = self._starts = 0
        self._other = 0  # the process, not ours, that serves the same endpoint

    def look(self, now: datetime, hindered: str = "") -> None:
        """Starts what is to be started, and sees how what was started has ended.

        `hindered`: why nothing can be started at present.
        """
        if self._child is not None:
            if (status := self._child.poll()) is not None:
                self._ended(status, now)
        elif other := self._served_elsewhere():
            if other != self._other:
                self._say(f"{self.service.name}: process {other} serves it already; watching it")
                self._turn("elsewhere", now)
            self._other = other
        else:
            self._alone(now)
            if hindered:
                self._reason = hindered
            elif not self._rests(now):
                self._start(now)

    def standing(self) -> ServiceStanding:
        child = self._child
        said = child.last_line if child else self._reason
        log, url, state = self._log, self.service.url, self._state
        if self.service.endpoint:
            found = endpoint.status(self._folder)
            url = found.url if found.live else ""
            log = self._folder / "gateway.log" if self._state == "elsewhere" else log
            said = f"serves {found.live}" if found.live else found.error or said
            state = "starting" if child and not found.live else state
        return ServiceStanding(
            name=self.service.name,
            state=state,
            pid=child.pid if child else self._other,
            since=self._since,
            restarts=max(self._starts - 1, 0),
            said=said,
            url=url,
            log=str(log),
        )

    def tell_to_end(self) -> None:
        if self._child is not None:
            self._child.tell_to_end()

    def next_as(self, project: Project, service: Service) -> None:
        """How it is started from the next time on."""
        self._project, self.service = project, service

    def leave(self, patience: float, now: datetime) -> None:
        """Ends what was started here; what serves the same endpoint elsewhere goes on."""
        if self._child is not None:
            self._say(f"{self.service.name}: the settings no longer name it")
            self._child.tell_to_end()
            self.end(patience, now)

    def end(self, patience: float, now: datetime) -> None:
        """Returns when nothing is left of it."""
        if self._child is not None:
            self._child.end(patience)
            self._child = None
        if self.service.endpoint:
            endpoint.stop(self._folder)
        self._other = 0
        self._turn("stopped", now)

    @property
    def _folder(self) -> Path:
        return self._project.endpoint(self.service.endpoint)

    def _served_elsewhere(self) -> int:
        """A deployment starts a gateway where none runs, which outlives it."""
        return endpoint.status(self._folder).pid if self.service.endpoint else 0

    def _rests(self, now: datetime) -> bool:
        """Whether its pause is not over; a clock that was put back makes none longer."""
        return self._due is not None and (self._since or now) <= now < self._due

    def _alone(self, now: datetime) -> None:
        """Whatever served elsewhere is gone: nothing of it is shown, and no old pause lasts."""
        if self._other:
            self._other, self._due = 0, None
            self._turn("waiting", now)

    def _start(self, now: datetime) -> None:
        try:
            self._child = Child(self.service, self._log, self._project.settings.services)
        except OSError as error:  # no memory, no process: others go on
            self._reason = f"it cannot be started: {error.strerror or error}"
            self._say(f"{self.service.name}: {self._reason}")
            self._due = now + LONGEST_PAUSE
            self._turn("waiting", now)
            return
        self._starts += 1
        self._other, self._due = 0, None
        self._say(f"{self.service.name}: started, process {self._child.pid}")
        self._turn("running", now)

    def _ended(self, status: int, now: datetime) -> None:
        assert self._child is not None
        self._child.end(0.0)  # what it has left behind
        last, self._child = self._child.last_line, None
        up = now - self._since if self._since else timedelta(0)
        decision = decide(status, up, 0 if up >= STEADY else self._crashes)
        self._crashes = decision.crashes
        why = f"; it said: {last}" if status > 0 and last else ""
        self._reason = f"{decision.reason}{why}"
        self._say(f"{self.service.name}: {self._reason}")
        self._due = now + decision.pause
        self._turn("failed" if decision.failed else "waiting", now)
        if decision.crashes == CRASHES:  # once
            self._failed(self.service.name, self._reason)

    def _turn(self, state: str, now: datetime) -> None:
        self._state, self._since = state, now
