"""A run in a process of its own, as the scheduler starts it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from datetime import datetime

from penstock.processes.command_line import penstock
from penstock.processes.tied import tied
from penstock.project import Project

PATIENCE = 60.0  # seconds that an interrupted run may take to write down that it was


class RunProcess:
    """`penstock run`; it ends with the scheduler, however that ends."""

    def __init__(self, command: Sequence[str]) -> None:
        # In a session of its own: Ctrl-C at a terminal is for the scheduler, which passes it on.
        self._process = subprocess.Popen(
            tied(command), stdin=subprocess.DEVNULL, start_new_session=True
        )

    def poll(self) -> int | None:
        return self._process.poll()

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def run_command(project: Project, slot: datetime) -> list[str]:
    """`penstock run` of a project as of a slot, as a command line."""
    return [*penstock("run --trigger schedule", project), "--as-of", slot.isoformat()]
