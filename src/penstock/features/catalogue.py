"""What the registry knows of the features: their views, sources, owners and consumers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from penstock.errors import PenstockError
from penstock.features.changes import Computed
from penstock.features.definition import FEEDS_TAG, ViewDefinition
from penstock.features.feast_objects import Compiled
from penstock.features.feast_views import definition_of, described_by_feast
from penstock.features.filled import covered_spans
from penstock.features.on_demand import computed
from penstock.features.store import repository


@dataclass(frozen=True)
class Entry:
    """One feature view, whoever declared it."""

    definition: ViewDefinition
    services: tuple[str, ...]  # that draw on it
    materialised_until: datetime | None = None  # UTC; none: nothing is online


def entries(store: Any, root: Path) -> dict[str, Entry]:
    """All views with rows, by name. Views that only take pushed events are left out."""
    using = consumers(store)
    found: dict[str, Entry] = {}
    for view in store.list_feature_views():
        if FEEDS_TAG in view.tags:
            continue
        definition = definition_of(view) or described_by_feast(view, repository(root))
        services = tuple(s for s, listed in using.items() if any(v == view.name for v, _ in listed))
        found[view.name] = Entry(definition, services, _filled_until(store, view))
    return found


def _filled_until(store: Any, view: Any) -> datetime | None:
    """As the online store says; where it cannot be reached, as Feast's registry has it."""
    try:
        there = covered_spans(store, view)
    except PenstockError:
        until: datetime | None = view.most_recent_end_time
        return until
    return there[-1][1] if there else None


def registered(store: Any) -> dict[str, ViewDefinition | Computed]:
    """What Feast's registry has: Penstock's own views, and all that are computed on demand."""
    return _described([*store.list_feature_views(), *store.list_on_demand_feature_views()])


def declared(found: Compiled) -> dict[str, ViewDefinition | Computed]:
    """The same of the declarations."""
    return _described(found.objects)


def _described(objects: Iterable[Any]) -> dict[str, ViewDefinition | Computed]:
    """Feast objects by name, as far as they are such views."""
    from feast import FeatureView, OnDemandFeatureView

    described: dict[str, ViewDefinition | Computed] = {}
    for one in objects:
        if isinstance(one, OnDemandFeatureView):
            described[one.name] = computed(one)
        elif isinstance(one, FeatureView) and (definition := definition_of(one)):
            described[one.name] = definition
    return described


def consumers(store: Any) -> Mapping[str, list[tuple[str, str]]]:
    """The (view, feature) pairs of each feature service, on-demand views' inputs among them."""
    on_demand = {view.name: view for view in store.list_on_demand_feature_views()}
    services: dict[str, list[tuple[str, str]]] = {}
    for service in store.list_feature_services():
        pending, listed = list(service.feature_view_projections), []
        for projection in pending:
            listed += [(projection.name, field.name) for field in projection.features]
            if projection.name in on_demand:
                pending += on_demand[projection.name].source_feature_view_projections.values()
        services[service.name] = listed
    return services
