"""The tables. A change here needs a migration beside it in `migrations/versions`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Connection,
    DateTime,
    FetchedValue,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite

REVISION = "0008"  # the newest migration


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
    # What started it: schedule, drift, manual, …; empty: somebody typed `penstock run`.
    Column("trigger", String(16), nullable=False, server_default=""),
    Column("reason", Text, nullable=False, server_default=""),
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

# What is hashed is `entry`, and nothing else is written: the columns below `leaf` are made from it
# by the database, for questions. Triggers refuse every UPDATE and DELETE.
ledger = Table(
    "ledger",
    metadata,
    Column("sequence", Integer, primary_key=True, autoincrement=False),  # from 1, without a gap
    Column("entry", Text, nullable=False),  # canonical JSON (RFC 8785)
    Column("leaf", LargeBinary, nullable=False),  # its leaf hash (RFC 6962)
    Column("at", String(32), FetchedValue()),  # RFC 3339, UTC, microseconds: sorts as it is
    Column("actor", Text, FetchedValue()),
    Column("action", Text, FetchedValue(), index=True),
    Column("subject", Text, FetchedValue(), index=True),  # churn@3, staging
    Column("digest", Text, FetchedValue(), index=True),  # of the artefact acted on
    Column("run_id", Text, FetchedValue()),
    # The thing whose story the entry goes on with, such as a rollout, and its place there from 1:
    # of two who write the same step, one is refused.
    Column("stream", Text, FetchedValue()),
    Column("position", Integer, FetchedValue()),
    Index("ledger_stream_position", "stream", "position", unique=True),
)

# Roots of the complete subtrees over 256, 65,536, … entries: from them and 255 leaves at most, each
# hash of the tree is made. Append-only, as the ledger.
ledger_nodes = Table(
    "ledger_nodes",
    metadata,
    Column("level", Integer, primary_key=True, autoincrement=False),  # 8, 16, …: over 2**level
    Column("place", Integer, primary_key=True, autoincrement=False),  # which of its level, from 0
    Column("hash", LargeBinary, nullable=False),
)

# Signed notes about the tree at a size. Append-only.
ledger_checkpoints = Table(
    "ledger_checkpoints",
    metadata,
    Column("size", Integer, primary_key=True, autoincrement=False),
    Column("note", Text, nullable=False),  # C2SP tlog-checkpoint
)

# What entries are bound to by a commitment, and what may be forgotten: about persons. No UPDATE.
ledger_payloads = Table(
    "ledger_payloads",
    metadata,
    Column("sequence", Integer, ForeignKey("ledger.sequence"), primary_key=True),
    Column("person", Text, nullable=False, index=True),
    Column("salt", LargeBinary, nullable=False),
    Column("payload", Text, nullable=False),  # canonical JSON
)

routes = Table(
    "routes",
    metadata,
    Column("endpoint", String(64), primary_key=True),
    Column("revision", Integer, nullable=False),
    Column("document", JSON, nullable=False),  # the routing table
    Column("written_at", UtcDateTime, nullable=False),
    Column("actor", String(128), nullable=False),
    Column("lease_until", UtcDateTime),  # null: it holds until the next one
    Column("fence", Integer, nullable=False, server_default="0"),  # of the ledger, see `publish`
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
    Column("epoch", String(96), primary_key=True),  # of the routing table, rollout/stage
    Column("release", String(128), primary_key=True),
    Column("arm", String(32), primary_key=True),
    Column("gateway", String(128), primary_key=True),
    Column("second", Integer, primary_key=True),  # since 1970, UTC; when the answers were given
    Column("counts", JSON, nullable=False),  # sums and histograms that add
)

# The same summed up, so that reading days of a rollout costs no more than reading minutes.
observation_sums = Table(
    "observation_sums",
    metadata,
    Column("endpoint", String(64), primary_key=True),
    Column("epoch", String(96), primary_key=True),
    Column("release", String(128), primary_key=True),
    Column("arm", String(32), primary_key=True),
    Column("gateway", String(128), primary_key=True),
    Column("since", Integer, primary_key=True),  # the second in which the sum begins
    Column("until", Integer, nullable=False),  # the last second that is in it
    Column("counts", JSON, nullable=False),
)

# The first bad event, or the first exposure, of each unit in each rollout.
first_events = Table(
    "first_events",
    metadata,
    Column("endpoint", String(64), primary_key=True),
    Column("rollout", String(64), primary_key=True),
    Column("metric", String(64), primary_key=True),  # error, slow, exposed, event:NAME
    Column("unit", String(16), primary_key=True),  # its hash, as the rollout's tables have it
    Column("stage", Integer, nullable=False),
    Column("arm", String(32), nullable=False),
    Column("second", Integer, nullable=False),  # since 1970, UTC
    Column("gateway", String(128), nullable=False),
    Column("lasting", String(16), nullable=False),  # its hash over all rollouts; empty: not known
)

# How many rows each gateway added above.
first_event_counts = Table(
    "first_event_counts",
    metadata,
    Column("endpoint", String(64), primary_key=True),
    Column("rollout", String(64), primary_key=True),
    Column("stage", Integer, primary_key=True),
    Column("metric", String(64), primary_key=True),
    Column("arm", String(32), primary_key=True),
    Column("gateway", String(128), primary_key=True),
    Column("units", Integer, nullable=False),
)

# What became of predictions and units.
outcomes = Table(
    "outcomes",
    metadata,
    Column("endpoint", String(64), primary_key=True),
    Column("subject", String(128), primary_key=True),  # a prediction's id, or a unit's hash
    Column("metric", String(64), primary_key=True),
    Column("event", String(128), primary_key=True),  # which of the subject's: row, id or moment
    Column("unit", String(16), nullable=False),  # its hash
    Column("value", Float),  # null where it is a text
    Column("text", Text),
    Column("second", Integer, nullable=False),  # since 1970, UTC; when it happened
    Column("told_at", UtcDateTime, nullable=False),
    Column("source", String(128), nullable=False),
    Column("replaces", Boolean, nullable=False),  # what was told before was wrong
    Index("outcomes_unit", "endpoint", "unit", "metric"),
)

# An index of the rollouts: what they are is told by their entries in the ledger.
rollouts = Table(
    "rollouts",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("endpoint", String(64), nullable=False, index=True),
    Column("status", String(32), nullable=False),
    Column("live", Boolean, nullable=False),  # whether it has not ended
    # Of the entry in its stream up to which all that follows was done.
    Column("position", Integer, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Index(
        "rollouts_one_live",
        "endpoint",
        unique=True,
        sqlite_where=text("live"),
        postgresql_where=text("live"),
    ),
)

controllers = Table(
    "controllers",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("holder", String(128), nullable=False),  # host and process
    Column("until", UtcDateTime, nullable=False),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("digest", String(64), primary_key=True),  # of the model that no rollout may take again
    Column("model", String(256), nullable=False),  # name@version
    Column("reason", Text, nullable=False),
    Column("rollout", String(64), nullable=False),
    Column("at", UtcDateTime, nullable=False),
)

# What rests on what: facts by the digest of their content, and an edge to each that one was made
# from. Rows are only ever added.
lineage_nodes = Table(
    "lineage_nodes",
    metadata,
    Column("key", String(256), primary_key=True),  # a digest; NAME@VERSION; the id of a run
    Column("kind", String(32), nullable=False),
    Column("label", Text, nullable=False, index=True),  # for people, or a file's name
)

lineage_edges = Table(
    "lineage_edges",
    metadata,
    Column("child", String(256), primary_key=True),
    Column("parent", String(256), primary_key=True),
    Column("relation", String(32), primary_key=True),  # made from, made by, judges
    Index("lineage_edges_parent", "parent", "child"),
)

# What rules found that is not over. Those that fire are the fold of their entries in the ledger;
# those that wait for a second look stand here alone.
alerts = Table(
    "alerts",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("status", String(16), nullable=False),  # pending, firing, resolved
    Column("document", JSON, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
)

# Messages on their way to people: one row a channel.
outbox = Table(
    "outbox",
    metadata,
    Column("message", String(128), primary_key=True),  # the same one is never queued twice
    Column("channel", String(64), primary_key=True),  # its kind, and a hash of its address
    Column("title", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("level", String(16), nullable=False),  # info, success, warning, failure, resolved
    Column("thread", String(128), nullable=False),  # what it is about; for pagers, and mail readers
    Column("queued_at", UtcDateTime, nullable=False),
    Column("due_at", UtcDateTime, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("holder", String(128), nullable=False),  # who sends it at present; empty: nobody
    Column("held_until", UtcDateTime),
    Column("delivered_at", UtcDateTime),
    Column("error", Text, nullable=False),  # why the last attempt failed
    Index("outbox_due", "delivered_at", "due_at"),
)

# When what goes on by itself was last done to its end; the ledger would be full of it.
heartbeats = Table(
    "heartbeats",
    metadata,
    Column("name", String(64), primary_key=True),  # monitor, alerts
    Column("at", UtcDateTime, nullable=False),
    Column("said", Text, nullable=False),  # what went wrong that time; empty: nothing
)

# What looks at models said: of a feature that drifts it is asked in how many windows it did.
monitor_reports = Table(
    "monitor_reports",
    metadata,
    Column("kind", String(32), primary_key=True),  # data, features, predictions, …
    Column("model", String(256), primary_key=True),  # name@version
    Column("endpoint", String(64), primary_key=True),
    Column("made_at", UtcDateTime, primary_key=True),
    Column("since", UtcDateTime),  # the window; null: all there was
    Column("until", UtcDateTime),  # exclusive
    Column("document", JSON, nullable=False),  # the whole report
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


def insert_new(connection: Connection, table: Table, row: Mapping[str, Any]) -> bool:
    """Writes a row unless there is one of the same key; whether it is new."""
    insert: Any = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(table).values(**row).on_conflict_do_nothing()
    return bool(connection.execute(statement).rowcount)
