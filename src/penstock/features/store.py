"""The project's feature store: its own feature_store.yaml if it has one, else one made of settings.

Either is an ordinary Feast repository: `feast -c .penstock/feast …` works on the one made here.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import yaml

from penstock.digests import written_whole
from penstock.errors import ProjectError
from penstock.features.feast_objects import Compiled, compiled
from penstock.features.on_demand import forget_changed
from penstock.project import Project
from penstock.settings import FeatureSettings, Settings

CONFIG = "feature_store.yaml"
REDIS_URL = "PENSTOCK_FEATURES_REDIS_URL"

HEADER = """\
# Made of penstock.toml whenever the features are applied: change it there.
# Feast's own tools work on this folder: feast -c .penstock/feast feature-views list
"""
DEFINITIONS = '''\
"""The declarations of features.py as Feast objects, for `feast plan` and `feast apply`."""

from pathlib import Path

from penstock.features.store import declared
from penstock.project import open_project

globals().update(declared(open_project(Path({root!r}))))
'''


def repository(root: Path) -> Path:
    """The folder of the project's feature_store.yaml: its own, or the one that Penstock keeps."""
    return root if (root / CONFIG).is_file() else root / ".penstock" / "feast"


def open_store(root: Path) -> Any:
    """A `feast.FeatureStore`. An existing Feast repository is used as it stands.

    Raises `ProjectError` where no features have been applied yet.
    """
    os.environ.setdefault("FEAST_USAGE", "False")
    with warnings.catch_warnings():  # Feast 0.67 has every deprecation of every library shown
        from penstock.features.quick_feast import feast
    warnings.filterwarnings("ignore", module=r"feast\..*")

    folder = repository(root)
    if not (folder / CONFIG).is_file():
        raise ProjectError(
            "the project's features have not been applied yet",
            hint="`penstock features apply` or `penstock run` does",
        )
    return feast.FeatureStore(repo_path=str(folder))


def prepared_store(project: Project) -> Any:
    """The same, with a feature_store.yaml as the settings are now."""
    folder = repository(project.root)
    if folder != project.root:
        folder.mkdir(parents=True, exist_ok=True)
        text = HEADER + yaml.safe_dump(_config(project), sort_keys=False)
        _write_changed(folder / CONFIG, text)
        _write_changed(folder / "definitions.py", DEFINITIONS.format(root=str(project.root)))
    return open_store(project.root)


def apply(store: Any, project: Project, found: Compiled, *, keep_others: bool = False) -> None:
    """Makes Feast's registry say what is declared now.

    In a repository of the project's own nothing is ever removed: others may use it. Nor anywhere
    with `keep_others`.
    """
    _write_queries(project.root, found)
    gone: list[Any] = []
    if repository(project.root) != project.root and not keep_others:
        names = {(type(o).__name__, o.name) for o in found.objects}
        there = [*store.list_feature_services(), *store.list_all_feature_views()]
        gone = [o for o in there if (type(o).__name__, o.name) not in names]
    from feast.errors import FeastError

    forget_changed(store, found.objects)
    try:
        # Feast 0.67 removes nothing unless it is told that the objects are all there are.
        store.apply(list(found.objects), objects_to_delete=gone, partial=not gone)
    except (FeastError, ValueError, TypeError) as error:
        raise ProjectError(
            f"Feast refuses the declarations of features.py: {error}",
            hint="correct what it names",
        ) from error


def declared(project: Project) -> dict[str, Any]:
    """The Feast objects of features.py, under names that Feast's own tools find them by."""
    found = compiled(project.module("features"), project.root)
    return {f"{type(o).__name__}_{o.name}": o for o in found.objects}


def _config(project: Project) -> dict[str, Any]:
    settings = project.settings.features
    memory = {"memory": settings.memory}
    plugins = "penstock.features"
    spark = settings.engine == "spark"
    offline = "spark.SparkOfflineStore" if spark else "offline_store.DuckDBOfflineStore"
    engine = "spark.SparkComputeEngine" if spark else "compute_engine.DuckDBComputeEngine"
    return {
        "project": project.settings.project.name.replace("-", "_"),
        "provider": "local",
        "registry": {
            "path": "registry.db",
            "registry_store_type": f"{plugins}.registry_file.WholeFileRegistryStore",
        },
        "offline_store": {
            "type": f"{plugins}.{offline}",
            "root": str(project.root),
            **memory,
        },
        "batch_engine": {"type": f"{plugins}.{engine}", **memory},
        "online_store": _online_store(settings),
        "entity_key_serialization_version": 3,
    }


def _online_store(settings: FeatureSettings) -> dict[str, Any]:
    """The online store's own settings. Secrets stay in the environment, from which Feast reads."""
    plugins = "penstock.features.online_stores"
    url = settings.redis_url.get_secret_value()
    from_environment = f"${REDIS_URL}" if REDIS_URL in os.environ else url
    stock_redis = url.partition("://")[2].rpartition("@")[2].partition("/")[0]
    dynamodb = {
        "table": settings.dynamodb_table,
        "region": settings.dynamodb_region,
        "endpoint_url": settings.dynamodb_endpoint,
    }
    choices: dict[str, dict[str, Any]] = {
        "lmdb": {"type": f"{plugins}.lmdb.LmdbOnlineStore", "path": "online"},
        "redis": {"type": f"{plugins}.redis.RedisOnlineStore", "url": from_environment},
        "dynamodb": {"type": f"{plugins}.dynamodb.DynamoDBOnlineStore", **dynamodb},
        "feast-sqlite": {"type": "sqlite", "path": "online.db"},
        "feast-redis": {"type": "redis", "connection_string": stock_redis},
    }
    return choices[settings.online_store]


def _write_queries(root: Path, found: Compiled) -> None:
    for view in found.definitions.values():
        if view.source.kind == "query":
            file = root / ".penstock" / "feast" / "queries" / f"{view.source.name}.sql"
            file.parent.mkdir(parents=True, exist_ok=True)
            _write_changed(file, view.source.location)


def _write_changed(file: Path, text: str) -> None:
    """Whole or not at all; left alone where it says the same, as others may be reading it."""
    if not file.is_file() or file.read_text(encoding="utf-8") != text:
        with written_whole(file) as part:
            part.write_text(text, encoding="utf-8")


def service_for(store: Any, settings: Settings, asked: str | None = None) -> Any:
    """The service that is asked for, else the one that feeds the model: named, or the only one."""
    services = {service.name: service for service in store.list_feature_services()}
    if asked is not None and asked not in services:
        raise ProjectError(
            f"there is no feature service {asked!r}",
            hint=f"the services are: {', '.join(services) or 'none'}",
        )
    name = asked or settings.features.service
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


def views_behind(store: Any, service: Any) -> list[Any]:
    """The feature views with rows that a service draws on, each as the service sees it.

    Those that its on-demand views draw on are among them.
    """
    from feast.errors import FeatureViewNotFoundException

    views, pending = [], list(service.feature_view_projections)
    for projection in pending:
        try:
            view = store.get_feature_view(projection.name)
        except FeatureViewNotFoundException:
            on_demand = store.get_on_demand_feature_view(projection.name)
            pending += on_demand.source_feature_view_projections.values()
            continue
        views.append(view.with_projection(projection))
    return views


def on_demand_behind(store: Any, service: Any) -> list[Any]:
    """The on-demand feature views that a service draws on."""
    asked = {projection.name for projection in service.feature_view_projections}
    return [view for view in store.list_on_demand_feature_views() if view.name in asked]


def join_keys(store: Any, service: Any) -> tuple[str, ...]:
    """The columns that identify the entities of a service, in order of first use."""
    keys = [key for view in views_behind(store, service) for key in keys_of(view)]
    return tuple(dict.fromkeys(keys))


def keys_of(view: Any) -> dict[str, str]:
    """The columns that identify the entities of a view: as it is asked -> as its rows have them."""
    own = [column.name for column in view.entity_columns if column.name != "__dummy_id"]
    return {view.projection.join_key_map.get(key, key): key for key in own}


def feature_names(service: Any) -> list[str]:
    return [field.name for p in service.feature_view_projections for field in p.features]


def request_columns(store: Any, service: Any) -> tuple[str, ...]:
    """What must come with a request, for the on-demand views of a service."""
    views = on_demand_behind(store, service)
    columns = [name for view in views for name in view.get_request_data_schema()]
    return tuple(dict.fromkeys(columns))
