"""The tables. A change here needs a migration beside it in `migrations/versions`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    Connection,
    DateTime,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
)
from sqlalchemy.dialects import postgresql, sqlite

REVISION = "0002"  # the newest migration


class UtcDateTime(TypeDecorator[datetime]):
    """Timezone-aware UTC on both databases; SQLite would drop the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        if value is None:
            return None
        # PostgreSQL answers in the zone of the session.
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


metadata = MetaData()

runs = Table(
    "runs",
    metadata,
    Column("id", String(256), primary_key=True),
    Column("pipeline", String(64), nullable=False),
    Column("environment", String(16), nullable=False),
    Column("orchestrator", String(16), nullable=False),  # local, airflow
    Column("status", String(16), nullable=False),  # running, succeeded, failed, interrupted
    Column("as_of", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime, nullable=False, index=True),
    Column("finished_at", UtcDateTime),
    Column("error", JSON),
)

steps = Table(
    "steps",
    metadata,
    Column("run_id", String(256), ForeignKey("runs.id"), primary_key=True),
    Column("step", String(64), primary_key=True),
    Column("status", String(16), nullable=False),  # running, succeeded, cached, failed, skipped
    Column("attempts", Integer, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    Column("record", JSON),
    Column("error", JSON),
)

cache = Table(
    "cache",
    metadata,
    Column("step", String(64), primary_key=True),
    Column("key", String(64), primary_key=True),
    Column("inputs", JSON, nullable=False),  # name -> digest or short value
    Column("record", JSON, nullable=False),
    Column("run_id", String(256), nullable=False),
    Column("created_at", UtcDateTime, nullable=False, index=True),
)

ledger = Table(
    "ledger",
    metadata,
    Column("sequence", Integer, primary_key=True, autoincrement=True),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", String(128), nullable=False),
    Column("action", String(64), nullable=False, index=True),
    Column("subject", String(256), nullable=False, index=True),  # churn@3, staging
    Column("digest", String(64), nullable=False),  # of the artefact acted on
    Column("run_id", String(256)),
    Column("reason", Text, nullable=False),
    Column("details", JSON, nullable=False),
)

routes = Table(
    "routes",
    metadata,
    Column("endpoint", String(64), primary_key=True),
    Column("revision", Integer, nullable=False),
    Column("document", JSON, nullable=False),  # the routing table
    Column("written_at", UtcDateTime, nullable=False),
    Column("actor", String(128), nullable=False),
)

gateways = Table(
    "gateways",
    metadata,
    Column("endpoint", String(64), primary_key=True),
    Column("gateway", String(128), primary_key=True),  # host and process
    Column("url", String(256), nullable=False),
    Column("state", String(16), nullable=False),
    Column("revision", Integer, nullable=False),  # of the routing table that it serves
    Column("error", Text, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False, index=True),
)

observations = Table(
    "observations",
    metadata,
    Column("endpoint", String(64), primary_key=True),
    Column("release", String(128), primary_key=True),
    Column("arm", String(32), primary_key=True),
    Column("gateway", String(128), primary_key=True),
    Column("second", Integer, primary_key=True),  # since 1970, UTC; when the answers were given
    Column("counts", JSON, nullable=False),  # sums and histograms that add
)


def upsert(
    connection: Connection, table: Table, row: Mapping[str, Any], *, change: tuple[str, ...] = ()
) -> None:
    """Writes a row, or changes the one of the same key: `change` names the columns, else all.

    One statement, so that two writers never collide.
    """
    # Both databases have ON CONFLICT; SQLAlchemy keeps it with the dialects.
    insert: Any = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    keys = {column.name for column in table.primary_key}
    changed = {name: row[name] for name in change or row.keys() - keys}
    statement = insert(table).values(**row)
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed))
