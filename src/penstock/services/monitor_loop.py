"""The monitor: looks, alerts and triggers, round after round, until told to end.

Each part of a round is a command of its own, in a process of its own: one that fails, crashes or
leaks harms neither the others nor the loop. Any number of loops may run: one works, the others
stand by.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from penstock.clock import utc_now
from penstock.errors import PenstockError
from penstock.processes.command_line import penstock
from penstock.processes.tied import tied
from penstock.project import Project
from penstock.services.saying import Saying
from penstock.state import heartbeats, leadership, routes

log = logging.getLogger(__name__)

ROLE = "monitor"
LEADERSHIP = timedelta(seconds=30)  # after which another loop takes over
RENEWED = 10.0  # seconds between two renewals
PATIENCE = 10.0  # seconds that a command may take to end when it is told to
# What a command may take, where rounds are more frequent than that.
SHORTEST_LIMIT = timedelta(minutes=10)
LOOK, ALERTS, TRIGGERS = "monitor all", "alerts check", "triggers check"
LOOKED = (0, 3)  # the exit statuses of commands that did their work; 3: something was found
KEPT = 3  # of the last lines that a failed command said


@dataclass(frozen=True)
class Part:
    """What came of one part of a round."""

    command: str  # with what it was told
    trouble: str = ""  # empty: it did its work


@dataclass(frozen=True)
class Round:
    """One round, and what came of it."""

    began: datetime
    parts: tuple[Part, ...]

    @property
    def troubles(self) -> tuple[str, ...]:
        return tuple(f"{one.command}: {one.trouble}" for one in self.parts if one.trouble)

    @property
    def looked(self) -> bool:
        """Whether all that is served was looked at."""
        return all(not one.trouble for one in self.parts if one.command.startswith(LOOK))


class MonitorLoop:
    """Of one project. `connect` opens the state database, and may raise while that is away."""

    def __init__(
        self,
        project: Project,
        connect: Callable[[], Engine],
        commands: Collection[str],
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.name = leadership.own_name()
        self.rounds, self.failures = 0, 0  # so far; parts that failed
        self._project = project
        self._connect = connect
        self._now = now
        self._parts = [name for name in (LOOK, ALERTS, TRIGGERS) if name in commands]
        self._began: datetime | None = None  # the last round of this loop
        self._ended = threading.Event()
        self._say = Saying(log)

    def run(self, ended: threading.Event) -> None:
        """Goes round until told to end; a command that is under way is told so too."""
        self._ended = ended
        while not ended.is_set():
            try:
                self.tick()
            except (SQLAlchemyError, PenstockError) as error:
                self._began = None  # a round is due when it is back
                self._say(f"the state database is away: {_first_line(error)}", logging.ERROR)
            ended.wait(RENEWED)
        with contextlib.suppress(SQLAlchemyError, PenstockError):  # else it is so in half a minute
            leadership.resign(self._connect(), self.name, self._now())

    def tick(self) -> Round | None:
        """A round, where this loop works and one is due. Raises while the database is away."""
        if not self._lead():
            self._say("another monitor loop works; standing by")
            return None
        now = self._now()
        if now < self._due(now):
            return None
        with self._renewing():
            return self.once()

    def _due(self, now: datetime) -> datetime:
        """When the next round is: another loop's last one counts too."""
        every = self._project.settings.monitoring.every
        last = heartbeats.last(self._connect(), heartbeats.MONITOR)
        began = [min(one, now) for one in (last, self._began) if one is not None]
        return max(began) + every if began else now

    def once(self) -> Round:
        """One round. Raises what the state database does, where the heartbeat cannot be written."""
        self._began = began = self._now()
        parts = list[Part]()
        for name, line in self._lines():
            if self._ended.is_set():
                break
            parts.append(self._part(name, line))
        done = Round(began, tuple(parts))
        self.rounds += 1
        self.failures += len(done.troubles)
        for trouble in done.troubles:
            log.error("%s (%d failures in %d rounds)", trouble, self.failures, self.rounds)
        if done.looked and not self._ended.is_set():
            said = "; ".join(done.troubles)
            heartbeats.beat(self._connect(), heartbeats.MONITOR, began, said)
        log.info("round %d: %d of %d done", self.rounds, _done(parts), len(parts))
        return done

    def _lines(self) -> Iterator[tuple[str, list[str]]]:
        """What a round does: a name and a command line each. What is served is looked at."""
        for command in self._parts:
            line = [*penstock(command, self._project), "--json"]
            if command == LOOK:
                for endpoint in self._served():
                    yield f"{command} --endpoint {endpoint}", [*line, "--endpoint", endpoint]
            else:
                yield command, line

    def _served(self) -> list[str]:
        """Endpoints whose prediction log is here."""
        here = set(self._project.endpoints)
        return [name for name, _ in routes.endpoints(self._connect()) if name in here]

    def _part(self, name: str, line: Sequence[str]) -> Part:
        try:
            status, output, said = self._carried_out(line)
        except OSError as error:
            return Part(name, f"cannot be started: {error.strerror}")
        if self._ended.is_set() or (status in LOOKED and _is_json(output)):
            return Part(name)
        return Part(name, f"status {status}: {said}" if said else f"status {status}")

    def _carried_out(self, line: Sequence[str]) -> tuple[int, bytes, str]:
        """Exit status, standard output, and the last lines of what else was said."""
        process = subprocess.Popen(
            tied(line),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self._project.root,
            start_new_session=True,
        )
        output, errors = self._communicated(process)
        said = " ".join(errors.decode(errors="replace").strip().splitlines()[-KEPT:])
        return process.returncode, output, said

    def _communicated(self, process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
        """What it says, when it has ended by itself or was told to."""
        limit = max(self._project.settings.monitoring.every, SHORTEST_LIMIT)
        until = time.monotonic() + limit.total_seconds()
        while not self._ended.is_set() and time.monotonic() < until:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.communicate(timeout=1.0)
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=PATIENCE)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # and what it has started, which holds its pipes
        return process.communicate()

    @contextlib.contextmanager
    def _renewing(self) -> Iterator[None]:
        """Goes on leading, however long a round takes."""
        done = threading.Event()

        def renew() -> None:
            while not done.wait(RENEWED):
                try:
                    self._lead()
                except (SQLAlchemyError, PenstockError) as error:
                    log.warning("the state database is away: %s", _first_line(error))

        renewing = threading.Thread(target=renew, name="monitor-leads", daemon=True)
        renewing.start()
        try:
            yield
        finally:
            done.set()
            renewing.join()

    def _lead(self) -> bool:
        now = self._now()
        return leadership.lead(self._connect(), self.name, now, now + LEADERSHIP, ROLE)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def _done(parts: Sequence[Part]) -> int:
    return sum(not one.trouble for one in parts)


def _is_json(output: bytes) -> bool:
    try:
        json.loads(output)
    except ValueError:
        return False
    return True
