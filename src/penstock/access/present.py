"""Who acts, and whether they may: asked once, by whatever lets somebody in.

Where there are no users yet, it is whom the operating system knows, and they may do everything.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.access.roles import Permission, may, roles_for
from penstock.access.tokens import Token, matching
from penstock.access.users import Directory, User, directory
from penstock.audit.ledger import Actor, acting_as, os_actor
from penstock.errors import AccessError, SettingsError

if TYPE_CHECKING:
    from penstock.project import Project

VARIABLE, FILE = "PENSTOCK_TOKEN", "PENSTOCK_TOKEN_FILE"
HINT = (
    f"set {VARIABLE}, or {FILE} to a file that holds it; an admin gives one: penstock users token"
)


def actor(project: Project) -> Actor:
    """Who acts in this process: the user of the token, or else the operating system's."""
    from penstock.state.database import open_database

    if not (text := token_text()):
        return os_actor()
    found = directory(open_database(project))
    return actor_of(authenticated(found, text, datetime.now(UTC))[0]) if found.users else os_actor()


@contextlib.contextmanager
def acting_if_known(project: Project) -> Iterator[None]:
    """For what is written down whoever acts: without a token that holds, it is the system's user.

    Asks for no permission.
    """
    try:
        found = actor(project)
    except (AccessError, SettingsError):
        found = os_actor()
    with acting_as(found):
        yield


@contextlib.contextmanager
def acting(project: Project, permission: Permission) -> Iterator[Actor]:
    """What is done meanwhile is theirs, in the ledger too. Raises `AccessError`."""
    from penstock.state.database import open_database

    now = datetime.now(UTC)
    found = permitted(directory(open_database(project)), token_text(), permission, now)
    with acting_as(found):
        yield found


def permitted(known: Directory, text: str, permission: Permission, now: datetime) -> Actor:
    """Who a token's text is of, if they may. Pure. Raises `AccessError`.

    Where all tokens of all admins have expired, who works on the machine may issue one again.
    """
    if known.began is None:
        return os_actor()
    if not text and permission is Permission.ADMINISTER and known.locked_out(now):
        return os_actor()
    user, token = authenticated(known, text, now)
    if not may(user.role, permission, token.scopes):
        able = roles_for(permission)
        why = f"who is {user.role}" if user.role not in able else f"by the token {token.id}"
        raise AccessError(
            f"{user.id}, {why}, may not {permission}",
            hint=f"it takes a token for it of somebody who is {' or '.join(able)}: penstock users",
        )
    return actor_of(user)


def authenticated(known: Directory, text: str, now: datetime) -> tuple[User, Token]:
    """Raises `AccessError` for no token, one that nobody has, and one that has expired."""
    if not text:
        raise AccessError("this project has users, and no token says who you are", hint=HINT)
    owners = {token.digest: user for user in known.users for token in user.tokens}
    token = matching(text, [token for user in known.users for token in user.tokens])
    if token is None:
        raise AccessError("the token is of no user: it was revoked, or is another one", hint=HINT)
    if not token.usable(now):
        ended = f"{token.expires:%Y-%m-%d %H:%M} UTC"
        raise AccessError(
            f"the token {token.id} of {owners[token.digest].id} expired at {ended}", hint=HINT
        )
    return owners[token.digest], token


def actor_of(user: User) -> Actor:
    """A user as entries name them: by id alone."""
    return Actor(user.id, authenticated="token")


def token_text() -> str:
    """The token that this process was given. Raises `SettingsError` for a file that is gone."""
    if text := os.environ.get(VARIABLE, "").strip():
        return text
    if not (name := os.environ.get(FILE, "")):
        return ""
    try:
        return Path(name).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{FILE}: {name} cannot be read: {error}") from error
