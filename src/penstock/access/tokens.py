"""Tokens: 256 random bits that are shown once. Only their SHA-256 is kept. Pure but for `new`."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import NamedTuple

from penstock.access.roles import Permission

MARK = "penstock_"  # so that scanners of repositories find one that was committed
BYTES = 32
ALL = frozenset(Permission)


@dataclass(frozen=True)
class Token:
    """What is known of a token: nothing that opens anything."""

    id: str  # the beginning of its digest
    digest: str  # SHA-256 (hex) of its text
    scopes: frozenset[Permission] = ALL  # of what its user's role lets them do
    expires: datetime | None = None  # None: when it is revoked
    issued: datetime | None = None

    def usable(self, now: datetime) -> bool:
        return self.expires is None or now < self.expires


class Fresh(NamedTuple):
    """A token as it is made, for its user's eyes."""

    text: str
    digest: str

    @property
    def id(self) -> str:
        return self.digest[:12]


def new() -> Fresh:
    text = MARK + secrets.token_urlsafe(BYTES)
    return Fresh(text, digest_of(text))


def digest_of(text: str) -> str:
    """It has 256 random bits: nothing slower than one SHA-256 is needed."""
    return sha256(text.encode()).hexdigest()


def matching(text: str, known: Iterable[Token]) -> Token | None:
    """The token of this text. All are compared, each in constant time."""
    digest, found = digest_of(text), None
    for token in known:
        if hmac.compare_digest(token.digest, digest):
            found = token
    return found
