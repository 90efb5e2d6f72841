"""Ledgers of some entries, and somebody who rules their database."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Engine, inspect, text

from penstock.audit.ledger import Actor, Draft, Entry, Ledger, Personal
from penstock.audit.notes import SigningKey

KEY = SigningKey("shop.example/ledger", bytes(range(32)))
KEYS = (KEY.verifying,)
ANN = Actor("ann", name="Ann", authenticated="token")


def draft(number: int = 0, **fields: Any) -> Draft:
    said = {"action": "model.registered", "subject": f"shop@{number}", "reason": "seen ✓"} | fields
    return Draft(by=ANN, **said)


def wrote(engine: Engine, count: int, personal: Iterable[int] = ()) -> list[Entry]:
    """Entries in one transaction; those of some numbers with something about a person."""
    beside = set(personal)
    with Ledger(engine).page() as page:
        first = page.frontier.size + 1
        return [
            page.write(draft(number), about(number) if number in beside else None)
            for number in range(first, first + count)
        ]


def about(number: int) -> Personal:
    return Personal(f"person-{number}", {"email": f"{number}@example.org"})


def disarm(connection: Connection) -> None:
    """What the owner of a database can do before rows are changed, until it is rolled back."""
    if connection.dialect.name == "postgresql":
        triggers = connection.execute(
            text("SELECT tgname, tgrelid::regclass::text FROM pg_trigger WHERE NOT tgisinternal")
        ).all()
        for name, table in triggers:
            connection.execute(text(f"DROP TRIGGER {name} ON {table}"))
        connection.execute(
            text("ALTER TABLE ledger_payloads DROP CONSTRAINT ledger_payloads_sequence_fkey")
        )
    else:
        for name in connection.execute(
            text("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        ).scalars():
            connection.execute(text(f"DROP TRIGGER {name}"))
    # Else the database itself refuses an entry that is no JSON, because of its columns.
    for index in inspect(connection).get_indexes("ledger"):
        connection.execute(text(f"DROP INDEX {index['name']}"))
