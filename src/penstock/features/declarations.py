"""What a project writes in features.py: entities, sources, views with time windows, services.

The words are Tecton's and Feast's. A declaration is plain data and imports no tool; what can be
known to be wrong from the words alone is refused where it is written.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, get_args

from penstock.features.aggregates import Aggregate, Span
from penstock.features.checks import (
    all_of,
    described,
    listed,
    named,
    of_feast,
    refusal,
    repeated,
    seen,
    span_of,
    typed,
)
from penstock.features.sources import BatchSource, Entity, RequestSource

__all__ = [
    "Aggregate",
    "BatchSource",
    "Entity",
    "FeatureService",
    "FeatureView",
    "OnDemandFeatureView",
    "RequestSource",
    "Selection",
    "batch_feature_view",
    "on_demand_feature_view",
]

Mode = Literal["sql", "arrow", "polars", "pandas"]
ASKED = "event_timestamp"  # the time that is asked about, which Feast has beside the features


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
        named("feature view", self.name)
        what = f"feature view {self.name!r}"
        if not isinstance(self.source, BatchSource):
            raise refusal(
                what,
                f"its source is {seen(self.source)}",
                'write source=BatchSource("name", path="…", timestamp="…")',
            )
        self._check_entities(what)
        self._check_features(what)
        self._check_times(what)
        if self.mode not in get_args(Mode):
            modes = ", ".join(get_args(Mode))
            raise refusal(what, f"mode {self.mode!r} is unknown", f"write one of {modes}")
        if self.transform is not None and not callable(self.transform):
            raise refusal(
                what,
                f"transform is {seen(self.transform)} and not a function",
                "decorate a function with @batch_feature_view(…)",
            )
        described(what, self)

    def _check_entities(self, what: str) -> None:
        entities = listed(what, "entities", self.entities, "entities=[the entity]")
        all_of(
            what, "entities", entities, Entity, 'entities=[Entity("name", join_keys=["column"])]'
        )
        if twice := repeated(key for entity in entities for key in entity.join_keys):
            raise refusal(
                what,
                f"more than one of its entities has the join key {', '.join(twice)}",
                "give each entity columns of its own",
            )
        object.__setattr__(self, "entities", entities)

    def _check_features(self, what: str) -> None:
        lone = self.features if isinstance(self.features, str) else "column"
        features = listed(what, "features", self.features, f"features=[{lone!r}]")
        all_of(what, "features", features, str, 'features=["column"], or aggregates=[…]')
        made = 'aggregates=[Aggregate("column", "sum", window="7d")]'
        aggregates = listed(what, "aggregates", self.aggregates, made)
        all_of(what, "aggregates", aggregates, Aggregate, made)
        object.__setattr__(self, "features", features)
        object.__setattr__(self, "aggregates", aggregates)
        if features and aggregates:
            raise refusal(
                what, "it has both features and aggregates", "make two views of the same source"
            )
        if twice := repeated(self.stated):
            raise refusal(
                what,
                f"more than one feature is called {', '.join(twice)}",
                "give one of them another name: Aggregate(…, name=…)",
            )
        for name in self.stated:
            self.check_name(what, name)

    def check_name(self, what: str, name: str) -> None:
        """Refuses a feature that is called as something beside which it would stand."""
        source = self.source
        roles = dict.fromkeys((key for e in self.entities for key in e.join_keys), "a key")
        roles |= {source.timestamp: "the event time", source.created: "the created time"}
        roles |= {ASKED: "the time that is asked about", "": "nothing"}
        if name in roles:
            raise refusal(
                what,
                f"the feature {name!r} is called as {roles[name]} is",
                "give it another name: Aggregate(…, name=…), or AS in a transformation"
                if self.aggregates or name == ASKED
                else "leave it out: it is there whenever the features are",
            )

    def _check_times(self, what: str) -> None:
        if not self.source.timestamp:
            windowed = [a.name for a in self.aggregates if a.span or a.shift]
            first = next(iter([*windowed, *self.stated]), "a feature")
            raise refusal(
                what,
                f"{first} needs an event time, and its source {self.source.name!r} names none",
                f'write BatchSource("{self.source.name}", …, timestamp="the column")',
            )
        if span_of(what, "ttl", self.ttl) and self.aggregates:
            raise refusal(
                what,
                "a ttl has no meaning for aggregates, whose windows already end",
                "leave ttl out",
            )
        if span_of(what, "resolution", self.resolution) and not self.aggregates:
            raise refusal(what, "it has a resolution but no aggregates", "leave resolution out")
        if self.expected_freshness is not None:
            span_of(what, "expected_freshness", self.expected_freshness)

    @property
    def stated(self) -> tuple[str, ...]:
        """The features that the declaration names; none: all columns of the rows."""
        return tuple(a.name for a in self.aggregates) or tuple(self.features)

    def __getitem__(self, names: Sequence[str]) -> Selection:
        """Some of the features: `view[["a", "b"]]`."""
        return Selection(self, (names,) if isinstance(names, str) else names)


@dataclass(frozen=True)
class Selection:
    """Some features of a view."""

    view: FeatureView
    names: Sequence[str]

    def __post_init__(self) -> None:
        what = f"a selection of feature view {self.view.name!r}"
        example = f'{self.view.name}[["feature"]]'
        names = listed(what, "the selection", self.names, example)
        all_of(what, "it", names, str, example)
        if not names:
            raise refusal(what, "it names no feature", f"write {example}, or the view as it is")
        if twice := repeated(names):
            raise refusal(what, f"it names {', '.join(twice)} twice", "name each feature once")
        if self.view.stated:
            self.require(self.view.stated)
        object.__setattr__(self, "names", names)

    def require(self, known: Sequence[str]) -> None:
        """Refuses what is not among the features that there are."""
        if missing := [name for name in self.names if name not in known]:
            raise refusal(
                f"feature view {self.view.name!r}",
                f"it has no feature {', '.join(missing)}; it has {', '.join(known)}",
                "correct the name where the features are selected",
            )


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
        named("on-demand feature view", self.name)
        what = f"on-demand feature view {self.name!r}"
        sources = _inputs(what, "sources", self.sources, (FeatureView, Selection, RequestSource))
        typed(what, self.schema)
        if not self.schema:
            raise refusal(what, "its schema is empty", 'write schema={"feature": "float64"}')
        for name in self.schema:
            named("feature", name)
        if not inspect.isfunction(self.function):
            raise refusal(
                what,
                f"its function is {seen(self.function)}",
                "decorate a function of a pandas frame with @on_demand_feature_view(…)",
            )
        described(what, self)
        object.__setattr__(self, "sources", sources)


@dataclass(frozen=True)
class FeatureService:
    """What one model sees: views, or some of their features, in the order of its columns."""

    name: str
    features: Sequence[FeatureView | Selection | OnDemandFeatureView | Any]
    owner: str = ""
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        named("feature service", self.name)
        what = f"feature service {self.name!r}"
        kinds = (FeatureView, Selection, OnDemandFeatureView)
        features = _inputs(what, "features", self.features, kinds)
        described(what, self)
        object.__setattr__(self, "features", features)


def _inputs(what: str, setting: str, values: Any, kinds: tuple[type, ...]) -> tuple[Any, ...]:
    """What a service or an on-demand view draws on; Feast's own objects among it."""
    example = f'{setting}=[view, another_view[["feature"]]]'
    found = listed(what, setting, values, example)
    if not found:
        raise refusal(what, f"its {setting} are empty", f"write {example}")
    for value in found:
        if not (isinstance(value, kinds) or of_feast(value)):
            raise refusal(
                what,
                f"{setting} holds {seen(value)}",
                f"write {example}, with the views themselves and not their names",
            )
    return found


def batch_feature_view(
    *, source: BatchSource, mode: Mode = "sql", **settings: Any
) -> Callable[[Callable[..., Any]], FeatureView]:
    """Makes a feature view of a function that transforms rows, each by itself.

    With mode "sql" the function takes the name of the source's relation and returns a query over
    it. With "arrow", "polars" or "pandas" it takes some rows in that form, and returns rows.
    All other arguments are those of `FeatureView`; the view bears the function's name.
    """

    def declare(function: Callable[..., Any]) -> FeatureView:
        named_after = {"name": function.__name__, "description": inspect.getdoc(function) or ""}
        given = {**named_after, **settings}
        return FeatureView(source=source, transform=function, mode=mode, **given)

    return declare


def on_demand_feature_view(
    *, sources: Sequence[Any], schema: Mapping[str, str], **settings: Any
) -> Callable[[Callable[..., Any]], OnDemandFeatureView]:
    """Makes an on-demand feature view of a function over a pandas frame; it bears its name."""

    def declare(function: Callable[..., Any]) -> OnDemandFeatureView:
        named_after = {"name": function.__name__, "description": inspect.getdoc(function) or ""}
        given = {**named_after, **settings}
        return OnDemandFeatureView(sources=sources, schema=schema, function=function, **given)

    return declare
