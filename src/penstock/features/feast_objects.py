"""From definitions to ordinary Feast objects, which Feast's SDK, CLI, UI and server work on.

A view's definition travels with it as a tag. Events are pushed to a view of raw rows beside it,
since Feast takes from a push only the columns that a view has as features.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from penstock.errors import ProjectError
from penstock.features.code import standalone
from penstock.features.compile import view_definitions
from penstock.features.declarations import (
    Entity,
    FeatureService,
    FeatureView,
    OnDemandFeatureView,
    RequestSource,
    Selection,
)
from penstock.features.declared import declared_in
from penstock.features.definition import (
    DEFINITION_TAG,
    EVENTS_SUFFIX,
    FEEDS_TAG,
    ViewDefinition,
)
from penstock.features.feast_names import each_once, plain_feast, require_apart
from penstock.features.feast_types import feast_type, field
from penstock.records import Column

KINDS = {
    "view": "feature view",
    "service": "feature service",
    "entity": "entity",
    "source": "source",
    "request": "request source",
}


@dataclass(frozen=True)
class Compiled:
    """What a module declares: the definitions by name, and all of it as Feast objects."""

    definitions: Mapping[str, ViewDefinition]
    objects: tuple[Any, ...]


def compiled(module: ModuleType, root: Path) -> Compiled:
    """The declarations of a module and the Feast objects beside them, as Feast objects.

    Raises `ProjectError` where a declaration and its source disagree.
    """
    definitions = view_definitions(module, root)
    own = plain_feast(module, root)
    builder = _Builder(definitions, root)
    declared = declared_in(module)
    for value in (*declared.views, *declared.on_demand, *declared.services):
        builder.feast(value)
    return Compiled(definitions, each_once((*own, *builder.made())))


class _Builder:
    """Makes the Feast object of each declaration once."""

    def __init__(self, definitions: Mapping[str, ViewDefinition], root: Path) -> None:
        self._definitions = definitions
        self._root = root
        self._made: dict[tuple[str, str], Any] = {}

    def made(self) -> Iterable[Any]:
        return self._made.values()

    def feast(self, value: Any) -> Any:
        """What a Feast service or on-demand view would take: plain Feast objects as they are."""
        if isinstance(value, Selection):
            return self._selected(value)
        if isinstance(value, RequestSource):
            return self._once("request", value.name, lambda: _request_source(value))
        if isinstance(value, FeatureView):
            return self._once("view", value.name, lambda: self._view(value))
        if isinstance(value, OnDemandFeatureView):
            return self._once("view", value.name, lambda: self._on_demand(value))
        if isinstance(value, FeatureService):
            return self._once("service", value.name, lambda: self._service(value))
        return value

    def _once(self, kind: str, name: str, make: Callable[[], Any]) -> Any:
        from feast.errors import FeastError

        if (kind, name) not in self._made:
            try:
                self._made[kind, name] = make()
            except (ValueError, TypeError, AssertionError, FeastError) as error:
                raise ProjectError(
                    f"{KINDS[kind]} {name!r}: Feast refuses it: {error}",
                    hint="correct the declaration in features.py",
                ) from error
        return self._made[kind, name]

    def _selected(self, selection: Selection) -> Any:
        selection.require([c.name for c in self._definitions[selection.view.name].features])
        return self.feast(selection.view)[list(selection.names)]

    def _view(self, view: FeatureView) -> Any:
        from feast import FeatureView as FeastView

        definition = self._definitions[view.name]
        entities = [e for entity in view.entities for e in self._entities(entity, definition)]
        pushed_raw = bool(definition.aggregates or definition.transformation)
        push = self._push_source(definition)
        if pushed_raw:
            self._once(
                "view", view.name + EVENTS_SUFFIX, lambda: _events(definition, entities, push)
            )
        about = {a.name: a.description for a in view.aggregates}
        return FeastView(
            name=view.name,
            entities=entities,
            ttl=definition.ttl,
            schema=[field(c, about) for c in (*definition.keys, *definition.features)],
            source=self._batch_source(definition) if pushed_raw else push,
            online=definition.online,
            owner=definition.owner,
            description=definition.description,
            tags={**definition.tags, DEFINITION_TAG: definition.model_dump_json()},
        )

    def _entities(self, entity: Entity, definition: ViewDefinition) -> list[Any]:
        """One for each join key, as Feast's entities have one only."""
        from feast import Entity as FeastEntity

        kinds = {key.name: feast_type(key.type).to_value_type() for key in definition.keys}

        def make(name: str, key: str) -> Any:
            return FeastEntity(
                name=name,
                join_keys=[key],
                value_type=kinds[key],
                description=entity.description,
                owner=entity.owner,
                tags=dict(entity.tags),
            )

        single = len(entity.join_keys) == 1
        names = {key: entity.name if single else f"{entity.name}_{key}" for key in kinds}
        made = [
            self._once("entity", names[key], partial(make, names[key], key))
            for key in entity.join_keys
        ]
        for one, key in zip(made, entity.join_keys, strict=True):
            self._require_alike(one, key, kinds[key], entity, definition)
        return made

    def _require_alike(
        self, made: Any, key: str, kind: Any, entity: Entity, definition: ViewDefinition
    ) -> None:
        """Feast gives an entity one join key and one type, whatever the view."""
        others = [o for o in self._definitions.values() if o.name != definition.name]
        if made.value_type != kind:
            there = {c.name: (o.name, c.type) for o in reversed(others) for c in o.keys}
            here = {c.name: c.type for c in definition.keys}
            view, other = there.get(key, ("another view", made.value_type.name.lower()))
            raise ProjectError(
                f"feature view {definition.name!r}: the key {key!r} of entity {entity.name!r} is "
                f"{here[key]}, and {other} in {view!r}",
                hint="cast it in the source or a transformation: an entity has one type",
            )
        if made.join_key != key:
            raise ProjectError(
                f"feature view {definition.name!r}: entity {entity.name!r} has the join key "
                f"{key!r}, which Feast knows as the entity {made.name!r} with the join key "
                f"{made.join_key!r}",
                hint="give one of the two entities another name",
            )

    def _batch_source(self, definition: ViewDefinition) -> Any:
        from feast import FileSource

        source = definition.source
        return self._once(
            "source",
            source.name,
            lambda: FileSource(
                name=source.name,
                path=_location(definition, self._root),
                timestamp_field=source.timestamp,
                created_timestamp_column=source.created,
            ),
        )

    def _push_source(self, definition: ViewDefinition) -> Any:
        from feast import PushSource

        name = push_source_name(definition.source.name)
        batch = self._batch_source(definition)
        return self._once("source", name, lambda: PushSource(name=name, batch_source=batch))

    def _on_demand(self, view: OnDemandFeatureView) -> Any:
        from feast import OnDemandFeatureView as FeastOnDemand

        return FeastOnDemand(
            name=view.name,
            sources=[self.feast(source) for source in view.sources],
            schema=[field(Column(name=n, type=t)) for n, t in view.schema.items()],
            udf=_by_value(view.function),
            udf_string=_source_text(view),
            mode="pandas",
            owner=view.owner,
            description=view.description,
            tags=dict(view.tags),
        )

    def _service(self, service: FeatureService) -> Any:
        from feast import FeatureService as FeastService

        features = [self.feast(view) for view in service.features]
        require_apart(service.name, features)
        return FeastService(
            name=service.name,
            features=features,
            owner=service.owner,
            description=service.description,
            tags=dict(service.tags),
        )


def _source_text(view: OnDemandFeatureView) -> str:
    what = f"on-demand feature view {view.name!r}"
    try:
        return standalone(view.function)
    except OSError as error:
        raise ProjectError(
            f"{what}: the text of its function cannot be found",
            hint="write it as a function in features.py",
        ) from error
    except ProjectError as error:
        raise ProjectError(f"{what}, its function: {error.message}", hint=error.hint) from error


def push_source_name(source: str) -> str:
    """The Feast push source beside a batch source."""
    return f"{source}_push"


def _events(definition: ViewDefinition, entities: list[Any], push: Any) -> Any:
    """The view that events are pushed to: the source's own columns."""
    from feast import FeatureView as FeastView

    source = definition.source
    columns = {column.name: column for column in source.columns}
    needed = {*(key.name for key in definition.keys), *definition.inputs}
    if definition.transformation:
        needed = set(columns)
    needed -= {source.timestamp, source.created}
    return FeastView(
        name=definition.name + EVENTS_SUFFIX,
        entities=[entity for entity in entities if entity.join_key in columns],
        schema=[field(column) for name, column in columns.items() if name in needed],
        source=push,
        online=False,
        owner=definition.owner,
        description=f"Rows of {source.name}, as they are pushed to {definition.name}",
        tags={FEEDS_TAG: definition.name},
    )


def _request_source(source: RequestSource) -> Any:
    from feast import RequestSource as FeastRequest

    columns = (Column(name=name, type=text) for name, text in source.schema.items())
    return FeastRequest(name=source.name, schema=[field(column) for column in columns])


def _location(definition: ViewDefinition, root: Path) -> str:
    """An absolute path, as Feast would take a relative one from its own folder.

    Feast has no source for a query: it is shown the file that `feature_store` writes it to.
    """
    source = definition.source
    if source.kind == "query":
        return str(root / ".penstock" / "feast" / "queries" / f"{source.name}.sql")
    return source.location if "://" in source.location else str(root / source.location)


def _by_value(function: Callable[..., Any]) -> Callable[..., Any]:
    """A copy that Feast pickles whole: else its server would have to import features.py."""
    copy = types.FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__module__ = "__main__"
    return copy
