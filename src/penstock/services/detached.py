"""`penstock up` in the background: it outlives the command that started it."""

from __future__ import annotations

import subprocess
import time

from penstock.errors import ResourceError
from penstock.processes.command_line import penstock
from penstock.project import Project
from penstock.services.logs import last_lines
from penstock.services.standing import Office, Standing

POLL = 0.1  # seconds
PATIENCE = 60.0  # seconds until it has said something of itself


def start(project: Project) -> Standing:
    """Returns when the services are being kept. Raises `ConflictError` where they are already,
    `ResourceError` where it does not come up.
    """
    office = Office(project)
    with office.take():
        pass  # said here, not in a log
    office.own_log.parent.mkdir(parents=True, exist_ok=True)
    with office.own_log.open("ab") as log:
        process = subprocess.Popen(
            penstock("up", project),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if (said := office.standing()).pid == process.pid:
            return said
        if process.poll() is not None:
            told = " ".join(last_lines(office.own_log, 3))
            raise ResourceError(f"it ended at once: {told}", hint=f"see {office.own_log}")
        time.sleep(POLL)
    raise ResourceError(f"it said nothing in {PATIENCE:g} s", hint=f"see {office.own_log}")
