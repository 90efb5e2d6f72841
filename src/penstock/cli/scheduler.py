"""`penstock scheduler`: starts runs on the schedule until it is told to end."""

from __future__ import annotations

import argparse
import logging
import signal
import threading
from datetime import datetime

from penstock.cli.opening import project_of


def scheduler(options: argparse.Namespace) -> int:
    from penstock.cli.table import COMMANDS
    from penstock.services.run_process import RunProcess, run_command
    from penstock.services.scheduler import Scheduler
    from penstock.state.database import open_database

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    project = project_of(options)
    run = next(command for command in COMMANDS if command.name == "run")
    takes_reason = any("--reason" in option.names for option in run.options)

    def start(slot: datetime, reason: str) -> RunProcess:
        given = ["--reason", reason] if takes_reason else []
        return RunProcess([*run_command(project, slot), *given])

    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    one = Scheduler(project, lambda: open_database(project), start)
    print(f"scheduler {one.name}: {one.schedule}", flush=True)
    one.run(ended)
    return 0
