"""`penstock audit log` and `penstock audit show`."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from penstock.cli.opening import project_of
from penstock.cli.output import moment, print_json, table
from penstock.cli.predictions import since_of

if TYPE_CHECKING:
    from penstock.audit.entries import Entry
    from penstock.audit.selection import Selection


def log(options: argparse.Namespace) -> int:
    from penstock.audit.selection import selected
    from penstock.state.database import open_database

    found = selected(open_database(project_of(options)), selection_of(options), limit=options.limit)
    if options.json:
        print_json([as_dict(entry) for entry in found])
    elif not found:
        print("the ledger has no such entry")
    else:
        rows = [
            (
                entry.sequence,
                moment(entry.at),
                entry.actor,
                entry.action,
                entry.subject,
                entry.digest[:12],
                entry.reason,
            )
            for entry in found
        ]
        print(table(("entry", "time", "who", "action", "object", "digest", "why"), rows))
    return 0


def show(options: argparse.Namespace) -> int:
    from penstock.audit.payloads import forgotten_entries, payload_of
    from penstock.audit.selection import entry_named
    from penstock.audit.tree import StoredTree
    from penstock.state.database import open_database

    engine = open_database(project_of(options))
    entry = entry_named(engine, options.entry)
    with engine.connect() as connection:
        leaf = StoredTree(connection).hash_of(entry.sequence - 1, entry.sequence).hex()
    payload = payload_of(engine, entry.sequence) if entry.commitment else None
    gone = bool(entry.commitment) and payload is None
    said = gone and entry.sequence in forgotten_entries(engine)
    if options.json:
        beside = {"payload": payload, "erased": said} if entry.commitment else {}
        print_json({**as_dict(entry), "leaf": leaf, **beside})
        return 0
    _print(as_dict(entry))
    print(f"leaf        {leaf}")
    if payload is not None:
        print(f"beside      {json.dumps(payload, ensure_ascii=False)}")
    elif gone:
        why = "was erased, with its salt" if said else "is gone, and no entry says why"
        print(f"beside      what was beside this entry {why}; the commitment tells nothing of it")
    return 0


def selection_of(options: argparse.Namespace) -> Selection:
    from penstock.audit.selection import Selection

    return Selection(
        action=options.action,
        subject=options.subject,
        actor=options.actor,
        stream=options.stream,
        digest=options.digest,
        run_id=options.run,
        since=since_of(options.since) if options.since else None,
    )


def as_dict(entry: Entry) -> dict[str, Any]:
    """As it was hashed: what is empty is left out."""
    import msgspec

    from penstock.audit.entries import moment_text

    return {**msgspec.to_builtins(entry), "at": moment_text(entry.at)}


def _print(fields: dict[str, Any]) -> None:
    order = ("sequence", "id", "at", "actor", "action", "subject", "version", "reason")
    for name in (*order, *sorted(fields.keys() - set(order))):
        if name in fields:
            value = fields[name]
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            print(f"{name:<11} {text}")
