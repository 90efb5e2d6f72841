"""`penstock run`."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime

from penstock.cli.opening import project_of
from penstock.cli.output import print_json
from penstock.errors import UsageError


def run(options: argparse.Namespace) -> int:
    from penstock.cli.watch import watcher_for
    from penstock.orchestrators.local import run_plan
    from penstock.orchestrators.outcomes import summary
    from penstock.pipeline.plan import plan_of
    from penstock.state.database import open_database

    project = project_of(options)
    plan = plan_of(project)
    with watcher_for(project, plan, as_json=options.json, terminal=sys.stderr.isatty()) as watcher:
        outcome = run_plan(
            plan,
            project,
            open_database(project),
            watcher,
            as_of=_moment(options.as_of),
            rerun=options.rerun,
            until=options.until,
        )
    if options.json:
        print_json(summary(outcome))
    else:
        watcher.summarise(outcome)
    return 1 if outcome.error else 0


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
