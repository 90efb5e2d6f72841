"""What a database or its driver says of its disk, its files and its connections, for users."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, IntegrityError

from penstock.errors import ResourceError


@contextlib.contextmanager
def troubles(engine: Engine, what: str) -> Iterator[None]:
    """Raises `ResourceError`: the ledger cannot be `what` (read, written).

    A conflict with rows that are there is not one of them: whoever wrote knows what it means.
    """
    # The ledger reads much by the driver alone, whose errors SQLAlchemy does not see.
    driver = engine.dialect.dbapi
    conflicts: tuple[type[Exception], ...] = (IntegrityError,)
    errors: tuple[type[Exception], ...] = (DBAPIError,)
    if driver is not None:
        conflicts, errors = (*conflicts, driver.IntegrityError), (*errors, driver.Error)
    try:
        yield
    except conflicts:
        raise
    except errors as error:
        told = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise ResourceError(
            f"the ledger cannot be {what}: {told}",
            hint="check the state database, its disk and its permissions",
        ) from error
