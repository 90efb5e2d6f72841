"""Who asks over HTTP: a user by their token, or a program by its key of `[serving] keys`.

Once there are users, whoever has neither may not even look; and no key approves: people do.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Engine

from penstock.access.present import authenticated, permitted
from penstock.access.roles import Permission
from penstock.access.users import Directory, directory
from penstock.audit.entries import Actor
from penstock.errors import AccessError
from penstock.serving.access import ADMIN, Access, require_keys, token_of
from penstock.serving.http_server.messages import Request, RequestError
from penstock.settings import ServingSettings


class Callers:
    """Tells callers by what they bring."""

    def __init__(self, settings: ServingSettings, engine: Engine, host: str) -> None:
        self._keys = Access(key.get_secret_value() for key in settings.keys)
        self._engine = engine
        if directory(engine).began is None:
            require_keys(settings.model_copy(update={"host": host}))

    def actor(self, request: Request, permission: Permission, scope: str = ADMIN) -> Actor | None:
        """Who may do what takes a permission, or of a key a scope; None: anybody may.

        Raises `RequestError` 401 for who is not known, 403 for who may not.
        """
        known = directory(self._engine)
        if known.began is None:
            return self._with_key(request, scope)
        text = token_of(request).decode("latin-1")
        if not self._is_users(known, text):
            if permission is Permission.APPROVE:
                raise RequestError(403, "a key approves nothing: a user does, with their token")
            return self._with_key(request, scope)
        try:
            return permitted(known, text, permission, datetime.now(UTC))
        except AccessError as error:
            raise RequestError(403, f"{error.message} ({error.hint})") from error

    def _is_users(self, known: Directory, text: str) -> bool:
        try:
            authenticated(known, text, datetime.now(UTC))
        except AccessError as error:
            if not text or self._keys.open:
                raise RequestError(401, f"{error.message}: Authorization: Bearer TOKEN") from error
            return False
        return True

    def _with_key(self, request: Request, scope: str) -> Actor | None:
        caller = self._keys.caller(request, scope)
        return Actor(caller.name, authenticated="key") if caller.name else None
