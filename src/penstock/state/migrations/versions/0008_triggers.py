"""Triggers: why a run was started; heartbeats of what goes on by itself."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0005"


def upgrade() -> None:
    known = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("runs")}
    for column in (sa.Column("trigger", sa.String(16)), sa.Column("reason", sa.Text)):
        if column.name not in known:
            column.nullable, column.server_default = False, sa.DefaultClause("")
            op.add_column("runs", column)
    op.create_table(
        "heartbeats",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("said", sa.Text, nullable=False),
        if_not_exists=True,
    )
