"""`penstock monitor loop`: looks, alerts and triggers until it is told to end."""

from __future__ import annotations

import argparse
import contextlib
import logging
import signal
import threading
from dataclasses import asdict
from typing import TYPE_CHECKING

from penstock.cli.opening import project_of
from penstock.cli.output import print_json

if TYPE_CHECKING:
    from penstock.project import Project


def loop(options: argparse.Namespace) -> int:
    from penstock.cli.table import COMMANDS
    from penstock.services.monitor_loop import MonitorLoop
    from penstock.state.database import open_database

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    project = project_of(options)
    commands = {command.name for command in COMMANDS}
    one = MonitorLoop(project, lambda: open_database(project), commands)
    if options.once:
        done = one.once()
        if options.json:
            print_json(asdict(done))
        return 1 if done.troubles else 0
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with contextlib.ExitStack() as stack:
        print(f"monitor {one.name}: every {project.settings.monitoring.every}", flush=True)
        if options.port is not None:
            _serve_metrics(project, options, stack)
        one.run(ended)
    return 0


def _serve_metrics(
    project: Project, options: argparse.Namespace, stack: contextlib.ExitStack
) -> None:
    """To look matters more than to be looked at: without a port the loop goes on."""
    from penstock.monitoring.exposition import served
    from penstock.services.metrics import LoopMetrics
    from penstock.state.database import open_database

    metrics = LoopMetrics(project, lambda: open_database(project))
    try:
        url = stack.enter_context(served(metrics, options.host, options.port))
        print(f"metrics at {url}", flush=True)
    except OSError as error:
        where = f"{options.host}:{options.port}"
        logging.error("no metrics at %s: %s", where, error.strerror or error)
