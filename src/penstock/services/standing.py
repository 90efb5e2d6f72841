"""What `penstock up` says of itself, for those who ask: a file, and a lock held meanwhile."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from filelock import FileLock, Timeout

from penstock.digests import written_whole
from penstock.errors import ConflictError, ResourceError
from penstock.project import Project
from penstock.services.alarms import Alarms

POLL = 0.1  # seconds


class ServiceStanding(msgspec.Struct, frozen=True):
    """One service as it is now."""

    name: str
    state: str  # starting, running, elsewhere, waiting, failed, stopped
    pid: int = 0
    since: datetime | None = None  # in this state
    restarts: int = 0
    said: str = ""  # its last line, or why it is not running
    url: str = ""
    log: str = ""


class Standing(msgspec.Struct, frozen=True):
    """All of them, and who keeps them."""

    pid: int = 0  # of `penstock up`; 0: none lives
    environment: str = ""
    since: datetime | None = None
    services: tuple[ServiceStanding, ...] = ()
    next_run: datetime | None = None  # by the schedule
    alarms: Alarms = Alarms()  # as far as the state database could be asked
    trouble: str = ""  # with the settings, the state database or the disk


class Office:
    """The folder of `penstock up` in a project."""

    def __init__(self, project: Project) -> None:
        self.path = project.folder / "services"
        self._file = self.path / "status.json"
        self._lock = self.path / "up.lock"

    @property
    def own_log(self) -> Path:
        """Of a `penstock up` in the background."""
        return self.path / "logs" / "up.log"

    def log_of(self, service: str) -> Path:
        return self.path / "logs" / f"{service}.log"

    def take(self) -> FileLock:
        """The lock that one `penstock up` holds while it lives. Raises `ConflictError`."""
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._lock)
        try:
            lock.acquire(timeout=1.0)  # others hold it for an instant, to ask whether one lives
        except Timeout:
            raise ConflictError(
                f"the services are up already, kept by process {self._read().pid}",
                hint="`penstock status` shows them, `penstock down` ends them",
            ) from None
        return lock

    def write(self, standing: Standing) -> None:
        with written_whole(self._file) as part:
            part.write_bytes(msgspec.json.format(msgspec.json.encode(standing), indent=1))

    def standing(self) -> Standing:
        """As it was said last; where nobody lives who could have said it, nothing."""
        alive = self._is_held()
        said = self._read()  # afterwards: before, it may be what a killed one said last
        return said if alive else Standing()

    def end(self, patience: float) -> int:
        """Ends `penstock up` and all it keeps; its process id, 0 where none lived.

        Raises `ResourceError` where it has not ended in `patience` seconds.
        """
        pid = self.standing().pid
        if not pid:
            return 0
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + patience
        while self._is_held():
            if time.monotonic() > deadline:
                raise ResourceError(
                    f"process {pid} did not end in {patience:g} s", hint=f"see {self.own_log}"
                )
            time.sleep(POLL)
        return pid

    def _read(self) -> Standing:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=Standing)
        except (FileNotFoundError, msgspec.DecodeError):
            return Standing()

    def _is_held(self) -> bool:
        if not self._lock.exists():
            return False
        try:
            with FileLock(self._lock, timeout=0):
                return False
        except Timeout:
            return True


def plain(standing: Standing) -> dict[str, Any]:
    """As JSON has it."""
    told: dict[str, Any] = msgspec.to_builtins(standing)
    return told
