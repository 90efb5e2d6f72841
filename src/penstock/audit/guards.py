"""What the database itself forbids: changing what was written."""

from __future__ import annotations

from sqlalchemy import Connection, inspect, text

from penstock.audit.blocks import Finding

MADE = ("at", "actor", "action", "subject", "digest", "run_id", "stream", "position")
APPEND_ONLY = ("ledger", "ledger_nodes", "ledger_checkpoints")
TRIGGERS = {f"{table}_no_{event}" for table in APPEND_ONLY for event in ("update", "delete")}
TRIGGERS.add("ledger_payloads_no_update")
OF_DATABASE = {
    "sqlite": (
        {f"{table}_no_replace" for table in APPEND_ONLY},
        "SELECT name FROM sqlite_master WHERE type = 'trigger'",
    ),
    "postgresql": (
        {f"{table}_no_truncate" for table in APPEND_ONLY},
        "SELECT tgname FROM pg_trigger WHERE tgenabled IN ('O', 'A')",
    ),
}


def guard_findings(connection: Connection) -> list[Finding]:
    """Triggers that are gone, and columns that no longer come from the entry."""
    more, query = OF_DATABASE[connection.dialect.name]
    there = set(connection.execute(text(query)).scalars())
    findings = [
        Finding("guard", 0, 0, f"the trigger {name} is gone or off: rows could be changed")
        for name in sorted((TRIGGERS | more) - there)
    ]
    made = {one["name"] for one in inspect(connection).get_columns("ledger") if one.get("computed")}
    findings += [
        Finding("guard", 0, 0, f"the column {name} of the ledger is not made from its entries")
        for name in MADE
        if name not in made
    ]
    return findings
