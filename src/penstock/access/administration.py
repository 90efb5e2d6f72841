"""What admins do: each is decided and written in one transaction, so that no two can collide."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine

from penstock.access import tokens
from penstock.access.roles import Permission, Role
from penstock.access.tokens import Fresh
from penstock.access.users import (
    ADDED,
    CHANGED,
    ISSUED,
    KEY,
    REMOVED,
    REVOKED,
    Directory,
    directory_in,
)
from penstock.audit.entries import Actor, Draft, Entry, Personal
from penstock.audit.ledger import Ledger, Page
from penstock.audit.notes import NoteError, VerifyingKey
from penstock.errors import AccessError, UsageError

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


def add(
    engine: Engine,
    user: str,
    role: Role,
    *,
    by: Actor,
    name: str = "",
    email: str = "",
    key: str = "",
    expires: timedelta | None = None,
) -> Fresh:
    """Adds a user, and gives their first token. Raises `AccessError` and `UsageError`.

    Name and address are kept beside the ledger. The first user must be an admin.
    """
    if not ID.fullmatch(user):
        raise UsageError(
            f"{user!r} cannot be a user's id",
            hint="use up to 64 letters, digits, dots, -, _ and @; it is in the ledger for good",
        )
    said = {"role": role, **({"key": _public(key, user)} if key else {})}
    beside = Personal(user, {"name": name, "email": email}) if name or email else None
    with Ledger(engine).page() as page:
        found = _write(page, directory_in(page), ADDED, user, by, said, beside)
        return _issued(page, found, user, by, tokens.ALL, expires)


def change_role(engine: Engine, user: str, role: Role, *, by: Actor, reason: str = "") -> None:
    """Raises `AccessError`, also for the last admin."""
    _one(engine, CHANGED, user, by, {"role": role}, reason)


def remove(engine: Engine, user: str, *, by: Actor, reason: str = "") -> None:
    """Their tokens and keys end with them; what they signed before stands. Raises `AccessError`."""
    _one(engine, REMOVED, user, by, {}, reason)


def issue(
    engine: Engine,
    user: str,
    *,
    by: Actor,
    scopes: Collection[Permission] = tokens.ALL,
    expires: timedelta | None = None,
) -> Fresh:
    """A further token. Raises `AccessError`."""
    with Ledger(engine).page() as page:
        return _issued(page, directory_in(page), user, by, scopes, expires)


def revoke(engine: Engine, token: str, *, by: Actor, reason: str = "") -> str:
    """Ends a token, by its id or a beginning of it; gives its user. Raises `UsageError`."""
    with Ledger(engine).page() as page:
        found = directory_in(page)
        meant = [
            (user.id, one.id)
            for user in found.users
            for one in user.tokens
            if one.id.startswith(token)
        ]
        if len(meant) != 1 or not token:
            raise UsageError(
                f"no single token is called {token!r}", hint="`penstock users show` lists them"
            )
        _write(page, found, REVOKED, meant[0][0], by, {"token": meant[0][1]}, reason=reason)
        return meant[0][0]


def add_key(engine: Engine, user: str, key: str, *, by: Actor) -> None:
    """Makes a user's public key known, in place of the one before. Raises `AccessError`."""
    _one(engine, KEY, user, by, {"key": _public(key, user)}, "")


def _one(
    engine: Engine, action: str, user: str, by: Actor, details: dict[str, Any], reason: str
) -> None:
    with Ledger(engine).page() as page:
        _write(page, directory_in(page), action, user, by, details, reason=reason)


def _issued(
    page: Page,
    found: Directory,
    user: str,
    by: Actor,
    scopes: Collection[Permission],
    expires: timedelta | None,
) -> Fresh:
    fresh = tokens.new()
    until = (datetime.now(UTC) + expires).isoformat(timespec="seconds") if expires else ""
    said = {"token": fresh.id, "sha256": fresh.digest, "scopes": sorted(scopes)}
    _write(page, found, ISSUED, user, by, said | ({"expires": until} if until else {}))
    return fresh


def _write(
    page: Page,
    found: Directory,
    action: str,
    user: str,
    by: Actor,
    details: dict[str, Any],
    personal: Personal | None = None,
    reason: str = "",
) -> Directory:
    """The users as they are afterwards. Raises `AccessError` for what must not be."""
    draft = Draft(by=by, action=action, subject=user, reason=reason, details=details)
    if why := found.lawful(draft, datetime.now(UTC)):
        raise AccessError(f"{action} of {user}: {why}", hint="`penstock users list` shows them")
    entry: Entry = page.write(draft, personal)
    return found.after(entry)


def _public(text: str, user: str) -> str:
    try:
        key = VerifyingKey.parse(text.strip())
    except NoteError as error:
        raise UsageError(
            f"{text[:80]!r} is no public key: NAME+ID+BASE64 is expected",
            hint=f"{user} types `penstock users key`, which prints one",
        ) from error
    if key.name != user:
        raise UsageError(
            f"this is the key of {key.name}, not of {user}",
            hint="a key bears the id of whose it is",
        )
    return str(key)
