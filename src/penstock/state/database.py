"""Opens the state database, and brings its tables up to date."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from filelock import FileLock
from sqlalchemy import Engine, create_engine, event, inspect, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from penstock.errors import PenstockError, ResourceError
from penstock.project import Project
from penstock.state.tables import REVISION

MIGRATIONS = Path(__file__).parent / "migrations"


def open_database(project: Project) -> Engine:
    """The project's state. Raises `ResourceError` when it cannot be reached."""
    return open_state(project.settings.state.url.get_secret_value(), project.folder)


def open_state(url: str, folder: Path) -> Engine:
    """The state behind a URL; without one, SQLite in a folder."""
    if not url:
        folder.mkdir(parents=True, exist_ok=True)
        url = f"sqlite:///{folder / 'state.db'}"
    return _open(url, folder)


@lru_cache(maxsize=8)
def _open(url: str, folder: Path) -> Engine:
    with _translated():
        engine = _engine(url)
        found = _revision(engine)
        if found == REVISION:
            return engine
        if found is not None and found > REVISION:
            raise PenstockError(
                f"the state database is at revision {found}; this Penstock knows {REVISION}",
                hint="install the newer Penstock that wrote it",
            )
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "state.lock"):
            _migrate(engine)
    return engine


def _engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        # A server that is reached and says nothing must not hold up whoever asks.
        patience = {"connect_timeout": 5, "tcp_user_timeout": 10_000}  # seconds; milliseconds
        return create_engine(url, pool_pre_ping=True, pool_size=2, connect_args=patience)
    # One connection a use: SQLite's connections must not cross threads, and opening one is cheap.
    engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": 60})

    @event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")

    return engine


def _revision(engine: Engine) -> str | None:
    if not inspect(engine).has_table("alembic_version"):
        return None
    with engine.connect() as connection:
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _migrate(engine: Engine) -> None:
    # Alembic takes long to import: only when there is something to migrate.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(7365)"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (DBAPIError, SQLAlchemyError, ImportError) as error:
        cause = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise ResourceError(
            f"the state database cannot be opened: {cause}",
            hint="check PENSTOCK_STATE_URL, that the server runs, and that .penstock is writable",
        ) from error
