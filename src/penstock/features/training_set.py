"""Training sets: for every label row, what was known at its label time."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from penstock.errors import DataError
from penstock.features.point_in_time import latest_rows
from penstock.features.store import feature_names, join_keys, keys_of, open_store, views_of
from penstock.frames.checks import require_columns

ROW = "__label_row"
TIME = "event_timestamp"  # as Feast calls the time that is asked about


def point_in_time_join(store: Any, service: Any, labels: pa.Table, timestamp: str) -> pa.Table:
    """The label rows with their features beside them, one row each, in their order."""
    keys = join_keys(store, service)
    require_columns(labels, keys, f"the feature service {service.name}")
    asked = labels.select([*keys, timestamp]).rename_columns([*keys, TIME])
    return _beside(labels, historical_features(store, service, asked))


def features_as_of(
    root: Path, name: str, service: str, keys: pd.DataFrame, moment: datetime
) -> pd.DataFrame:
    """What the offline side knows of some entities at one moment, in their order."""
    store = open_store(root, name)
    asked = pa.Table.from_pandas(keys, preserve_index=False)
    at = pa.repeat(pa.scalar(moment, pa.timestamp("us", "UTC")), asked.num_rows)
    found = historical_features(
        store, store.get_feature_service(service), asked.append_column(TIME, at)
    )
    frame: pd.DataFrame = found.to_pandas()
    return frame


def historical_features(store: Any, service: Any, asked: pa.Table) -> pa.Table:
    """One row per row of `asked` (keys and event_timestamp), in its order; unknown is null.

    Views on Parquet files are joined here: Feast 0.67's local engines drop rows without features,
    merge equal ones and break ties at random. Views on a warehouse are joined there, by Feast.
    """
    repeated = [name for name, count in Counter(feature_names(service)).items() if count > 1]
    if repeated:
        raise DataError(
            f"{service.name} has more than one feature called {', '.join(repeated)}",
            hint="rename one, or choose the features of each view: view[['feature', …]]",
        )
    views = views_of(store, service)
    if not all(_is_parquet(view.batch_source) for view in views):
        return features_by_feast(store, service, asked)
    columns: dict[str, pa.ChunkedArray] = {}
    for view, projection in zip(views, service.feature_view_projections, strict=True):
        names = [field.name for field in projection.features]
        columns |= _known(store, view, keys_of(store, projection), names, asked)
    return pa.table(columns)


def features_by_feast(store: Any, service: Any, asked: pa.Table) -> pa.Table:
    """The same by Feast's own join, which need not keep the order, repetitions or unmatched rows.

    So each distinct row is asked once, with a number, and put back by it.
    """
    frame = asked.to_pandas()
    numbers = frame.groupby(list(frame.columns), dropna=False, sort=False).ngroup()
    distinct = frame.drop_duplicates(ignore_index=True).assign(**{ROW: range(numbers.nunique())})
    try:
        answer = store.get_historical_features(entity_df=distinct, features=service).to_df()
    except (KeyError, ValueError) as error:
        raise DataError(
            f"Feast could not join the features of {service.name}: {error}",
            hint="check that the feature views' sources have the columns they declare",
        ) from error
    features = answer.drop_duplicates(ROW).set_index(ROW)[feature_names(service)].reindex(numbers)
    return pa.Table.from_pandas(features, preserve_index=False)


def _known(
    store: Any, view: Any, keys: dict[str, str], features: list[str], asked: pa.Table
) -> dict[str, pa.ChunkedArray]:
    """The features of one view, by name, each of the type that its source has it in."""
    source = view.batch_source
    # Declared by the names that the file has; keys and features by those that the view gives them.
    times = [source.timestamp_field, source.created_timestamp_column]
    happened, created = (source.field_mapping.get(name, name) for name in times)
    names = filter(None, {*keys.values(), *features, happened, created})
    facts = _read(store, source, tuple(names))
    rows = latest_rows(
        asked, facts, keys, at=TIME, happened=happened, created=created, ttl=view.ttl
    )
    return {name: facts[name].take(rows) for name in features}


def _is_parquet(source: Any) -> bool:
    from feast import FileSource
    from feast.data_format import ParquetFormat

    return isinstance(source, FileSource) and isinstance(
        source.file_format or ParquetFormat(), ParquetFormat
    )


def _read(store: Any, source: Any, names: tuple[str, ...]) -> pa.Table:
    """Some columns of a Parquet file or folder. Raises `DataError` when one is not there."""
    import pyarrow.dataset as ds

    uri = source.get_uri_for_file_path(store.config.repo_path, source.path)
    filesystem, path = source.create_filesystem_and_path(
        uri, source.s3_endpoint_override, source.resolve_credentials()
    )
    try:
        file = ds.dataset(path, filesystem=filesystem, format="parquet", partitioning="hive")
    except FileNotFoundError as error:
        raise DataError(
            f"the source {source.name!r} has no file: {path}",
            hint="batch_sources() may write it; a relative path is taken from the project's folder",
        ) from error
    own = {given: name for name, given in source.field_mapping.items()}
    columns = {name: own.get(name, name) for name in names}
    require_columns(file.schema.empty_table(), tuple(columns.values()), f"source {source.name!r}")
    return file.to_table(columns={name: ds.field(column) for name, column in columns.items()})


def _beside(labels: pa.Table, features: pa.Table) -> pa.Table:
    joined = labels
    for name in features.column_names:
        if name in labels.column_names:
            raise DataError(
                f"{name!r} is a column of the label rows and a feature",
                hint="rename one of them; a label row needs only keys, time and label",
            )
        joined = joined.append_column(name, features[name])
    return joined
