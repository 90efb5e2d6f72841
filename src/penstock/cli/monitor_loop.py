"""`penstock monitor loop`: looks, alerts and triggers until it is told to end."""

from __future__ import annotations

import argparse
import logging
import signal
import threading
from dataclasses import asdict

from penstock.cli.opening import project_of
from penstock.cli.output import print_json


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
    print(f"monitor {one.name}: every {project.settings.monitoring.every}", flush=True)
    one.run(ended)
    return 0
