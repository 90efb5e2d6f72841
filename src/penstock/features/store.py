"""The project's feature store: its own feature_store.yaml if it has one, else an embedded one."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

from penstock.errors import ProjectError
from penstock.settings import Settings


def open_store(root: Path, name: str) -> Any:
    """A `feast.FeatureStore`. An existing Feast repository is used as it stands."""
    os.environ.setdefault("FEAST_USAGE", "False")
    warnings.filterwarnings("ignore", module=r"feast\..*")
    from feast import FeatureStore, RepoConfig

    if (root / "feature_store.yaml").is_file():
        return FeatureStore(repo_path=str(root))
    folder = root / ".penstock" / "feast"
    folder.mkdir(parents=True, exist_ok=True)
    config = RepoConfig(
        project=name.replace("-", "_"),
        provider="local",
        registry=str(folder / "registry.db"),
        offline_store={"type": "dask"},
        online_store={"type": "sqlite", "path": str(folder / "online.db")},
        entity_key_serialization_version=3,
        repo_path=str(root),
    )
    return FeatureStore(config=config)


def definitions(module: ModuleType) -> list[Any]:
    """The Feast objects that features.py declares at its top level, each once."""
    from feast import BatchFeatureView, Entity, FeatureService, FeatureView, OnDemandFeatureView
    from feast.data_source import DataSource

    kinds = (Entity, DataSource, FeatureView, BatchFeatureView, OnDemandFeatureView, FeatureService)
    found = {id(value): value for value in vars(module).values() if isinstance(value, kinds)}
    return list(found.values())


def service_for(store: Any, settings: Settings) -> Any:
    """The feature service that feeds the model: the one named, or the only one there is."""
    services = {service.name: service for service in store.list_feature_services()}
    name = settings.features.service
    if not name and len(services) == 1:
        return next(iter(services.values()))
    if name in services:
        return services[name]
    known = ", ".join(sorted(services)) or "none"
    raise ProjectError(
        f"[features] service is {name!r}; features.py declares: {known}"
        if name
        else f"features.py declares several feature services ({known}) and none is chosen"
        if services
        else "features.py declares no FeatureService",
        hint="name one of them in [features] service, or declare one",
    )


def views_of(store: Any, service: Any) -> list[Any]:
    """The feature views that a service draws on."""
    return [store.get_feature_view(p.name) for p in service.feature_view_projections]


def join_keys(store: Any, service: Any) -> tuple[str, ...]:
    """The columns that identify the entities of a service, in order of first use."""
    keys = [key for p in service.feature_view_projections for key in keys_of(store, p)]
    return tuple(dict.fromkeys(keys))


def keys_of(store: Any, projection: Any) -> dict[str, str]:
    """The columns that identify the entities of one view: as the service asks, as the view has."""
    entities = {entity.name: entity for entity in store.list_entities()}
    view = store.get_feature_view(projection.name)
    own = [entities[n].join_key for n in view.entities if n in entities and n != "__dummy"]
    return {projection.join_key_map.get(key, key): key for key in own}


def feature_names(service: Any) -> list[str]:
    return [field.name for p in service.feature_view_projections for field in p.features]
