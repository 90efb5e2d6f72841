"""The databases that the same tests run on: SQLite, and PostgreSQL where one is given."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.engine import make_url

from penstock.project import Project, open_project
from penstock.state.database import open_database

POSTGRES = "PENSTOCK_TEST_POSTGRES"
NOTHING_SKIPPED = "PENSTOCK_TEST_NOTHING_SKIPPED"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'state.db'}"
        return
    server = os.environ.get(POSTGRES, "")
    if not server:
        reason = f"{POSTGRES} is not set: the SQLAlchemy URL of a PostgreSQL server"
        pytest.fail(reason) if os.environ.get(NOTHING_SKIPPED) == "1" else pytest.skip(reason)
    name = f"penstock_{secrets.token_hex(6)}"
    admin = create_engine(server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    # A server whose clock is shown in another zone: times must come back as UTC all the same.
    address = make_url(server).set(database=name, query={"options": "-c TimeZone=Asia/Tokyo"})
    yield address.render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture
def project(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    (tmp_path / "penstock.toml").write_text('[project]\nname = "shop"\n')
    monkeypatch.setenv("PENSTOCK_STATE_URL", url)
    return open_project(tmp_path, "dev")


@pytest.fixture
def database(project: Project) -> Iterator[Engine]:
    engine = open_database(project)
    yield engine
    engine.dispose()
