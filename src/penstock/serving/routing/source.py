"""Where a gateway's routing table comes from: the state database, or the copy of the last one."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from penstock.digests import written_whole
from penstock.errors import PenstockError, ServingError
from penstock.records import Record
from penstock.serving.routing.table import RoutingTable
from penstock.state import routes

log = logging.getLogger(__name__)


class Versioned(NamedTuple):
    """A routing table and its revision."""

    revision: int
    table: RoutingTable


class Copy(Record):
    """A table as it is kept beside the gateway."""

    revision: int
    table: RoutingTable


class TableSource:
    """Asked several times a second, from a thread: the database may be slow, or away."""

    def __init__(self, engine: Callable[[], Engine], endpoint: str, copy: Path) -> None:
        self._engine = engine
        self._endpoint = endpoint
        self._copy = copy
        self._away = False

    def newer(self, revision: int) -> Versioned | None:
        """The table as it is now, if it is another than `revision`.

        While the database is away: none, or the copy where nothing is served yet. Raises
        `ServingError` for a table that cannot be read.
        """
        try:
            found = self._published(revision)
        except (SQLAlchemyError, PenstockError, OSError) as error:
            if isinstance(error, ServingError):
                raise
            if not self._away:
                log.warning("the state database is away: %s", str(error).splitlines()[0])
            self._away = True
            return self._kept() if revision == 0 else None
        if self._away:
            log.info("the state database is back")
        self._away = False
        return found

    def keep(self, versioned: Versioned) -> None:
        """Makes a table the one that is served without the database."""
        try:
            with written_whole(self._copy) as part:
                part.write_text(Copy(**versioned._asdict()).model_dump_json(indent=1))
        except OSError as error:
            log.error("the routing table cannot be kept in %s: %s", self._copy, error)

    def _published(self, revision: int) -> Versioned | None:
        engine = self._engine()
        if routes.revision_of(engine, self._endpoint) == revision:
            return None
        found = routes.published(engine, self._endpoint)
        if found is None:
            return None
        try:
            return Versioned(found.revision, RoutingTable.model_validate(found.document))
        except ValidationError as error:
            raise ServingError(
                f"revision {found.revision} of the routing table cannot be read: {error}",
                hint="deploy again, or roll back",
            ) from error

    def _kept(self) -> Versioned | None:
        try:
            copy = Copy.model_validate_json(self._copy.read_bytes())
        except (OSError, ValidationError):
            return None
        return Versioned(copy.revision, copy.table)
