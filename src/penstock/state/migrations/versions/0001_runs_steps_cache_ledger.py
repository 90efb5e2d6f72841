"""Runs, steps, cache entries and the ledger."""

import sqlalchemy as sa
from alembic import op

from penstock.state.tables import UtcDateTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "runs",
        sa.Column("id", sa.String(256), primary_key=True),
        sa.Column("pipeline", sa.String(64), nullable=False),
        sa.Column("environment", sa.String(16), nullable=False),
        sa.Column("orchestrator", sa.String(16), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("as_of", UtcDateTime, nullable=False),
        sa.Column("started_at", UtcDateTime, nullable=False, index=True),
        sa.Column("finished_at", UtcDateTime),
        sa.Column("error", sa.JSON),
        if_not_exists=True,
    )
    op.create_table(
        "steps",
        sa.Column("run_id", sa.String(256), sa.ForeignKey("runs.id"), primary_key=True),
        sa.Column("step", sa.String(64), primary_key=True),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("started_at", UtcDateTime, nullable=False),
        sa.Column("finished_at", UtcDateTime),
        sa.Column("record", sa.JSON),
        sa.Column("error", sa.JSON),
        if_not_exists=True,
    )
    op.create_table(
        "cache",
        sa.Column("step", sa.String(64), primary_key=True),
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("inputs", sa.JSON, nullable=False),
        sa.Column("record", sa.JSON, nullable=False),
        sa.Column("run_id", sa.String(256), nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False, index=True),
        if_not_exists=True,
    )
    op.create_table(
        "ledger",
        sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("at", UtcDateTime, nullable=False),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("action", sa.String(64), nullable=False, index=True),
        sa.Column("subject", sa.String(256), nullable=False, index=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("run_id", sa.String(256)),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("details", sa.JSON, nullable=False),
        if_not_exists=True,
    )
