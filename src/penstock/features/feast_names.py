"""Objects of Feast that stand beside each other: what a module declares itself, each name once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from penstock.errors import ProjectError
from penstock.features.checks import seen


def plain_feast(module: ModuleType, root: Path) -> list[Any]:
    """The Feast objects that a module declares itself; relative paths are the project's."""
    from penstock.features.quick_feast import feast

    views = (
        feast.FeatureView,
        feast.BatchFeatureView,
        feast.OnDemandFeatureView,
        feast.StreamFeatureView,
    )
    kinds = (feast.Entity, feast.data_source.DataSource, *views, feast.FeatureService)
    found = {id(v): v for v in vars(module).values() if isinstance(v, kinds)}
    for value in found.values():
        for source in (value, getattr(value, "batch_source", None)):
            if isinstance(source, feast.FileSource) and "://" not in source.path:
                source.file_options.uri = str(root / source.path)
    return list(found.values())


def each_once(objects: Iterable[Any]) -> tuple[Any, ...]:
    """Objects of Feast by their names, of which Feast has one for each sort of object.

    An entity may be declared here and in plain Feast: the later says its type.
    """
    from feast import Entity as FeastEntity
    from feast import FeatureService as FeastService
    from feast.data_source import DataSource

    sorts = {FeastEntity: "entity", FeastService: "feature service", DataSource: "source"}
    found: dict[tuple[str, str], Any] = {}
    for one in objects:
        sort = next((s for kind, s in sorts.items() if isinstance(one, kind)), "feature view")
        name = one.name.lower() if sort == "feature view" else one.name
        there = found.setdefault((sort, name), one)
        if there is one:
            continue
        if not (type(there) is type(one) and (_same_entity(there, one) or there == one)):
            raise ProjectError(
                f"features.py declares more than one {sort} called {one.name}, in plain Feast and "
                "beside it",
                hint="give each its own name",
            )
        found[sort, name] = one
    return tuple(found.values())


def _same_entity(one: Any, other: Any) -> bool:
    key = getattr(one, "join_key", None)
    return key is not None and bool(key == other.join_key)


def require_apart(service: str, views: Sequence[Any]) -> None:
    """A service's columns: no feature is called as another, as a key or as a request's value.

    Feast answers with one column a feature and names none of them by its view, unless it is asked
    for full feature names. Keys of one name are of one type, since they are asked once.
    """
    what = f"feature service {service!r}"
    owners: dict[str, list[str]] = {}
    asked: dict[str, tuple[str, Any]] = {}
    for view in views:
        if not hasattr(view, "projection"):
            raise ProjectError(
                f"{what}: features holds {seen(view)}", hint="write features=[view, …]"
            )
        for feature in view.projection.features:
            owners.setdefault(feature.name, []).append(view.name)
        for name, kind in _asked_by(view):
            other, known = asked.setdefault(name, (view.name, kind))
            if known != kind:
                raise ProjectError(
                    f"{what}: the key {name!r} is {known} in {other!r} and {kind} in {view.name!r}",
                    hint="cast one of them in its source or transformation",
                )
    for feature, of in owners.items():
        if len(of) > 1:
            raise ProjectError(
                f"{what} has more than one feature called {feature}: of {' and of '.join(of)}",
                hint="rename one, or choose the features of each view: view[['feature', …]]",
            )
        if feature in asked:
            raise ProjectError(
                f"{what}: the feature {feature!r} of {of[0]!r} is called as a column that is asked "
                f"with, for {asked[feature][0]!r}",
                hint="rename one of them",
            )


def _asked_by(view: Any) -> Iterable[tuple[str, Any]]:
    """What must come with a request for a view: keys and request columns, with their types."""
    if hasattr(view, "get_request_data_schema"):
        yield from view.get_request_data_schema().items()
    renamed = view.projection.join_key_map
    for column in getattr(view, "entity_columns", ()):
        if column.name != "__dummy_id":
            yield renamed.get(column.name, column.name), column.dtype.to_value_type()
