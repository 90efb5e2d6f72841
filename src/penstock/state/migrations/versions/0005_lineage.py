"""Lineage: facts, and edges to what each rests on."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "lineage_nodes",
        sa.Column("key", sa.String(256), primary_key=True),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        if_not_exists=True,
    )
    op.create_index("ix_lineage_nodes_label", "lineage_nodes", ["label"], if_not_exists=True)
    op.create_table(
        "lineage_edges",
        sa.Column("child", sa.String(256), primary_key=True),
        sa.Column("parent", sa.String(256), primary_key=True),
        sa.Column("relation", sa.String(32), primary_key=True),
        if_not_exists=True,
    )
    op.create_index(
        "lineage_edges_parent", "lineage_edges", ["parent", "child"], if_not_exists=True
    )
