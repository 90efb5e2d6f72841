"""`penstock triggers list|why|fire|check`."""

from __future__ import annotations

import argparse
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from penstock.cli.opening import project_of
from penstock.cli.output import moment, print_json, table
from penstock.errors import UsageError

if TYPE_CHECKING:
    from penstock.monitoring.trigger_book import Book, Held, Order
    from penstock.orchestrators.triggering import Checked
    from penstock.project import Project

LOOK = 1.0  # seconds between two looks of --wait


def list_triggers(options: argparse.Namespace) -> int:
    from penstock.monitoring.standing import standings
    from penstock.monitoring.trigger_book import read_book
    from penstock.state.database import open_database

    project = project_of(options)
    book, settings = read_book(open_database(project)), project.settings.triggers
    found = standings(book, settings, datetime.now(UTC))
    if options.json:
        print_json([one._asdict() for one in found])
        return 0
    rows = [
        (
            one.kind,
            "on" if one.on else "off",
            moment(one.last) or "never",
            one.held_by or (moment(one.next) if one.next else "now"),
            "–" if one.left is None else f"{one.left} of {settings.per_day}",
        )
        for one in found
    ]
    print(table(("trigger", "", "last fired", "next possible", "left today"), rows))
    if waiting := [one for one in book.requests if not _heard(book, one.key)]:
        print(f"asked for, and not decided yet: {'; '.join(one.reason for one in waiting)}")
    return 0


def why(options: argparse.Namespace) -> int:
    from penstock.monitoring.trigger_book import read_book
    from penstock.state.database import open_database

    project = project_of(options)
    book = read_book(open_database(project))
    found = _asked_for(book, options.run)
    if options.json:
        print_json(_as_json(found))
    elif found is None:
        print("nothing was decided yet; `penstock triggers check` decides")
    else:
        for line in _story(found):
            print(line)
    return 0


def fire(options: argparse.Namespace) -> int:
    from penstock.monitoring.triggers import Cause, Kind
    from penstock.orchestrators import triggering
    from penstock.state.database import open_database

    project = project_of(options)
    engine, now = open_database(project), datetime.now(UTC)
    if not options.reason.strip():
        raise UsageError("--reason is empty", hint="say what the run is for")
    key = f"manual/{now.isoformat()}"
    cause = Cause(Kind.MANUAL, key, options.reason.strip(), now, asked=True)
    checked = triggering.fire(project, engine, cause)
    if checked.order is None or not options.wait:
        return _told(options, checked)
    print(f"run {checked.order.run} goes on", flush=True) if not options.json else None
    done = _wait(project, checked.order)
    if options.json:
        print_json(_as_json(done))
    else:
        print(f"{done.outcome}: {done.said}")
    return 0 if done.version else 1


def check(options: argparse.Namespace) -> int:
    from penstock.cli.alert_reports import reports_of
    from penstock.orchestrators import triggering
    from penstock.state.database import open_database

    project = project_of(options)
    reports = reports_of(options.report)
    checked = triggering.check(project, open_database(project), reports)
    _told(options, checked)
    return 1 if checked.troubles else 0


def _told(options: argparse.Namespace, checked: Checked) -> int:
    """What was decided. 1 where what was asked for did not start."""
    decision, order = checked.decision, checked.order
    for trouble in checked.troubles:
        print(f"! {trouble}", file=sys.stderr)
    if options.json:
        print_json(
            {
                "fired": decision.fire,
                "reason": decision.reason,
                "hold": decision.hold,
                "until": decision.until,
                "causes": [_cause(one) for one in decision.causes],
                "run": order.run if order else None,
                "ended": [_as_json(one) for one in checked.ended],
                "followed": [
                    {"model": one.version, "rollout": one.rollout, "reason": one.action.reason}
                    for one in checked.followed
                ],
                "troubles": list(checked.troubles),
            }
        )
        return 0 if decision.fire else 1
    for one in checked.ended:
        print(f"{one.run} ended: {one.outcome}: {one.said}")
    if order:
        print(f"run {order.run} is started, because of {decision.reason}")
        print(f"  see `penstock runs show {order.run}`")
    else:
        until = f", until {moment(decision.until)}" if decision.until else ""
        print(f"no run is started: {decision.reason}{until}")
        for cause in decision.causes:
            print(f"  {cause.kind}: {cause.reason}")
    for done in checked.followed:
        print(f"{done.version}: {f'{done.rollout}: ' if done.rollout else ''}{done.action.reason}")
    return 0 if decision.fire else 1


def _wait(project: Project, order: Order) -> Order:
    """The order once its run has ended, with what came of it."""
    from penstock.monitoring.trigger_book import read_book
    from penstock.orchestrators.triggering import settle
    from penstock.state.database import open_database

    engine = open_database(project)
    while True:
        settle(project, engine)
        found = read_book(engine).of_run(order.run)
        if found is not None and found.outcome is not None:
            return found
        time.sleep(LOOK)


def _asked_for(book: Book, run: str | None) -> Order | Held | None:
    """The order of a run, or what was decided last. Raises `UsageError`."""
    if run is None:
        decided: list[Order | Held] = [*book.orders, *book.held]
        return max(decided, key=lambda one: one.number) if decided else None
    found = [one for one in book.orders if one.run.startswith(run)]
    if len(found) != 1:
        raise UsageError(
            f"{len(found) or 'no'} runs that something started begin with {run!r}",
            hint="`penstock runs list` says what started each",
        )
    return found[0]


def _story(found: Order | Held) -> list[str]:
    from penstock.monitoring.trigger_book import Order

    if isinstance(found, Order):
        told = f"run {found.run} was ordered {moment(found.at)} by {found.actor}"
    else:
        until = f", until {moment(found.until)}" if found.until else ""
        told = f"no run was started {moment(found.at)}: {found.reason}{until}"
    lines = [f"{told} (entry {found.number})"]
    for cause in found.causes:
        asked = f" (entry {cause.request} asks for it)" if cause.request else ""
        lines.append(f"  {cause.kind}: {cause.reason}{asked}")
        lines += [f"    {name}: {_shown(value)}" for name, value in cause.numbers.items()]
    if isinstance(found, Order):
        lines += [f"  joined meanwhile: {key}" for key in found.joined]
        lines.append(f"  {found.outcome}: {found.said}" if found.outcome else "  goes on")
        lines += [f"  then {strategy}: {rollout}" for strategy, rollout in found.followed]
    return lines


def _shown(value: Any) -> str:
    """A number of a cause, or one for each of what was found."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(one)}" for name, one in value.items())
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _as_json(found: Order | Held | None) -> dict[str, Any] | None:
    if found is None:
        return None
    told = {name: getattr(found, name) for name in found.__dataclass_fields__}
    return told | {"causes": [_cause(one) for one in found.causes]}


def _cause(one: Any) -> dict[str, Any]:
    return {name: getattr(one, name) for name in one.__dataclass_fields__}


def _heard(book: Book, key: str) -> bool:
    return any(key in one.fired.keys for one in book.orders)
