"""What started a run, and why."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    known = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("runs")}
    for column in (sa.Column("trigger", sa.String(16)), sa.Column("reason", sa.Text)):
        if column.name not in known:
            column.nullable, column.server_default = False, sa.DefaultClause("")
            op.add_column("runs", column)
