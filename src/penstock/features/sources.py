"""Whom features are about, and where their rows come from, as features.py declares it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from penstock.features.checks import (
    all_of,
    described,
    listed,
    named,
    refusal,
    repeated,
    seen,
    typed,
)


@dataclass(frozen=True)
class Entity:
    """Whom features are about: the columns that identify it. Their type is that of the source."""

    name: str
    join_keys: Sequence[str] = ()  # none given: a column called as the entity is
    description: str = ""
    owner: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        named("entity", self.name)
        what = f"entity {self.name!r}"
        lone = self.join_keys if isinstance(self.join_keys, str) else "column"
        example = f"join_keys=[{lone!r}]"
        keys = listed(what, "join_keys", self.join_keys, example) or (self.name,)
        all_of(what, "join_keys", keys, str, example)
        if twice := repeated(keys):
            raise refusal(what, f"join_keys names {', '.join(twice)} twice", "name each once")
        described(what, self)
        object.__setattr__(self, "join_keys", keys)


@dataclass(frozen=True)
class BatchSource:
    """Rows at rest: a Parquet file, a folder of them, an S3 URI, or a query in DuckDB's SQL.

    `timestamp` is the column that says when a row happened; `created`, where there is one, says
    since when it is known, so that late rows do not leak into the past.
    """

    name: str
    path: str = ""
    query: str = ""
    timestamp: str = ""
    created: str = ""
    schema: Mapping[str, str] | None = None  # column -> Arrow type; none: read from the source
    description: str = ""
    owner: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        named("source", self.name)
        what = f"source {self.name!r}"
        for setting in ("path", "query", "timestamp", "created"):
            if not isinstance(value := getattr(self, setting), str):
                raise refusal(what, f"{setting} is {seen(value)}", f'write {setting}="…"')
        if bool(self.path) == bool(self.query):
            raise refusal(
                what,
                "it has both a path and a query" if self.path else "it has no path and no query",
                'write path="data/rows.parquet" or query="SELECT …"',
            )
        if self.created and not self.timestamp:
            raise refusal(
                what,
                "it has `created` but no `timestamp`",
                "name the column that says when a row happened in `timestamp`",
            )
        if self.schema is not None:
            typed(what, self.schema)
        described(what, self)


@dataclass(frozen=True)
class RequestSource:
    """Values that come with the request: column -> Arrow type."""

    name: str
    schema: Mapping[str, str]

    def __post_init__(self) -> None:
        named("request source", self.name)
        what = f"request source {self.name!r}"
        typed(what, self.schema)
        if not self.schema:
            raise refusal(what, "its schema is empty", 'write schema={"basket_usd": "float64"}')
