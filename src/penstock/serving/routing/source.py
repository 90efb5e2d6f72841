"""Where a gateway's routing table comes from: the state database, or the copy of the last one."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime
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
    """A routing table and its revision, and how long its arms hold."""

    revision: int
    table: RoutingTable
    lease_until: datetime | None = None  # None: until the next table

    @property
    def lease(self) -> routes.Lease:
        return routes.Lease(self.revision, self.lease_until)


class Copy(Record):
    """A table as it is kept beside the gateway."""

    revision: int
    table: RoutingTable
    lease_until: datetime | None = None


class TableSource:
    """Asked several times a second, from a thread: the database may be slow, or away."""

    def __init__(self, engine: Callable[[], Engine], endpoint: str, copy: Path) -> None:
        self._engine = engine
        self._endpoint = endpoint
        self._copy = copy
        self._away = False
        self._keeping = threading.Lock()
        self._kept_revision = 0

    def look(self, revision: int) -> Versioned | routes.Lease | None:
        """The table as it is now; if it is still `revision`, its lease only.

        While the database is away: None, or the copy where nothing is served yet. So it is with a
        database that knows no table of the endpoint: a new one, after the old one was lost. Raises
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
        if revision == 0 and isinstance(found, routes.Lease):
            return self._kept_by_itself() or found
        return found

    def kept_digests(self) -> frozenset[str]:
        """Of the models that were served last, also by a gateway before this one."""
        kept = self._kept()
        releases = kept.table.releases.values() if kept else ()
        return frozenset(one.digest for one in releases)

    def keep(self, versioned: Versioned) -> None:
        """Makes a table the one that is served without the database."""
        with self._keeping:
            self._write(versioned)
            self._kept_revision = versioned.revision

    def keep_lease(self, versioned: Versioned) -> None:
        """The same for a lease that was renewed, unless another table was kept meanwhile."""
        with self._keeping:
            if versioned.revision == self._kept_revision:
                self._write(versioned)

    def _write(self, versioned: Versioned) -> None:
        try:
            with written_whole(self._copy) as part:
                part.write_text(Copy(**versioned._asdict()).model_dump_json(indent=1))
        except OSError as error:
            log.error("the routing table cannot be kept in %s: %s", self._copy, error)

    def _published(self, revision: int) -> Versioned | routes.Lease | None:
        engine = self._engine()
        lease = routes.lease_of(engine, self._endpoint)
        if lease.revision == revision:
            return lease
        found = routes.published(engine, self._endpoint)
        if found is None:
            return None
        try:
            table = RoutingTable.model_validate(found.document)
            return Versioned(found.revision, table, found.lease_until)
        except ValidationError as error:
            raise ServingError(
                f"revision {found.revision} of the routing table cannot be read: {error}",
                hint="deploy again, or roll back",
            ) from error

    def _kept_by_itself(self) -> Versioned | None:
        kept = self._kept()
        if kept is not None:
            log.warning(
                "the state database has no routing table of %s: is it a new one? Revision %d, of "
                "%s, is served; deploy to replace it",
                self._endpoint,
                kept.revision,
                self._copy,
            )
        return kept

    def _kept(self) -> Versioned | None:
        try:
            copy = Copy.model_validate_json(self._copy.read_bytes())
        except (OSError, ValidationError):
            return None
        return Versioned(copy.revision, copy.table, copy.lease_until)
