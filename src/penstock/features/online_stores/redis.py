"""Rows in Redis: for services on several machines that read the same features.

In feature_store.yaml:

    online_store:
      type: penstock.features.online_stores.redis.RedisOnlineStore
      url: redis://cache:6379/0     # rediss:// for TLS
      timeout: 1.0                  # seconds that an answer may take

A password belongs in the environment: write `url: ${MY_REDIS_URL}`, or leave it out of the URL and
set PENSTOCK_FEATURES_REDIS_PASSWORD. One server, or one with replicas; not a cluster, over which a
script cannot reach. Loaded as a Feast plugin only.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Literal

from feast.repo_config import FeastConfigBaseModel, RepoConfig
from pydantic import SecretStr

from penstock.errors import PenstockError, ResourceError, SettingsError
from penstock.features.online_stores.backend import Combine, Row
from penstock.features.online_stores.store import PackedOnlineStore

PASSWORD = "PENSTOCK_FEATURES_REDIS_PASSWORD"
KEYS_A_SCRIPT = 500  # Redis serves nobody else while a script runs
KEYS_A_READ = 5_000

# Sets each key whose value still has the SHA-1 given ("" for none); answers with those that lost.
COMPARE_AND_SET = """
local lost = {}
for i, key in ipairs(KEYS) do
  local there = redis.call('GET', key)
  local digest = there and redis.sha1hex(there) or ''
  if digest == ARGV[2 * i - 1] then
    redis.call('SET', key, ARGV[2 * i])
  else
    lost[#lost + 1] = i - 1
  end
end
return lost
"""


class RedisOnlineStoreConfig(FeastConfigBaseModel):
    """`url`: redis:// or rediss://; `timeout`: seconds that connecting and an answer may take."""

    type: Literal["penstock.features.online_stores.redis.RedisOnlineStore"] = (
        "penstock.features.online_stores.redis.RedisOnlineStore"
    )
    url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    timeout: float = 1.0


class RedisOnlineStore(PackedOnlineStore):
    """One packed row an entity and view in Redis."""

    def open_rows(self, config: RepoConfig) -> RedisRows:
        settings = config.online_store
        return RedisRows(settings.url.get_secret_value(), settings.timeout)


class RedisRows:
    """A `RowStore` on a Redis server."""

    remote = True

    def __init__(self, url: str, timeout: float) -> None:
        self._url, self._timeout = url, timeout
        self._prefixes: dict[str, bytes] = {}

    @cached_property
    def _client(self) -> Any:
        import redis

        password = os.environ.get(PASSWORD)
        given = {"password": password} if password else {}
        try:
            return redis.Redis.from_url(
                self._url,
                socket_timeout=self._timeout,
                socket_connect_timeout=self._timeout,
                **given,
            )
        except ValueError as error:
            raise SettingsError(
                "the online store's url is not that of a Redis server",
                hint="write redis://HOST:PORT/DATABASE, or rediss:// for TLS",
            ) from error

    @cached_property
    def _compare_and_set(self) -> Any:
        return self._client.register_script(COMPARE_AND_SET)

    def read_many(self, asked: Sequence[tuple[str, Sequence[bytes | None]]]) -> list[list[Row]]:
        names = [
            self._prefix(space) + key for space, keys in asked for key in keys if key is not None
        ]
        values = iter(self._values(names))
        return [[None if key is None else next(values) for key in keys] for _, keys in asked]

    def merge(self, space: str, keys: Sequence[bytes], combine: Combine) -> None:
        prefix = self._prefix(space)
        left = list(range(len(keys)))
        while left:
            lost: list[int] = []
            old = self._values([prefix + keys[i] for i in left])
            new = combine(left, old)
            changed = [
                (i, _digest(before), row)
                for i, before, row in zip(left, old, new, strict=True)
                if row is not None
            ]
            for start in range(0, len(changed), KEYS_A_SCRIPT):
                part = changed[start : start + KEYS_A_SCRIPT]
                names = [prefix + keys[i] for i, _, _ in part]
                with self._asking():
                    missed = self._compare_and_set(
                        keys=names, args=[item for _, old, row in part for item in (old, row)]
                    )
                lost += [part[place][0] for place in missed]
            left = lost

    def delete(self, space: str, keys: Sequence[bytes]) -> int:
        names = [self._prefix(space) + key for key in keys]
        with self._asking():
            return int(self._client.unlink(*names)) if names else 0

    def drop(self, space: str) -> None:
        pattern = re.sub(rb"([\\*?\[\]^-])", rb"\\\1", self._prefix(space)) + b"*"
        with self._asking():
            self._client.delete(self._note(space))
            found: list[bytes] = []
            for name in self._client.scan_iter(match=pattern, count=1_000):
                found.append(name)
                if len(found) >= 1_000:
                    self._client.unlink(*found)
                    found.clear()
            if found:
                self._client.unlink(*found)

    def require_lasting(self) -> None:
        """Refuses a server that evicts keys when its memory is full."""
        import redis

        with self._asking(), contextlib.suppress(redis.exceptions.NoPermissionError):
            about = self._client.info("memory")
            policy = str(about.get("maxmemory_policy", ""))
            if about.get("maxmemory") and policy.startswith("allkeys"):
                raise ResourceError(
                    f"Redis at {self._address} deletes rows by itself when its memory is full "
                    f"(maxmemory-policy {policy}), and windows over what is left would be wrong",
                    hint="set maxmemory-policy noeviction, or keep the features elsewhere",
                )

    def get_note(self, space: str) -> Row:
        with self._asking():
            note: Row = self._client.get(self._note(space))
            return note

    def put_note(self, space: str, note: bytes) -> None:
        with self._asking():
            self._client.set(self._note(space), note)

    def teardown(self) -> None:
        """Nothing more than the views, which are dropped: others may use the server too."""
        self._client.close()

    def _values(self, names: Sequence[bytes]) -> list[Row]:
        found: list[Row] = []
        with self._asking():
            for start in range(0, len(names), KEYS_A_READ):
                found += self._client.mget(names[start : start + KEYS_A_READ])
        return found

    def _prefix(self, space: str) -> bytes:
        if space not in self._prefixes:
            self._prefixes[space] = f"penstock:rows:{space}:".encode()
        return self._prefixes[space]

    def _note(self, space: str) -> bytes:
        return f"penstock:view:{space}".encode()

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        import redis

        try:
            yield
        except PenstockError:
            raise
        except redis.TimeoutError as error:
            raise ResourceError(
                f"Redis at {self._address} did not answer within {self._timeout:g} s",
                hint="is it overloaded? `timeout` in feature_store.yaml may be longer",
            ) from error
        except redis.RedisError as error:
            raise ResourceError(
                f"Redis at {self._address} refused: {self._told(error)}",
                hint="is it running, and are the address and the password right?",
            ) from error

    @property
    def _address(self) -> str:
        """Host, port and database, without user or password."""
        about = self._client.connection_pool.connection_kwargs
        where = about.get("path") or f"{about.get('host')}:{about.get('port')}"
        return f"{where}/{about.get('db', 0)}"

    def _told(self, error: Exception) -> str:
        password = self._client.connection_pool.connection_kwargs.get("password")
        return str(error).replace(password, "***") if password else str(error)


def _digest(row: Row) -> str:
    """As Redis's own `sha1hex`: it tells changes apart, and protects nothing."""
    return "" if row is None else hashlib.sha1(row, usedforsecurity=False).hexdigest()
