"""`penstock alerts list|show|check|silence|unsilence|test`."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from penstock.cli import alerts_view as view
from penstock.cli.opening import project_of, span_of
from penstock.cli.output import moment, print_json


def list_alerts(options: argparse.Namespace) -> int:
    from penstock.monitoring.alerts import memory
    from penstock.state import outbox
    from penstock.state.database import open_database

    engine, now = open_database(project_of(options)), datetime.now(UTC)
    alerts = sorted(memory.read(engine).values(), key=lambda one: (one.status, one.rule, one.id))
    shown = [one for one in alerts if options.all or one.status != "resolved"]
    quiet, waiting = memory.silences(engine, now), outbox.waiting(engine)
    if options.json:
        print_json(
            {
                "alerts": [view.plain(one) for one in shown],
                "silences": [one._asdict() for one in quiet],
                "undelivered": [one._asdict() for one in waiting],
            }
        )
        return 0
    view.print_all(shown, quiet, waiting, now)
    return 0


def show(options: argparse.Namespace) -> int:
    from penstock.audit.ledger import Ledger
    from penstock.errors import UsageError
    from penstock.monitoring.alerts import memory
    from penstock.state.database import open_database

    engine = open_database(project_of(options))
    found = [one for one in memory.read(engine).values() if one.id.startswith(options.alert)]
    if len(found) != 1:
        raise UsageError(
            f"no single alert is called {options.alert!r}", hint="`penstock alerts list --all`"
        )
    alert, actions = found[0], (memory.FIRED, memory.RESOLVED, memory.ACTED)
    story = [one for one in Ledger(engine).entries_of(actions) if one.subject == alert.id]
    if options.json:
        told = [{"at": one.at, "action": one.action, "reason": one.reason} for one in story]
        print_json({**view.plain(alert), "story": told})
    else:
        view.print_one(alert, story)
    return 0


def check(options: argparse.Namespace) -> int:
    from penstock.cli.alert_reports import reports_of
    from penstock.monitoring.alerts.check import check as check_once
    from penstock.state.database import open_database

    project = project_of(options)
    engine = open_database(project)
    if options.watch:
        from penstock.cli.alerts_watch import watch

        return watch(options, project, engine)
    found = check_once(project, engine, datetime.now(UTC), reports_of(options.report))
    if options.json:
        print_json(view.plain_check(found))
    else:
        view.print_check(found)
    return 0


def silence(options: argparse.Namespace) -> int:
    from penstock.monitoring.alerts import memory
    from penstock.state.database import open_database

    made = memory.silence(
        open_database(project_of(options)),
        options.alerts,
        subject=options.subject,
        endpoint=options.endpoint,
        lasts=span_of("--for", options.lasts),
        reason=options.reason,
        now=datetime.now(UTC),
    )
    if options.json:
        print_json(made._asdict())
    else:
        print(f"{made.id}: {made.alerts} is silent until {moment(made.until)}")
    return 0


def unsilence(options: argparse.Namespace) -> int:
    from penstock.monitoring.alerts import memory
    from penstock.state.database import open_database

    engine = open_database(project_of(options))
    ended = memory.unsilence(engine, options.silence, options.reason, datetime.now(UTC))
    if options.json:
        print_json(ended._asdict())
    else:
        print(f"{ended.id}: {ended.alerts} is heard again")
    return 0


def test(options: argparse.Namespace) -> int:
    from penstock.notifications.outbox import tell

    project, now = project_of(options), datetime.now(UTC)
    channels = tell(
        project,
        f"[{project.settings.project.name}] a test of the channels",
        f"Sent: {moment(now)}\nNothing is wrong, and nothing is to do.",
        key=f"test/{now.isoformat()}",
    )
    if options.json:
        print_json({"channels": channels})
    else:
        print(f"told by {', '.join(channels)}")
    return 0
