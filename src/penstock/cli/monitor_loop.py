"""`penstock monitor loop`: looks at every endpoint at its time, until it is told to end."""

from __future__ import annotations

import argparse
import logging
import signal
import threading
from datetime import UTC, datetime

from penstock.cli.monitor import regular_look
from penstock.cli.monitor_view import line_of
from penstock.cli.opening import project_of
from penstock.cli.output import moment, print_json
from penstock.project import Project

log = logging.getLogger(__name__)


def loop(options: argparse.Namespace) -> int:
    project = project_of(options)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    every = project.settings.monitoring.every
    while not ended.is_set():
        begun = datetime.now(UTC)
        for endpoint in project.endpoints:
            _look(project, endpoint, begun, json=options.json)
        if options.once:
            break
        ended.wait(max(0.0, (begun + every - datetime.now(UTC)).total_seconds()))
    return 0


def _look(project: Project, endpoint: str, now: datetime, *, json: bool) -> None:
    """What cannot be looked at now is said, and looked at again at the next time."""
    from sqlalchemy.exc import SQLAlchemyError

    from penstock.errors import PenstockError
    from penstock.monitoring.history import as_json
    from penstock.monitoring.looking import KINDS, looked

    try:
        reports = looked(regular_look(project, endpoint, now), list(KINDS))
    except (PenstockError, SQLAlchemyError) as error:
        log.error("%s is not looked at: %s", endpoint, str(error).splitlines()[0])
        return
    if json:
        print_json([as_json(one) for one in reports])
        return
    for one in reports:
        print(f"{moment(now)}  {endpoint}  {line_of(one)}", flush=True)
