"""`penstock run`."""

from __future__ import annotations

import argparse
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from penstock.cli.opening import project_of
from penstock.cli.output import print_json
from penstock.errors import UsageError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from penstock.pipeline.execution import Occasion
    from penstock.project import Project

SCHEDULE = "schedule"  # of --trigger: the run is that of a slot, which it orders itself
LOOK = 1.0  # seconds between two looks whether another run goes on


def run(options: argparse.Namespace) -> int:
    from penstock.cli.watch import watcher_for
    from penstock.orchestrators.local import run_plan
    from penstock.orchestrators.outcomes import summary
    from penstock.pipeline.plan import plan_of
    from penstock.state.database import open_database

    project = project_of(options)
    plan, database = plan_of(project), open_database(project)
    occasion = _occasion(project, database, options)
    if occasion is None:
        return 0
    with watcher_for(project, plan, as_json=options.json, terminal=sys.stderr.isatty()) as watcher:
        outcome = run_plan(
            plan,
            project,
            database,
            watcher,
            as_of=_moment(options.as_of),
            rerun=options.rerun,
            until=options.until,
            occasion=occasion,
        )
    if options.json:
        print_json(summary(outcome))
    else:
        watcher.summarise(outcome)
    return 1 if outcome.error else 0


def _occasion(project: Project, database: Engine, options: argparse.Namespace) -> Occasion | None:
    """What the run is for: an order of the ledger, or what whoever typed it says; None: nothing."""
    from penstock.monitoring.trigger_book import read_book
    from penstock.pipeline.execution import Occasion

    if options.trigger is None:
        return Occasion(reason=options.reason)
    if options.trigger == SCHEDULE:
        return _scheduled(project, database, options)
    for order in read_book(database).orders:
        if str(order.number) == options.trigger:
            return Occasion(str(order.kind), order.because, order.run)
    raise UsageError(
        f"entry {options.trigger} of the ledger orders no run", hint="see `penstock triggers why`"
    )


def _scheduled(project: Project, database: Engine, options: argparse.Namespace) -> Occasion | None:
    """Orders the run of a slot, once no other goes on; None where it needs none of its own."""
    from penstock.monitoring.triggers import Cause, Hold, Kind
    from penstock.orchestrators.triggering import ordered
    from penstock.pipeline.execution import Occasion

    now = datetime.now(UTC)
    slot = _moment(options.as_of) or now
    key = f"schedule/{project.environment}/{slot.isoformat()}"
    cause = Cause(Kind.SCHEDULE, key, options.reason or f"due at {slot:%Y-%m-%d %H:%M} UTC", now)
    decision, order = ordered(project, database, cause)
    while decision.hold is Hold.RUNNING:
        time.sleep(LOOK)
        decision, order = ordered(project, database, cause)
    if order is not None:
        return Occasion(str(order.kind), order.because, order.run)
    if options.json:
        print_json({"run": None, "reason": decision.reason})
    else:
        print(f"no run is started: {decision.reason}")
    return None


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"--as-of is {text!r}", hint="write a time like 2026-11-01 or 2026-11-01T02:00Z"
        ) from None
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
