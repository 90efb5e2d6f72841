"""All that a module declares, and whether it agrees: names that are there once, views that are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeVar

from penstock.errors import ProjectError
from penstock.features.declarations import (
    BatchSource,
    Entity,
    FeatureService,
    FeatureView,
    OnDemandFeatureView,
    RequestSource,
    Selection,
)

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Declared:
    """The declarations of a module, each once, in their order."""

    views: tuple[FeatureView, ...]
    on_demand: tuple[OnDemandFeatureView, ...]
    services: tuple[FeatureService, ...]


def declared_in(module: ModuleType) -> Declared:
    """What a module declares at its top.

    Raises `ProjectError` where two declarations have one name, or a service draws on a view that
    is not declared.
    """
    found = list({id(value): value for value in vars(module).values()}.values())
    everything = list(_with_parts(found))
    views = _kind(found, FeatureView)
    for whose, view in _drawn_on(everything):
        if not any(view is one or view == one for one in views):
            raise ProjectError(
                f"{whose} draws on the feature view {view.name!r}, which {module.__name__}.py does "
                "not declare" + _instead(view, views),
                hint=f"write {view.name} = FeatureView({view.name!r}, …) at the top of the file",
            )
    on_demand = _kind(everything, OnDemandFeatureView)
    services = _kind(found, FeatureService)
    _once("feature view", (*views, *on_demand), module)
    _once("feature service", services, module)
    _once("source", (*_kind(everything, BatchSource), *_kind(everything, RequestSource)), module)
    _once("entity", _kind(everything, Entity), module)
    return Declared(tuple(views), tuple(on_demand), tuple(services))


def _kind(values: Iterable[Any], kind: type[Kind]) -> list[Kind]:
    return list({id(value): value for value in values if isinstance(value, kind)}.values())


def _with_parts(values: Iterable[Any]) -> Iterator[Any]:
    """The declarations, and those that they are made of."""
    for value in values:
        yield value
        if isinstance(value, FeatureView):
            yield from (value.source, *value.entities)
        elif isinstance(value, Selection):
            yield from _with_parts([value.view])
        elif isinstance(value, OnDemandFeatureView):
            yield from _with_parts(value.sources)
        elif isinstance(value, FeatureService):
            yield from _with_parts(value.features)


def _drawn_on(values: Iterable[Any]) -> Iterator[tuple[str, FeatureView]]:
    """The views that services and on-demand views draw on, and who does."""
    for value in values:
        if isinstance(value, FeatureService):
            whose, parts = f"feature service {value.name!r}", value.features
        elif isinstance(value, OnDemandFeatureView):
            whose, parts = f"on-demand feature view {value.name!r}", value.sources
        else:
            continue
        for part in parts:
            view = part.view if isinstance(part, Selection) else part
            if isinstance(view, FeatureView):
                yield whose, view


def _instead(view: FeatureView, views: Iterable[FeatureView]) -> str:
    if any(one.name == view.name for one in views):
        return "; another of that name is"
    return ""


def _once(kind: str, declared: Iterable[Any], module: ModuleType) -> None:
    """No two declarations have one name; names that differ by case are one to Feast."""
    there: dict[str, Any] = {}
    for one in declared:
        other = there.setdefault(one.name.lower(), one)
        if other is one or (kind in ("source", "entity") and other == one):
            continue
        words = f"called {one.name}" if one.name == other.name else f"{other.name} and {one.name}"
        raise ProjectError(
            f"{module.__name__}.py declares more than one {kind} {words}" + _apart(other, one),
            hint="give each its own name, or declare it once and use that",
        )


def _apart(one: Any, other: Any) -> str:
    """In what two declarations of one name differ."""
    if type(one) is not type(other):
        kinds = {FeatureView: "a feature view", OnDemandFeatureView: "an on-demand feature view",
                 BatchSource: "a batch source", RequestSource: "a request source"}  # fmt: skip
        return f": {kinds[type(one)]} and {kinds[type(other)]}"
    if isinstance(one, BatchSource | RequestSource | Entity):
        names = [name for name in vars(one) if vars(one)[name] != vars(other)[name]]
        differences = (f"{name} {vars(one)[name]!r} and {vars(other)[name]!r}" for name in names)
        return f", with {'; '.join(differences)}"
    return ""
