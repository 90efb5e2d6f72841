"""Rollouts: leases and fences, streams of the ledger, evidence by epoch, outcomes.

SQLite commits each of these statements by itself: one that was interrupted goes on where it ended.
"""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

from penstock.state.tables import UtcDateTime

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    _add("routes", sa.Column("lease_until", UtcDateTime))
    _add("routes", sa.Column("fence", sa.Integer, nullable=False, server_default="0"))
    _leases_out_of_documents()
    _add("ledger", sa.Column("stream", sa.String(128), nullable=False, server_default=""))
    _add("ledger", sa.Column("position", sa.Integer))
    op.create_index(
        "ledger_stream_position", "ledger", ["stream", "position"], unique=True, if_not_exists=True
    )
    _observations_by_epoch()
    op.create_table(
        "observation_sums",
        *_key_of_observations(),
        sa.Column("since", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("until", sa.Integer, nullable=False),
        sa.Column("counts", sa.JSON, nullable=False),
        if_not_exists=True,
    )
    _first_events()
    _outcomes()
    _rollouts()


def _add(table: str, column: sa.Column[Any]) -> None:
    if column.name not in _columns(table):
        op.add_column(table, column)


def _leases_out_of_documents() -> None:
    routes = sa.table(
        "routes", sa.column("endpoint"), sa.column("document", sa.JSON), sa.column("lease_until")
    )
    connection = op.get_bind()
    for endpoint, document in connection.execute(
        sa.select(routes.c.endpoint, routes.c.document)
    ).all():
        until = document.pop("lease_until", None)
        values = {"document": document}
        if until is not None:
            values["lease_until"] = sa.bindparam(
                None, datetime.fromisoformat(until), type_=UtcDateTime
            )
        connection.execute(sa.update(routes).where(routes.c.endpoint == endpoint).values(**values))


def _key_of_observations() -> list[sa.Column[Any]]:
    return [
        sa.Column("endpoint", sa.String(64), primary_key=True),
        sa.Column("epoch", sa.String(96), primary_key=True),
        sa.Column("release", sa.String(128), primary_key=True),
        sa.Column("arm", sa.String(32), primary_key=True),
        sa.Column("gateway", sa.String(128), primary_key=True),
    ]


def _observations_by_epoch() -> None:
    """SQLite changes no primary key: a new table takes the place of the old one."""
    tables = sa.inspect(op.get_bind()).get_table_names()
    if "observations" in tables and "epoch" not in _columns("observations"):
        op.create_table(
            "observations_by_epoch",
            *_key_of_observations(),
            sa.Column("second", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("counts", sa.JSON, nullable=False),
            if_not_exists=True,
        )
        op.execute("DELETE FROM observations_by_epoch")
        op.execute(
            "INSERT INTO observations_by_epoch"
            " (endpoint, epoch, release, arm, gateway, second, counts)"
            " SELECT endpoint, '', release, arm, gateway, second, counts FROM observations"
        )
        op.drop_table("observations")
    if "observations" not in sa.inspect(op.get_bind()).get_table_names():
        op.rename_table("observations_by_epoch", "observations")


def _columns(table: str) -> set[str]:
    return {found["name"] for found in sa.inspect(op.get_bind()).get_columns(table)}


def _first_events() -> None:
    op.create_table(
        "first_events",
        sa.Column("endpoint", sa.String(64), primary_key=True),
        sa.Column("rollout", sa.String(64), primary_key=True),
        sa.Column("metric", sa.String(64), primary_key=True),
        sa.Column("unit", sa.String(16), primary_key=True),
        sa.Column("stage", sa.Integer, nullable=False),
        sa.Column("arm", sa.String(32), nullable=False),
        sa.Column("second", sa.Integer, nullable=False),
        sa.Column("gateway", sa.String(128), nullable=False),
        sa.Column("lasting", sa.String(16), nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "first_event_counts",
        sa.Column("endpoint", sa.String(64), primary_key=True),
        sa.Column("rollout", sa.String(64), primary_key=True),
        sa.Column("stage", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("metric", sa.String(64), primary_key=True),
        sa.Column("arm", sa.String(32), primary_key=True),
        sa.Column("gateway", sa.String(128), primary_key=True),
        sa.Column("units", sa.Integer, nullable=False),
        if_not_exists=True,
    )


def _outcomes() -> None:
    op.create_table(
        "outcomes",
        sa.Column("endpoint", sa.String(64), primary_key=True),
        sa.Column("subject", sa.String(128), primary_key=True),
        sa.Column("metric", sa.String(64), primary_key=True),
        sa.Column("event", sa.String(128), primary_key=True),
        sa.Column("unit", sa.String(16), nullable=False),
        sa.Column("value", sa.Float),
        sa.Column("text", sa.Text),
        sa.Column("second", sa.Integer, nullable=False),
        sa.Column("told_at", UtcDateTime, nullable=False),
        sa.Column("source", sa.String(128), nullable=False),
        sa.Column("replaces", sa.Boolean, nullable=False),
        if_not_exists=True,
    )
    op.create_index("outcomes_unit", "outcomes", ["endpoint", "unit", "metric"], if_not_exists=True)


def _rollouts() -> None:
    op.create_table(
        "rollouts",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("endpoint", sa.String(64), nullable=False, index=True),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("live", sa.Boolean, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        if_not_exists=True,
    )
    op.create_index(
        "rollouts_one_live",
        "rollouts",
        ["endpoint"],
        unique=True,
        sqlite_where=sa.text("live"),
        postgresql_where=sa.text("live"),
        if_not_exists=True,
    )
    op.create_table(
        "controllers",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("holder", sa.String(128), nullable=False),
        sa.Column("until", UtcDateTime, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "quarantine",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("model", sa.String(256), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("rollout", sa.String(64), nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
        if_not_exists=True,
    )
