"""`penstock run`."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from penstock.cli.opening import project_of
from penstock.cli.output import print_json
from penstock.errors import UsageError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from penstock.pipeline.execution import Occasion


def run(options: argparse.Namespace) -> int:
    from penstock.cli.watch import watcher_for
    from penstock.orchestrators.local import run_plan
    from penstock.orchestrators.outcomes import summary
    from penstock.pipeline.plan import plan_of
    from penstock.state.database import open_database

    project = project_of(options)
    plan, database = plan_of(project), open_database(project)
    with watcher_for(project, plan, as_json=options.json, terminal=sys.stderr.isatty()) as watcher:
        outcome = run_plan(
            plan,
            project,
            database,
            watcher,
            as_of=_moment(options.as_of),
            rerun=options.rerun,
            until=options.until,
            occasion=_occasion(database, options),
        )
    if options.json:
        print_json(summary(outcome))
    else:
        watcher.summarise(outcome)
    return 1 if outcome.error else 0


def _occasion(database: Engine, options: argparse.Namespace) -> Occasion:
    """What the run is for: an order of the ledger, or what whoever typed it says."""
    from penstock.monitoring.trigger_book import read_book
    from penstock.pipeline.execution import Occasion

    if options.trigger is None:
        return Occasion(reason=options.reason)
    for order in read_book(database).orders:
        if order.number == options.trigger:
            return Occasion(str(order.kind), order.reason, order.run)
    raise UsageError(
        f"entry {options.trigger} of the ledger orders no run", hint="see `penstock triggers why`"
    )


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
