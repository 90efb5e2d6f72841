"""Routing tables, the gateways that serve them, and what they observe."""

import sqlalchemy as sa
from alembic import op

from penstock.state.tables import UtcDateTime

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "routes",
        sa.Column("endpoint", sa.String(64), primary_key=True),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("document", sa.JSON, nullable=False),
        sa.Column("written_at", UtcDateTime, nullable=False),
        sa.Column("actor", sa.String(128), nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "gateways",
        sa.Column("endpoint", sa.String(64), primary_key=True),
        sa.Column("gateway", sa.String(128), primary_key=True),
        sa.Column("url", sa.String(256), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("seen_at", UtcDateTime, nullable=False, index=True),
        if_not_exists=True,
    )
    op.create_table(
        "observations",
        sa.Column("endpoint", sa.String(64), primary_key=True),
        sa.Column("release", sa.String(128), primary_key=True),
        sa.Column("arm", sa.String(32), primary_key=True),
        sa.Column("gateway", sa.String(128), primary_key=True),
        sa.Column("second", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("counts", sa.JSON, nullable=False),
        if_not_exists=True,
    )
