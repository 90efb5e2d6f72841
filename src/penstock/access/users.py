"""The users of a project: a fold of the ledger, in which only an admin's entries count.

Before the first user there is none to ask: whoever the operating system lets at the project may do
everything. That first one is an admin, and from then on each entry is some admin's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, select

from penstock.access.roles import Permission, Role
from penstock.access.tokens import Token
from penstock.audit.entries import Draft, Entry
from penstock.audit.ledger import Ledger, Page
from penstock.state.tables import ledger_payloads

ADDED, CHANGED, REMOVED = "user.added", "user.changed", "user.removed"
ISSUED, REVOKED = "token.issued", "token.revoked"
KEY = "key.added"
ACTIONS = (ADDED, CHANGED, REMOVED, ISSUED, REVOKED, KEY)


@dataclass(frozen=True)
class Key:
    """A public key, and of which entries it may be the signer's."""

    text: str  # NAME+ID+BASE64, as `penstock.audit.notes.VerifyingKey` reads it
    since: int  # the entry that made it known
    until: int | None = None  # the entry that ended it


@dataclass(frozen=True)
class User:
    """Somebody, as they are now."""

    id: str
    role: Role | None  # None: removed
    since: int  # the entry that added them
    tokens: tuple[Token, ...] = ()
    history: tuple[tuple[int, Role | None], ...] = ()  # the entries that changed the role
    name: str = ""  # kept beside the ledger, and erasable
    email: str = ""

    def usable(self, now: datetime) -> tuple[Token, ...]:
        return tuple(token for token in self.tokens if token.usable(now))


@dataclass(frozen=True)
class Directory:
    """All who are, or were, users; and when there first was one."""

    known: Mapping[str, User] = field(default_factory=dict)
    keys: Mapping[str, tuple[Key, ...]] = field(default_factory=dict)  # by the id of whose they are
    began: int | None = None  # the entry of the first user; None: there is none yet

    @property
    def users(self) -> list[User]:
        return [user for user in self.known.values() if user.role is not None]

    @property
    def admins(self) -> list[User]:
        return [user for user in self.users if user.role is Role.ADMIN]

    def role_of(self, user: str) -> Role | None:
        found = self.known.get(user)
        return found.role if found else None

    def had_users(self, entry: int) -> bool:
        """Whether there were users when an entry was written."""
        return self.began is not None and entry >= self.began

    def role_at(self, user: str, entry: int) -> Role | None:
        """What somebody was when an entry was written. Before the first user: all may do all."""
        if not self.had_users(entry):
            return Role.ADMIN
        found = self.known.get(user)
        roles = [role for number, role in found.history if number <= entry] if found else []
        return roles[-1] if roles else None

    def keys_at(self, user: str, entry: int) -> list[str]:
        """The public keys of somebody's signatures when an entry was written."""
        return [
            key.text
            for key in self.keys.get(user, ())
            if key.since < entry and (key.until is None or entry < key.until)
        ]

    def key_of(self, user: str) -> str:
        """The present one; empty: there is none."""
        return next((key.text for key in self.keys.get(user, ()) if key.until is None), "")

    def locked_out(self, now: datetime) -> bool:
        """Whether every token of every admin has expired: then the way in is the machine again."""
        return self.began is not None and not any(user.usable(now) for user in self.admins)

    def lawful(self, draft: Draft, now: datetime) -> str:
        """Why an entry about users must not be; empty: it may. The one rule, for all of them."""
        about, by = draft.subject, draft.by
        if self.began is None:
            if draft.action == KEY and about != by.id:
                return "there are no users yet: everybody has the key of their own"
            if draft.action == ADDED and draft.details.get("role") != Role.ADMIN:
                return "the first user must be an admin: who else would add the others?"
            return "" if draft.action in (KEY, ADDED) else f"there is no user {about}"
        recovers = draft.action == ISSUED and self.role_of(about) is Role.ADMIN
        recovered = recovers and self.locked_out(now) and by.authenticated == "os"
        if self.role_of(by.id) is not Role.ADMIN and not recovered:
            return f"{by.id} is no admin"
        if draft.action == ADDED:
            return f"{about} is a user already" if self.role_of(about) else ""
        if self.role_of(about) is None:
            return f"there is no user {about}"
        loses = draft.action == REMOVED or draft.details.get("role", Role.ADMIN) != Role.ADMIN
        if loses and [admin.id for admin in self.admins] == [about]:
            return f"{about} is the last admin: nobody could add or change users any more"
        return ""

    def after(self, entry: Entry) -> Directory:
        """The directory after an entry; one that must not be is passed over."""
        try:
            return self if self.lawful(entry, entry.at) else CHANGES[entry.action](self, entry)
        except (KeyError, ValueError, TypeError):  # written by hand: it changes nothing
            return self

    def _with(self, user: User) -> Directory:
        return replace(self, known={**self.known, user.id: user})

    def _with_role(self, entry: Entry, role: Role | None) -> Directory:
        before = self.known.get(entry.subject)
        history = (*(before.history if before else ()), (entry.sequence, role))
        fresh = User(entry.subject, role, entry.sequence)
        user = before if before and entry.action == CHANGED else fresh
        return self._with(replace(user, role=role, history=history))

    def _added(self, entry: Entry) -> Directory:
        found = self._with_role(entry, Role(entry.details["role"]))
        if self.began is None:
            # What was signed before there were users was signed by nobody of them.
            ended = {who: _ended(keys, entry.sequence) for who, keys in self.keys.items()}
            found = replace(found, keys=ended, began=entry.sequence)
        return found._key(entry) if "key" in entry.details else found

    def _changed(self, entry: Entry) -> Directory:
        return self._with_role(entry, Role(entry.details["role"]))

    def _removed(self, entry: Entry) -> Directory:
        found = self._with_role(entry, None)
        mine = _ended(self.keys.get(entry.subject, ()), entry.sequence)
        return replace(found, keys={**self.keys, entry.subject: mine})

    def _issued(self, entry: Entry) -> Directory:
        user, said = self.known[entry.subject], entry.details
        expires = said.get("expires")
        token = Token(
            str(said["token"]),
            str(said["sha256"]),
            frozenset(Permission(scope) for scope in said["scopes"]),
            datetime.fromisoformat(expires) if expires else None,
            entry.at,
        )
        return self._with(replace(user, tokens=(*user.tokens, token)))

    def _revoked(self, entry: Entry) -> Directory:
        user = self.known[entry.subject]
        kept = tuple(token for token in user.tokens if token.id != entry.details["token"])
        return self._with(replace(user, tokens=kept))

    def _key(self, entry: Entry) -> Directory:
        before = _ended(self.keys.get(entry.subject, ()), entry.sequence)
        key = Key(str(entry.details["key"]), entry.sequence)
        return replace(self, keys={**self.keys, entry.subject: (*before, key)})


CHANGES = {
    ADDED: Directory._added,
    CHANGED: Directory._changed,
    REMOVED: Directory._removed,
    ISSUED: Directory._issued,
    REVOKED: Directory._revoked,
    KEY: Directory._key,
}


def folded(entries: Iterable[Entry]) -> Directory:
    """The users after these entries, oldest first."""
    found = Directory()
    for entry in entries:
        found = found.after(entry)
    return found


def directory(engine: Engine) -> Directory:
    """The users of a project, without what is personal about them."""
    return folded(Ledger(engine).entries_of(ACTIONS))


def directory_in(page: Page) -> Directory:
    """The same within a transaction that decides on it."""
    return folded(page.entries(ACTIONS))


def users(engine: Engine) -> list[User]:
    """Who is a user now, with their names where they were not erased; by id."""
    return sorted(named(engine, directory(engine)).users, key=lambda user: user.id)


def named(engine: Engine, found: Directory) -> Directory:
    """With what is kept beside the ledger about them."""
    numbers = [user.since for user in found.known.values()]
    columns = ledger_payloads.c.sequence, ledger_payloads.c.payload
    with engine.connect() as connection:
        query = select(*columns).where(ledger_payloads.c.sequence.in_(numbers))
        beside = {number: _told(payload) for number, payload in connection.execute(query)}
    known = {user.id: replace(user, **beside.get(user.since, {})) for user in found.known.values()}
    return replace(found, known=known)


def _told(payload: str) -> dict[str, Any]:
    said = json.loads(payload)
    return {name: str(said.get(name, "")) for name in ("name", "email")}


def _ended(keys: Iterable[Key], entry: int) -> tuple[Key, ...]:
    return tuple(key if key.until is not None else replace(key, until=entry) for key in keys)
