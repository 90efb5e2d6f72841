"""From a dataset version to a training set and a filled online store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from penstock.errors import DataError, ProjectError
from penstock.features.catalogue import consumers, declared, registered
from penstock.features.changes import changes
from penstock.features.declarations import BatchSource
from penstock.features.feast_objects import compiled
from penstock.features.labels import checked_labels
from penstock.features.store import (
    apply,
    feature_names,
    join_keys,
    prepared_store,
    request_columns,
    service_for,
    views_behind,
)
from penstock.features.training_set import point_in_time_join
from penstock.frames.checks import require_columns
from penstock.frames.convert import as_table, columns_of, write_parquet
from penstock.profiles.counting import profile_of
from penstock.profiles.keeping import keep_profile
from penstock.project import Project
from penstock.records import Column, DatasetVersion, FeatureSet
from penstock.state.artifacts import keep

Progress = Callable[..., None]


@dataclass(frozen=True)
class _Rows:
    table: pa.Table
    keys: tuple[str, ...]
    features: tuple[str, ...]
    request_columns: tuple[str, ...] = ()
    service: str = ""
    online_until: datetime | None = None


def build_feature_set(
    project: Project,
    dataset: DatasetVersion,
    as_of: datetime,
    definitions_digest: str,
    progress: Progress,
) -> FeatureSet:
    """The training set for all label rows, and the online store as of the latest features."""
    settings = project.settings.features
    declared = (project.root / "features.py").is_file()
    rows = (_from_feast if declared else _from_dataset)(project, dataset, as_of, progress)
    progress("writing the training set")
    kept = keep(
        project, "training_set", lambda path: write_parquet(rows.table, path), suffix=".parquet"
    )
    schema = {column.name: column for column in columns_of(rows.table.schema)}
    progress("profiling the features")
    profile = keep_profile(project, profile_of(rows.table, rows.features, kept.digest))
    return FeatureSet(
        path=kept.path,
        digest=kept.digest,
        rows=rows.table.num_rows,
        features=tuple(Column(name=n, type=schema[n].type) for n in rows.features),
        entity_keys=rows.keys,
        request_columns=rows.request_columns,
        timestamp=settings.timestamp,
        label=settings.label,
        service=rows.service,
        definitions=definitions_digest,
        dataset=dataset.digest,
        online_until=rows.online_until,
        profile=profile.digest,
    )


def _from_dataset(project: Project, dataset: DatasetVersion, as_of: datetime, _: Progress) -> _Rows:
    """Without features.py the dataset's rows are the label rows, and its other columns features."""
    settings = project.settings.features
    table = pq.read_table(project.absolute(dataset.path))
    table = checked_labels(table, settings.entity_keys, settings, as_of, "the dataset")
    apart = {*settings.entity_keys, settings.label, settings.timestamp, *project.settings.data.key}
    features = tuple(name for name in table.column_names if name not in apart)
    if not features:
        raise DataError("the dataset has no column left to learn from")
    return _Rows(table, settings.entity_keys, features)


def _from_feast(
    project: Project, dataset: DatasetVersion, as_of: datetime, progress: Progress
) -> _Rows:
    module, settings = project.module("features"), project.settings
    progress("reading the feature definitions")
    store = prepared_store(project)
    visible = dataset.model_copy(update={"path": str(project.absolute(dataset.path))})
    progress("computing the batch sources")
    until = _write_sources(project.root, module, visible)
    progress("applying the feature definitions")
    found = compiled(module, project.root)
    for change in changes(registered(store), declared(found), consumers(store)):
        if change.breaks:
            progress(f"a served feature changes: {change}")
    apply(store, project, found)
    service = service_for(store, settings)
    keys = settings.features.entity_keys or join_keys(store, service)
    labels = _labels(module, visible, keys, project, as_of)
    progress(f"joining features to {labels.num_rows:,} label rows")
    table = point_in_time_join(store, service, labels, settings.features.timestamp)
    until = max(filter(None, (until, as_of)))
    progress("materialising the online store")
    _materialise(store, service, dataset.first_event, until)
    return _Rows(
        table,
        keys,
        tuple(feature_names(service)),
        request_columns(store, service),
        service.name,
        until,
    )


def _labels(
    module: ModuleType,
    dataset: DatasetVersion,
    keys: tuple[str, ...],
    project: Project,
    as_of: datetime,
) -> pa.Table:
    function = getattr(module, "labels", None)
    if function is None:
        raise ProjectError(
            f"{project.root / 'features.py'} has no labels()",
            hint="write `def labels(dataset)` that returns one row per entity and label time",
        )
    table = as_table(function(dataset), "labels()")
    return checked_labels(table, keys, project.settings.features, as_of, "labels()")


def _write_sources(root: Path, module: ModuleType, dataset: DatasetVersion) -> datetime | None:
    """Writes what batch_sources() gives, each table at its source's path.

    Gives the moment from which all of it is known: the latest event or creation.
    """
    function = getattr(module, "batch_sources", None)
    if function is None:
        return None
    sources = {value.name: value for value in vars(module).values() if _is_source(value)}
    latest: datetime | None = None
    for name, value in function(dataset).items():
        if name not in sources:
            raise ProjectError(
                f"batch_sources() gives {name!r}, and features.py declares no source of that name",
                hint=f"the sources are: {', '.join(sources) or 'none'}",
            )
        source, table = sources[name], as_table(value, f"batch_sources()[{name!r}]")
        times = _times_of(source)
        require_columns(table, times, f"the source {name!r}")
        write_parquet(table, root / source.path)
        newest = (pc.max(table[time]).cast(pa.timestamp("us", "UTC")).as_py() for time in times)
        latest = max(filter(None, (latest, *newest)), default=None)
    return latest


def _is_source(value: Any) -> bool:
    from feast import FileSource

    return isinstance(value, BatchSource | FileSource)


def _times_of(source: Any) -> tuple[str, ...]:
    """The columns of a source's times: of Penstock's own declaration or of Feast's."""
    if isinstance(source, BatchSource):
        return tuple(filter(None, (source.timestamp, source.created)))
    return tuple(filter(None, (source.timestamp_field, source.created_timestamp_column)))


def _materialise(store: Any, service: Any, first: datetime | None, until: datetime) -> None:
    start = (first or datetime(1970, 1, 2, tzinfo=UTC)) - timedelta(days=1)
    views = [v.name for v in views_behind(store, service) if getattr(v, "online", True)]
    # Feast prints a progress bar to the log; `until` is inclusive.
    store.materialize(start, until, feature_views=views, disable_event_timestamp=False)
