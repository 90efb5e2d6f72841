"""What a project writes in features.py: entities, sources, views with time windows, services.

The words are Tecton's and Feast's. A declaration is plain data and imports no tool; what can be
known to be wrong from the words alone is refused where it is written.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, get_args

from penstock.errors import ProjectError
from penstock.features.definition import Function
from penstock.settings import parse_duration

Mode = Literal["sql", "arrow", "polars", "pandas"]
Span = str | timedelta
LIFETIME = "lifetime"
FUNCTIONS = get_args(Function)


def _refuse(what: str, problem: str, hint: str) -> ProjectError:
    return ProjectError(f"{what}: {problem}", hint=hint)


def _named(kind: str, name: str) -> None:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or "__" in name:
        raise _refuse(
            f"{kind} {name!r}",
            "this is not a name",
            "write letters, digits and single underscores, and begin with a letter",
        )


def _span(what: str, value: Span) -> timedelta:
    try:
        span = parse_duration(value)
    except ValueError as error:
        raise _refuse(what, str(error), 'write "7d", "12h", or "lifetime" for a window') from None
    if not isinstance(span, timedelta) or span < timedelta(0):
        raise _refuse(what, f"{value!r} is not a duration", 'write "7d", "12h", "30m" or "90s"')
    return span


@dataclass(frozen=True)
class Entity:
    """Whom features are about: the columns that identify it. Their type is that of the source."""

    name: str
    join_keys: Sequence[str] = ()  # none given: a column called as the entity is
    description: str = ""
    owner: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _named("entity", self.name)
        if isinstance(self.join_keys, str):
            raise _refuse(
                f"entity {self.name!r}",
                f"join_keys is the text {self.join_keys!r}",
                f"write join_keys=[{self.join_keys!r}]",
            )
        object.__setattr__(self, "join_keys", tuple(self.join_keys) or (self.name,))


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
        _named("source", self.name)
        if bool(self.path) == bool(self.query):
            raise _refuse(
                f"source {self.name!r}", "it needs a path or a query, and one only", "give one"
            )
        if self.created and not self.timestamp:
            raise _refuse(
                f"source {self.name!r}",
                "it has `created` but no `timestamp`",
                "name the column that says when a row happened in `timestamp`",
            )


@dataclass(frozen=True)
class RequestSource:
    """Values that come with the request: column -> Arrow type."""

    name: str
    schema: Mapping[str, str]

    def __post_init__(self) -> None:
        _named("request source", self.name)
        if not self.schema:
            raise _refuse(f"request source {self.name!r}", "its schema is empty", "list its values")


@dataclass(frozen=True)
class Aggregate:
    """A function of a column over a time window (t - offset - window, t - offset].

    `function` is count, sum, mean, min, max, std (of a sample), last, first, count_distinct or
    last_distinct(n), the newest first. `column` "*" counts rows. `window` is "7d", "12h" or
    "lifetime". Nulls and NaN are missing values; of an empty window count and sum are 0, all
    others null.
    """

    column: str
    function: str
    window: Span = LIFETIME
    name: str = ""
    offset: Span = timedelta(0)
    description: str = ""

    def __post_init__(self) -> None:
        label, n = self.kind
        what = f"aggregate {self.function!r} of {self.column!r}"
        if label not in FUNCTIONS or (label == "last_distinct") != (n > 0):
            raise _refuse(
                what,
                "there is no such function",
                f"write one of {', '.join(FUNCTIONS[:-1])} or last_distinct(n) with n >= 1",
            )
        if self.column == "*" and label != "count":
            raise _refuse(what, "only rows can be counted without a column", "name a column")
        if self.window != LIFETIME and _span(what, self.window) == timedelta(0):
            raise _refuse(what, "its window is empty", 'write a window such as "7d"')
        _span(what, self.offset)
        object.__setattr__(self, "name", self.name or self._default_name())
        _named("feature", self.name)

    @property
    def kind(self) -> tuple[str, int]:
        """The function's name, and the n of last_distinct(n)."""
        match = re.fullmatch(r"(\w+)\((\d+)\)", self.function.replace(" ", ""))
        return (match[1], int(match[2])) if match else (self.function, 0)

    @property
    def span(self) -> timedelta | None:
        return None if self.window == LIFETIME else _span(self.name, self.window)

    @property
    def shift(self) -> timedelta:
        return _span(self.name, self.offset)

    def _default_name(self) -> str:
        label, n = self.kind
        words = [] if self.column == "*" else [self.column]
        words += [label + (f"_{n}" if n else ""), _brief(self.window)]
        return "_".join([*words, *(["before", _brief(self.offset)] if self.shift else [])])


def _brief(span: Span) -> str:
    """ "7d" as it stands; a timedelta in its largest whole unit."""
    if isinstance(span, str):
        return span.replace(" ", "").replace(".", "_")
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        if span % timedelta(seconds=length) == timedelta(0):
            return f"{span // timedelta(seconds=length)}{unit}"
    return f"{span // timedelta(milliseconds=1)}ms"


@dataclass(frozen=True)
class FeatureView:
    """Features of entities: the latest row of a source, or aggregates of its rows.

    `features` names columns of the latest row (all of them where it is left out), which count for
    `ttl`. `aggregates` slide over the rows; `resolution` may round their left edges down, online
    as offline. `transform` makes the rows, each by itself.
    """

    name: str
    source: BatchSource
    entities: Sequence[Entity] = ()
    features: Sequence[str] = ()
    aggregates: Sequence[Aggregate] = ()
    ttl: Span = timedelta(0)  # 0: no limit
    resolution: Span = timedelta(0)
    expected_freshness: Span | None = None
    online: bool = True
    owner: str = ""
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    transform: Callable[..., Any] | None = None
    mode: Mode = "sql"

    def __post_init__(self) -> None:
        what = f"feature view {self.name!r}"
        _named("feature view", self.name)
        if self.features and self.aggregates:
            raise _refuse(
                what, "it has both features and aggregates", "make two views of the same source"
            )
        names = [a.name for a in self.aggregates] or list(self.features)
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise _refuse(
                what,
                f"more than one feature is called {', '.join(repeated)}",
                "give one of them another name: Aggregate(…, name=…)",
            )
        if not self.source.timestamp:
            windowed = next((a.name for a in self.aggregates if a.span or a.shift), names[:1])
            raise _refuse(
                what,
                f"{windowed or 'a feature'} needs an event time, and its source "
                f"{self.source.name!r} names none",
                f'write BatchSource("{self.source.name}", …, timestamp="the column")',
            )
        if self.aggregates and _span(what, self.ttl):
            raise _refuse(
                what,
                "a ttl has no meaning for aggregates, whose windows already end",
                "leave ttl out",
            )
        if _span(what, self.resolution) and not self.aggregates:
            raise _refuse(what, "it has a resolution but no aggregates", "leave resolution out")
        if self.mode not in get_args(Mode):
            raise _refuse(what, f"mode {self.mode!r} is unknown", f"write one of {get_args(Mode)}")
        if self.expected_freshness is not None:
            _span(what, self.expected_freshness)

    def __getitem__(self, names: Sequence[str]) -> Selection:
        """Some of the features: `view[["a", "b"]]`."""
        return Selection(self, (names,) if isinstance(names, str) else tuple(names))


@dataclass(frozen=True)
class Selection:
    """Some features of a view."""

    view: FeatureView
    names: tuple[str, ...]


@dataclass(frozen=True)
class OnDemandFeatureView:
    """Features computed when they are asked for, from other features and the request.

    The function takes a pandas frame of all inputs, one row a request, and returns one with the
    columns of `schema`.
    """

    name: str
    sources: Sequence[FeatureView | Selection | RequestSource | Any]
    schema: Mapping[str, str]  # feature -> Arrow type
    function: Callable[..., Any]
    owner: str = ""
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _named("on-demand feature view", self.name)
        if not self.schema:
            raise _refuse(
                f"on-demand feature view {self.name!r}", "its schema is empty", "list its features"
            )


@dataclass(frozen=True)
class FeatureService:
    """What one model sees: views, or some of their features, in the order of its columns."""

    name: str
    features: Sequence[FeatureView | Selection | OnDemandFeatureView | Any]
    owner: str = ""
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _named("feature service", self.name)
        if not self.features:
            raise _refuse(f"feature service {self.name!r}", "it has no features", "list its views")


def batch_feature_view(
    *, source: BatchSource, mode: Mode = "sql", **settings: Any
) -> Callable[[Callable[..., Any]], FeatureView]:
    """Makes a feature view of a function that transforms rows, each by itself.

    With mode "sql" the function takes the name of the source's relation and returns a query over
    it. With "arrow", "polars" or "pandas" it takes some rows in that form, and returns rows.
    All other arguments are those of `FeatureView`; the view bears the function's name.
    """

    def declare(function: Callable[..., Any]) -> FeatureView:
        settings.setdefault("name", function.__name__)
        settings.setdefault("description", inspect.getdoc(function) or "")
        return FeatureView(source=source, transform=function, mode=mode, **settings)

    return declare


def on_demand_feature_view(
    *, sources: Sequence[Any], schema: Mapping[str, str], **settings: Any
) -> Callable[[Callable[..., Any]], OnDemandFeatureView]:
    """Makes an on-demand feature view of a function over a pandas frame; it bears its name."""

    def declare(function: Callable[..., Any]) -> OnDemandFeatureView:
        settings.setdefault("name", function.__name__)
        settings.setdefault("description", inspect.getdoc(function) or "")
        return OnDemandFeatureView(sources=sources, schema=schema, function=function, **settings)

    return declare
