"""`penstock audit erase` and `penstock audit hold`."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from penstock.cli.opening import project_of
from penstock.cli.output import print_json, table
from penstock.errors import UsageError

if TYPE_CHECKING:
    from penstock.audit.holds import Hold


def erase(options: argparse.Namespace) -> int:
    from penstock.audit.ledger import Ledger, present_actor
    from penstock.audit.payloads import erase as erase_person
    from penstock.audit.payloads import expire
    from penstock.state.database import open_database

    project = project_of(options)
    if bool(options.person) == options.expired:
        raise UsageError("a person, or --expired, is expected: one of them")
    if options.person and not options.reason:
        raise UsageError("erasing needs a reason", hint='--reason "request of …"; without a name')
    book, by = Ledger(open_database(project)), present_actor()
    if options.person:
        done = erase_person(book, options.person, reason=options.reason, by=by)
    else:
        done = expire(book, project.settings.audit.retention, datetime.now(UTC), by=by)
    if options.json:
        print_json(asdict(done))
        return 0
    if done.sequence is None:
        print("nothing has expired")
    else:
        print(
            f"what was beside {len(done.entries):,} entries is destroyed; "
            f"entry {done.sequence} says so"
        )
    if done.held:
        print(f"{done.held:,} more have expired, and are kept by a hold: penstock audit hold")
    return 0


def hold(options: argparse.Namespace) -> int:
    from penstock.audit.holds import holds_of, place, release
    from penstock.audit.ledger import Ledger, present_actor
    from penstock.state.database import open_database

    book = Ledger(open_database(project_of(options)))
    if options.name and options.release:
        entry = release(book, options.name, reason=options.reason, by=present_actor())
    elif options.name:
        entry = place(
            book,
            options.name,
            reason=options.reason,
            by=present_actor(),
            actions=options.actions,
            person=options.person,
        )
    else:
        return _list(holds_of(book), as_json=options.json)
    if options.json:
        print_json({"hold": options.name, "action": entry.action, "entry": entry.sequence})
    else:
        told = "released" if options.release else "placed"
        print(f"the hold {options.name} is {told}: entry {entry.sequence}")
    return 0


def _list(holds: list[Hold], *, as_json: bool) -> int:
    if as_json:
        print_json([asdict(one) for one in holds])
    elif not holds:
        print("no hold stands")
    else:
        rows = [
            (one.name, one.actions or "all", "one person" if one.about_person else "", one.reason)
            for one in holds
        ]
        print(table(("hold", "entries", "about", "why"), rows))
    return 0
