"""The databases that the same tests run on: SQLite, and PostgreSQL where one is given."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from databases import empty_postgres
from sqlalchemy import Engine
from sqlalchemy.engine import make_url

from penstock.project import Project, open_project
from penstock.state.database import open_database, open_state

# A server whose clock is shown in another zone: times must come back as UTC all the same.
ELSEWHERE = "-c TimeZone=Asia/Tokyo"


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'state.db'}"
        return
    with empty_postgres(options=ELSEWHERE) as address:
        yield address


@pytest.fixture(scope="session")
def sqlite_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with every table and no row: the migrations run once for many tests."""
    folder = tmp_path_factory.mktemp("tables")
    open_state("", folder).dispose()
    return folder / "state.db"


@pytest.fixture(scope="session")
def postgres_tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The same on the server: its name."""
    with empty_postgres() as address:
        open_state(address, tmp_path_factory.mktemp("tables")).dispose()
        yield str(make_url(address).database)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a database with every table and no row."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_tables"), tmp_path / "state.db")
        yield f"sqlite:///{tmp_path / 'state.db'}"
        return
    with empty_postgres(request.getfixturevalue("postgres_tables"), options=ELSEWHERE) as address:
        yield address


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
