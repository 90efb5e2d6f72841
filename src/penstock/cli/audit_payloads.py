"""`penstock audit erase` and `penstock audit hold`."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from penstock.cli.opening import project_of
from penstock.cli.output import print_json, table
from penstock.cli.progress import progress_of
from penstock.errors import UsageError

if TYPE_CHECKING:
    from penstock.audit.holds import Hold
    from penstock.erasure import Erased


def erase(options: argparse.Namespace) -> int:
    from penstock.audit.ledger import Ledger, present_actor
    from penstock.audit.payloads import erase as erase_payloads
    from penstock.audit.payloads import expire
    from penstock.state.database import open_database

    project = project_of(options)
    if bool(options.person) == options.expired:
        raise UsageError("a person, or --expired, is expected: one of them")
    if options.person and not options.reason:
        raise UsageError("erasing needs a reason", hint='--reason "request of …"; without a name')
    if options.person and "=" in options.person:
        return _erase_everywhere(options)
    if options.unit:
        raise UsageError("--unit goes with KEY=VALUE", hint="such as customer_id=42")
    book, by = Ledger(open_database(project)), present_actor()
    if options.person:
        done = erase_payloads(book, options.person, reason=options.reason, by=by)
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


def _erase_everywhere(options: argparse.Namespace) -> int:
    from penstock.audit.ledger import present_actor
    from penstock.erasure import Person, erase_person
    from penstock.state.database import open_database

    project = project_of(options)
    person = Person.parsed(options.person, tuple(options.unit))
    with progress_of(options) as progress:
        done = erase_person(
            project,
            open_database(project),
            person,
            progress,
            reason=options.reason,
            by=present_actor(),
        )
    if options.json:
        print_json(asdict(done))
    else:
        _print_erased(done)
    return 0


def _print_erased(done: Erased) -> None:
    if done.entry is None:
        print("nothing could be destroyed now")
    else:
        counts = ", ".join(
            f"{count:,} {name.replace('_', ' ')}" for name, count in done.destroyed.items()
        )
        print(f"destroyed: {counts or 'what an earlier call had begun'}")
        print(f"entry {done.entry} says so, without a name")
    if done.open_rows:
        print(f"{done.open_rows:,} predictions are in a segment that has not ended: erase again in")
        print("ten minutes, or after `penstock serve --stop`")
    if done.views_left:
        print(f"online, {', '.join(done.views_left)} may still have rows: delete them in the store")
    if not done.holdings:
        return
    print("rows of theirs are still in")
    rows = [
        (
            one.path,
            one.revision[:8] or "file",
            "not on this machine" if one.rows is None else f"{one.rows:,}",
            "*" if one.revision and one.present else "",
        )
        for one in done.holdings
    ]
    print(table(("path", "revision", "rows", ""), rows))
    print(
        "  → extract again without them, `penstock run`; when no commit and no model rests on the"
    )
    print("    old versions, `penstock data gc --yes --cloud` deletes them. Files may be deleted.")


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
