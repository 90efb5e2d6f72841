"""`penstock users`: who may do what."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from penstock.cli.opening import project_of
from penstock.cli.output import moment, print_json, table
from penstock.errors import UsageError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from penstock.access.tokens import Fresh
    from penstock.access.users import Directory, User


def add(options: argparse.Namespace) -> int:
    from penstock.access import administration
    from penstock.access.roles import Role
    from penstock.audit.ledger import present_actor

    fresh = administration.add(
        _engine(options),
        options.user,
        Role(options.role),
        by=present_actor(),
        name=options.name,
        email=options.email,
        key=options.key,
        expires=_span(options.expires),
    )
    return _given(options, fresh)


def list_users(options: argparse.Namespace) -> int:
    from penstock.access.users import directory, users

    engine = _engine(options)
    found, known, now = users(engine), directory(engine), datetime.now(UTC)
    if options.json:
        print_json([_document(user, known) for user in found])
    elif not found:
        print("there are no users: whoever works on this machine may do everything")
        print("  the first one: penstock users add ID --role admin")
    else:
        rows = [
            (
                user.id,
                user.role,
                user.name,
                len(user.usable(now)),
                _key_id(known.key_of(user.id)) or "none",
            )
            for user in found
        ]
        print(table(("user", "role", "name", "tokens", "key"), rows))
    return 0


def show(options: argparse.Namespace) -> int:
    from penstock.access.users import directory, users

    engine = _engine(options)
    user = next((one for one in users(engine) if one.id == options.user), None)
    if user is None:
        raise UsageError(
            f"there is no user {options.user!r}", hint="`penstock users list` shows them"
        )
    said, now = _document(user, directory(engine)), datetime.now(UTC)
    if options.json:
        print_json(said)
        return 0
    print(f"{user.id}: {user.role}{f', {user.name}' if user.name else ''} {user.email}".rstrip())
    print(f"key: {said['key'] or 'none'}")
    rows = [
        (
            token.id,
            ", ".join(sorted(token.scopes)),
            moment(token.issued),
            moment(token.expires) or "never",
            "" if token.usable(now) else "expired",
        )
        for token in user.tokens
    ]
    print(table(("token", "scopes", "issued", "expires", ""), rows))
    return 0


def remove(options: argparse.Namespace) -> int:
    from penstock.access import administration
    from penstock.audit.ledger import present_actor

    engine = _engine(options)
    administration.remove(engine, options.user, by=present_actor(), reason=options.reason)
    return _done(options, {"user": options.user}, f"{options.user} is removed")


def roles(options: argparse.Namespace) -> int:
    from penstock.access import administration
    from penstock.access.roles import MAY, Permission, Role
    from penstock.audit.ledger import present_actor

    engine = _engine(options)
    if options.user is None:
        may = {str(role): [str(one) for one in Permission if one in MAY[role]] for role in Role}
        text = table(("role", "may"), [(role, ", ".join(does)) for role, does in may.items()])
        return _done(options, may, text)
    if options.role is None:
        raise UsageError("no role is given", hint=f"one of {', '.join(Role)}")
    role = Role(options.role)
    administration.change_role(
        engine, options.user, role, by=present_actor(), reason=options.reason
    )
    said = {"user": options.user, "role": role}
    return _done(options, said, f"{options.user} is {role} from now on")


def token(options: argparse.Namespace) -> int:
    from penstock.access import administration
    from penstock.access.roles import Permission
    from penstock.audit.ledger import present_actor

    fresh = administration.issue(
        _engine(options),
        options.user,
        by=present_actor(),
        scopes=frozenset(Permission(one) for one in options.scope or Permission),
        expires=_span(options.expires),
    )
    return _given(options, fresh)


def revoke(options: argparse.Namespace) -> int:
    from penstock.access import administration
    from penstock.audit.ledger import present_actor

    engine = _engine(options)
    user = administration.revoke(engine, options.token, by=present_actor(), reason=options.reason)
    said = {"user": user, "token": options.token}
    return _done(options, said, f"the token {options.token} of {user} is revoked")


def key(options: argparse.Namespace) -> int:
    from penstock.access import administration
    from penstock.access.own_key import make_own_key, place_of
    from penstock.access.present import actor
    from penstock.access.users import directory
    from penstock.audit.ledger import present_actor

    project = project_of(options)
    mine = actor(project).id
    user = options.user or mine
    if options.add:
        administration.add_key(_engine(options), user, options.add, by=present_actor())
        said = {"user": user, "key": options.add}
        return _done(options, said, f"{user} signs with {options.add} from now on")
    everybody = directory(_engine(options))
    known = everybody.key_of(user)
    if everybody.users and everybody.role_of(user) is None:
        raise UsageError(
            f"there is no user {user!r}", hint="set PENSTOCK_TOKEN to be known as yourself"
        )
    if user != mine:
        return _done(options, {"user": user, "key": known}, known or f"{user} has no key")
    key = str(make_own_key(user, new=options.new).verifying)
    print_or = f"{key}\n  the private half is in {place_of(user)}: keep it to yourself"
    if known != key:
        print_or += f"\n  an admin makes it known: penstock users key {user} --add '{key}'"
    return _done(options, {"user": user, "key": key, "known": known == key}, print_or)


def _engine(options: argparse.Namespace) -> Engine:
    from penstock.state.database import open_database

    return open_database(project_of(options))


def _span(text: str | None) -> timedelta | None:
    from penstock.setting_types import parse_duration

    try:
        span = parse_duration(text) if text else None
    except ValueError as error:
        raise UsageError(f"--expires: {error}") from error
    return span


def _given(options: argparse.Namespace, fresh: Fresh) -> int:
    said = {"user": options.user, "token": fresh.text, "id": fresh.id}
    return _done(
        options,
        said,
        f"{fresh.text}\n  is {options.user}'s token {fresh.id}; it is shown this once: "
        "PENSTOCK_TOKEN, or a file that PENSTOCK_TOKEN_FILE names",
    )


def _done(options: argparse.Namespace, said: Any, text: str) -> int:
    print_json(said) if options.json else print(text)
    return 0


def _document(user: User, known: Directory) -> dict[str, Any]:
    return {
        "user": user.id,
        "role": user.role,
        "name": user.name,
        "email": user.email,
        "key": known.key_of(user.id),
        "tokens": [
            {
                "token": token.id,
                "scopes": sorted(token.scopes),
                "issued": token.issued,
                "expires": token.expires,
            }
            for token in user.tokens
        ],
    }


def _key_id(key: str) -> str:
    return key.split("+")[1] if key else ""
