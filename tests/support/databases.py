"""Empty databases for tests, copies of others, and those of earlier revisions."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.engine import make_url

from penstock.state.database import MIGRATIONS

POSTGRES = "PENSTOCK_TEST_POSTGRES"
NOTHING_SKIPPED = "PENSTOCK_TEST_NOTHING_SKIPPED"


@contextlib.contextmanager
def empty_postgres(template: str = "template1", **query: str) -> Iterator[str]:
    """The address of an empty database, or of a copy of one that nobody is connected to; the test
    is skipped where there is no server for it.
    """
    server = os.environ.get(POSTGRES, "")
    if not server:
        reason = f"{POSTGRES} is not set: the SQLAlchemy URL of a PostgreSQL server"
        pytest.fail(reason) if os.environ.get(NOTHING_SKIPPED) == "1" else pytest.skip(reason)
    name = f"penstock_{secrets.token_hex(6)}"
    admin = create_engine(server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
    address = make_url(server).set(database=name).update_query_dict(query)
    yield address.render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@contextlib.contextmanager
def at_revision(url: str, revision: str) -> Iterator[Engine]:
    """A database as an earlier version of Penstock left it."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    engine = create_engine(url)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    yield engine
    engine.dispose()
