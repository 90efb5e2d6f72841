"""One process of a service: started, listened to, ended."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import subprocess
import threading
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO

from penstock.monitoring_settings import ServiceSettings
from penstock.processes.tied import tied
from penstock.services.roster import Service

STAMP = re.compile(r"^\d{4}[-/]\d\d[-/]\d\d[ T][\d:,.]+ (?:INFO:? +)?")  # of a line in a log
HINT = "  →"  # how the command line begins what to do about an error


class Log(RotatingFileHandler):
    """Where what a service prints goes."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 -- logging's name
        """A disk that is full costs the line, and ends nothing."""


class Child:
    """A service's process. What it prints goes to its log, which is rotated; the last line is kept.

    It ends when the process that started it does, however that ends.
    """

    def __init__(self, service: Service, log: Path, settings: ServiceSettings) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self.last_line = ""
        self._log = Log(
            log,
            maxBytes=settings.log_size,
            backupCount=settings.log_files,
            encoding="utf-8",
            delay=True,
        )
        self._process = subprocess.Popen(
            tied(service.command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **service.variables},
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self._listening = threading.Thread(
            target=self._listen, args=(self._process.stdout,), name=service.name, daemon=True
        )
        self._listening.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> int | None:
        """The exit status; None while it lives. Below zero: the signal that ended it."""
        return self._process.poll()

    def tell_to_end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    def end(self, patience: float) -> None:
        """Returns when it, and what it started in its session, has ended; `patience` in seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(patience, 0.0))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        # What it started elsewhere may hold the pipe open still.
        self._listening.join(timeout=1.0)

    def _listen(self, output: IO[bytes]) -> None:
        with output, contextlib.closing(self._log):
            for raw in output:
                line = raw.decode(errors="replace").rstrip()
                if line and not line.startswith(HINT):  # the error above it says more
                    self.last_line = STAMP.sub("", line)
                self._log.emit(logging.makeLogRecord({"msg": line}))
