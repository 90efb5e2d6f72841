"""Who may ask: keys with scopes, and how often. Decisions are pure; time is passed in.

A key is given as `NAME:SCOPES:TOKEN`, the scopes joined by `+`: `shop:predict+feedback:8f3…`. Only
the SHA-256 of a token is kept. Without keys everybody may do everything, which a gateway that
listens beyond this machine refuses unless `anonymous` is set.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from penstock.errors import SettingsError
from penstock.serving.http_server.messages import Request, RequestError
from penstock.settings import ServingSettings

PREDICT, FEEDBACK, PIN, ADMIN = "predict", "feedback", "pin", "admin"
ALERTS, TRIGGERS = "alerts", "triggers"  # what the webhooks beside the controller take
SCOPES = frozenset({PREDICT, FEEDBACK, PIN, ALERTS, TRIGGERS, ADMIN})
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
MOST_CLIENTS = 10_000  # whose rates are remembered


@dataclass(frozen=True)
class Caller:
    """Whoever sent a request."""

    name: str
    scopes: frozenset[str]


ANYBODY = Caller("", SCOPES)


class Access:
    """Tells callers by their keys."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._callers: dict[bytes, Caller] = {}
        for number, key in enumerate(keys, 1):
            name, scopes, token = _parts(key, number)
            digest = sha256(token.encode()).digest()
            if digest in self._callers:
                first = self._callers[digest].name
                raise SettingsError(
                    f"the keys {first} and {name} of [serving] keys have one token",
                    hint="give each of them a token of its own",
                )
            self._callers[digest] = Caller(name, scopes)

    @property
    def open(self) -> bool:
        """Whether no key is needed."""
        return not self._callers

    def caller(self, request: Request, scope: str) -> Caller:
        """Raises `RequestError` 401 without a known key, 403 for one without the scope.

        A token is looked up by its digest and the digests are compared in constant time, so that
        the time of an answer says nothing about a token.
        """
        if not self._callers:
            return ANYBODY
        digest = sha256(token_of(request)).digest()
        found = None
        for known, caller in self._callers.items():
            if hmac.compare_digest(known, digest):
                found = caller
        if found is None:
            raise RequestError(401, "a key is needed: Authorization: Bearer TOKEN, or X-API-Key")
        if scope not in found.scopes and ADMIN not in found.scopes:
            raise RequestError(403, f"the key {found.name!r} has not the scope {scope!r}")
        return found


class RateLimit:
    """A bucket of tokens for each caller: `burst` at once, `rate` a second in the long run."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._buckets: dict[str, tuple[float, float]] = {}  # tokens left, and when that was

    def take(self, who: str, now: float) -> float:
        """0.0 where the request is within the limit; else the seconds until it would be."""
        if self._rate <= 0:
            return 0.0
        left, since = self._buckets.pop(who, (self._burst, now))
        # A clock that goes back takes nothing away.
        left = min(self._burst, left + max(now - since, 0.0) * self._rate)
        allowed = left >= 1.0
        self._buckets[who] = (left - 1.0 if allowed else left, now)
        if len(self._buckets) > MOST_CLIENTS:  # the one not heard of for longest
            del self._buckets[next(iter(self._buckets))]
        return 0.0 if allowed else (1.0 - left) / self._rate


class TooOftenError(RequestError):
    """More requests than [serving] rate_limit lets through; the next would be in `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(429, "too many requests")
        self.seconds = seconds


class Admission:
    """What every request for an answer passes, over HTTP and gRPC alike."""

    def __init__(self, access: Access, limit: RateLimit) -> None:
        self._access = access
        self._limit = limit

    def admit(self, request: Request, scope: str, now: float) -> Caller:
        """`now`: seconds of a monotonic clock.

        Raises `RequestError` as `Access.caller`, and `TooOftenError`. Without a key, the address
        that a request came from is who sent it.
        """
        caller = self._access.caller(request, scope)
        if wait := self._limit.take(caller.name or request.client, now):
            raise TooOftenError(wait)
        return caller


def require_keys(settings: ServingSettings) -> None:
    """Raises `SettingsError` for an endpoint that would be open to the network."""
    if settings.host not in LOOPBACK and not settings.keys and not settings.anonymous:
        raise SettingsError(
            f"[serving] host is {settings.host}, and no keys are set: anybody could ask",
            hint="set PENSTOCK_SERVING_KEYS=NAME:predict:TOKEN, or [serving] anonymous = true",
        )


def _parts(key: str, number: int) -> tuple[str, frozenset[str], str]:
    name, _, rest = key.partition(":")
    scopes, _, token = rest.partition(":")
    named = frozenset(scopes.split("+"))
    if not name or not token or not named <= SCOPES:
        raise SettingsError(
            # By its place alone: any of its parts may be the token.
            f"key {number} of [serving] keys is not NAME:SCOPES:TOKEN",
            hint=f"scopes are {', '.join(sorted(SCOPES))}, joined by +",
        )
    return name, named, token


def token_of(request: Request) -> bytes:
    """What a request brings to say whose it is."""
    bearer = request.headers.get(b"authorization", b"")
    if bearer[:7].lower() == b"bearer ":
        return bearer[7:].strip()
    return request.headers.get(b"x-api-key", b"")


def headers_with(settings: ServingSettings, scope: str) -> dict[str, str]:
    """What Penstock's own requests bring to say that they may do something."""
    token = token_with(settings, scope)
    return {"Authorization": f"Bearer {token}"} if token else {}


def token_with(settings: ServingSettings, scope: str) -> str:
    """The token of a key that may do something, for Penstock's own requests; empty: none is set.

    Raises `SettingsError` when keys are set, and none has the scope.
    """
    for number, key in enumerate(settings.keys, start=1):
        _, scopes, token = _parts(key.get_secret_value(), number)
        if scope in scopes or ADMIN in scopes:
            return token
    if settings.keys:
        raise SettingsError(
            f"no key of [serving] keys has the scope {scope!r}",
            hint=f"add NAME:{scope}:TOKEN to PENSTOCK_SERVING_KEYS",
        )
    return ""
