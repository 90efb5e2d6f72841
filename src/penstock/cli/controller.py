"""`penstock controller`: carries rollouts out until it is told to end."""

from __future__ import annotations

import argparse
import logging
import signal
import threading

from penstock.cli.opening import project_of
from penstock.cli.output import print_json


def controller(options: argparse.Namespace) -> int:
    from penstock.rollout.controller import Controller
    from penstock.state.database import open_database

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    project = project_of(options)
    engine = open_database(project)
    one = Controller(project, engine)
    if options.once:
        seen = one.tick()
        if options.json:
            print_json(
                [
                    {
                        "rollout": found.remembered.state.id,
                        "status": found.remembered.state.status,
                        "reason": found.decision.reason,
                    }
                    for found in seen
                ]
            )
        else:
            for found in seen:
                state = found.remembered.state
                print(f"{state.id}: {state.status}: {found.decision.reason}")
        return 0
    from penstock.monitoring.webhook import HOOK
    from penstock.rollout.api import Api

    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with Api(project, engine, options.host, options.port, (HOOK,)) as api:
        print(f"controller {one.name}, HTTP at {api.url}", flush=True)
        one.run(ended, options.interval)
    return 0
