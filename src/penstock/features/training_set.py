"""Training sets: for every label row, what was known at its label time."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from penstock.errors import DataError
from penstock.features.feast_views import definition_of, is_parquet
from penstock.features.store import (
    feature_names,
    join_keys,
    open_store,
    request_columns,
    views_behind,
)
from penstock.frames.checks import require_columns, require_known

ROW = "__label_row"
TIME = "event_timestamp"  # as Feast calls the time that is asked about


def point_in_time_join(store: Any, service: Any, labels: pa.Table, timestamp: str) -> pa.Table:
    """The label rows with their features beside them, one row each, in their order."""
    keys = (*join_keys(store, service), *request_columns(store, service))
    require_columns(labels, (*keys, timestamp), f"the feature service {service.name}")
    require_known(labels, (timestamp,), "the rows asked about")
    asked = labels.select([*keys, timestamp]).rename_columns([*keys, TIME])
    return _beside(labels, historical_features(store, service, asked))


def features_as_of(root: Path, service: str, keys: pd.DataFrame, moment: datetime) -> pd.DataFrame:
    """What the offline side knows of some entities at one moment, in their order."""
    store = open_store(root)
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
    names = feature_names(service)
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise DataError(
            f"{service.name} has more than one feature called {', '.join(repeated)}",
            hint="rename one, or choose the features of each view: view[['feature', …]]",
        )
    if not all(definition_of(view) or is_parquet(view) for view in views_behind(store, service)):
        return features_by_feast(store, service, asked)
    found = _exact(store).get_historical_features(entity_df=asked, features=service)
    return found.to_arrow().select(names)


def _exact(store: Any) -> Any:
    """The store, with Penstock's own offline store for what lies in files."""
    from penstock.features.offline_store import DuckDBOfflineStore

    provider = store._get_provider()
    if not isinstance(provider.offline_store, DuckDBOfflineStore):
        provider._offline_store = DuckDBOfflineStore()
    return store


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
