"""The databases that the same tests run on: SQLite, and PostgreSQL where one is given."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from databases import empty_postgres
from sqlalchemy import Engine

from penstock.project import Project, open_project
from penstock.state.database import open_database


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'state.db'}"
        return
    # A server whose clock is shown in another zone: times must come back as UTC all the same.
    with empty_postgres(options="-c TimeZone=Asia/Tokyo") as address:
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
