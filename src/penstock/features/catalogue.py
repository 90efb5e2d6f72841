"""What the registry knows of the features: their views, sources, owners and consumers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.features.definition import FEEDS_TAG, ViewDefinition
from penstock.features.feast_views import definition_of, described_by_feast
from penstock.features.store import repository


@dataclass(frozen=True)
class Entry:
    """One feature view, whoever declared it."""

    definition: ViewDefinition
    services: tuple[str, ...]  # that draw on it
    materialised_until: Any = None  # datetime, UTC; none: never


def entries(store: Any, root: Path) -> dict[str, Entry]:
    """All views with rows, by name. Views that only take pushed events are left out."""
    using = consumers(store)
    found: dict[str, Entry] = {}
    for view in store.list_feature_views():
        if FEEDS_TAG in view.tags:
            continue
        definition = definition_of(view) or described_by_feast(view, repository(root))
        services = tuple(s for s, listed in using.items() if any(v == view.name for v, _ in listed))
        found[view.name] = Entry(definition, services, view.most_recent_end_time)
    return found


def registered(store: Any) -> dict[str, ViewDefinition]:
    """The definitions of Penstock's own views, as Feast's registry has them."""
    found = {view.name: definition_of(view) for view in store.list_feature_views()}
    return {name: definition for name, definition in found.items() if definition}


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
