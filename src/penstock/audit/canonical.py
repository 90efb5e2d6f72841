"""One value, one row of bytes: JSON in canonical form (RFC 8785), which is what is hashed."""

from __future__ import annotations

import hashlib
from typing import Any

import rfc8785

from penstock.errors import DataError

SALT_BYTES = 32
SAFE_INTEGER = 2**53 - 1  # beyond it, neighbours have the same double


def canonical(value: Any) -> bytes:
    """JSON by RFC 8785 (JCS): keys in order, numbers as ECMAScript writes them, UTF-8.

    Raises `DataError` for what has no such form: NaN, infinities, whole numbers beyond 2**53 - 1,
    keys that are not text, halves of surrogate pairs, and what is not JSON at all.
    """
    try:
        return rfc8785.dumps(value)
    except (ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise DataError(
            f"this cannot be written to the ledger: {why}",
            hint="write numbers that JSON cannot hold exactly as text",
        ) from error


def commitment(salt: bytes, payload: bytes) -> str:
    """Binds to a payload without telling anything of it, as long as the salt is secret (hex).

    Without the salt, a guess at the payload cannot be tried: so destroying both forgets it.
    """
    return hashlib.sha256(salt + payload).hexdigest()
