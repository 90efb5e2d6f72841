"""Training sets: for every label row, what was known at its label time."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from penstock.errors import DataError
from penstock.features.store import feature_names, open_store

ROW = "__label_row"


def point_in_time_join(store: Any, service: Any, labels: pa.Table, timestamp: str) -> pa.Table:
    """The label rows with their features beside them."""
    frame = labels.to_pandas()
    keys = [name for name in frame.columns if name in _all_join_keys(store)]
    asked = frame[[*keys, timestamp]].rename(columns={timestamp: "event_timestamp"})
    return _beside(labels, historical_features(store, service, asked))


def features_as_of(
    root: Path, name: str, service: str, keys: pd.DataFrame, moment: datetime
) -> pd.DataFrame:
    """What the offline side knows of some entities at one moment, in their order."""
    store = open_store(root, name)
    asked = keys.assign(event_timestamp=pd.Timestamp(moment))
    return historical_features(store, store.get_feature_service(service), asked)


def historical_features(store: Any, service: Any, asked: pd.DataFrame) -> pd.DataFrame:
    """One row per row of `asked` (keys and event_timestamp), in its order; unknown is null.

    Feast 0.67's local engine drops rows without features, repeats those that match twice and loses
    their order, so the rows carry a number and are put back by it.
    """
    numbered = asked.reset_index(drop=True).assign(**{ROW: range(len(asked))})
    try:
        answer = store.get_historical_features(entity_df=numbered, features=service).to_df()
    except (KeyError, ValueError) as error:
        raise DataError(
            f"Feast could not join the features of {service.name}: {error}",
            hint="check that the feature views' sources have the columns they declare",
        ) from error
    answer = answer.sort_values(ROW, kind="stable").drop_duplicates(ROW).set_index(ROW)
    features: pd.DataFrame = answer[feature_names(service)].reindex(range(len(numbered)))
    return features


def _all_join_keys(store: Any) -> set[str]:
    return {entity.join_key for entity in store.list_entities()}


def _beside(labels: pa.Table, features: pd.DataFrame) -> pa.Table:
    joined = labels
    for name in features.columns:
        if name in joined.column_names:
            raise DataError(
                f"{name!r} is a column of the label rows and a feature",
                hint="rename one of them; a label row needs only keys, time and label",
            )
        values = pa.Array.from_pandas(features[name])
        joined = joined.append_column(name, values)
    return joined
