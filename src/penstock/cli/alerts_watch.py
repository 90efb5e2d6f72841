"""`penstock alerts check --watch`: checks the rules until told to end, and serves /metrics."""

from __future__ import annotations

import argparse
import logging
import signal
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from penstock.cli.alert_reports import reports_of
from penstock.cli.opening import span_of

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from penstock.project import Project

log = logging.getLogger(__name__)


def watch(options: argparse.Namespace, project: Project, engine: Engine) -> int:
    from sqlalchemy.exc import SQLAlchemyError

    from penstock.errors import PenstockError
    from penstock.monitoring.alerts.check import check
    from penstock.monitoring.exposition import Exposition, served

    interval = span_of("--interval", options.interval).total_seconds()
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with served(Exposition(project, engine), options.host, options.port) as url:
        print(f"alerts are checked every {options.interval}, metrics at {url}", flush=True)
        while not ended.is_set():
            try:
                found = check(project, engine, datetime.now(UTC), reports_of(options.report))
                for one in found.decision.transitions:
                    print(f"{one.kind}: {one.alert.name}: {one.reason}", flush=True)
            except (SQLAlchemyError, PenstockError) as error:  # the next check may find it again
                log.error("the rules are not checked: %s", str(error).splitlines()[0])
            ended.wait(interval)
    return 0
