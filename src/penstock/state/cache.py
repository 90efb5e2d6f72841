"""What each step made of which inputs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, delete, select

from penstock.state.tables import cache, upsert


@dataclass(frozen=True)
class CacheEntry:
    step: str
    key: str
    inputs: dict[str, str]
    record: dict[str, Any]
    run_id: str
    created_at: datetime


class StepCache:
    """Results by the digest of their inputs; the newest of a step tells `why` what changed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def get(self, step: str, key: str) -> CacheEntry | None:
        return self._first(select(cache).where(cache.c.step == step, cache.c.key == key))

    def latest(self, step: str) -> CacheEntry | None:
        newest = cache.c.created_at.desc()
        return self._first(select(cache).where(cache.c.step == step).order_by(newest).limit(1))

    def all(self, step: str = "") -> list[CacheEntry]:
        """What is remembered of one step, or of every one, oldest first."""
        query = select(cache).order_by(cache.c.created_at)
        with self._engine.connect() as connection:
            rows = connection.execute(query.where(cache.c.step == step) if step else query).all()
        return [CacheEntry(**row._mapping) for row in rows]

    def put(self, entry: CacheEntry) -> None:
        with self._engine.begin() as connection:
            upsert(connection, cache, vars(entry))

    def forget(self, step: str, key: str | None = None) -> None:
        """Drops one entry, or all of a step."""
        query = delete(cache).where(cache.c.step == step)
        with self._engine.begin() as connection:
            connection.execute(query if key is None else query.where(cache.c.key == key))

    def _first(self, query: Any) -> CacheEntry | None:
        with self._engine.connect() as connection:
            row = connection.execute(query).first()
        return None if row is None else CacheEntry(**row._mapping)
