"""Training sets: for every label row, what was known at its label time."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pyarrow as pa

from penstock.errors import DataError
from penstock.features.store import feature_names

ROW = "__label_row"


def point_in_time_join(store: Any, service: Any, labels: pa.Table, timestamp: str) -> pa.Table:
    """One row per label row, in their order; a feature that was not known yet is null.

    Feast 0.67's local engine drops label rows without features, repeats those that match twice
    and loses their order, so the rows carry a number and are put back by it.
    """
    frame = labels.to_pandas()
    keys = [n for n in frame.columns if n in _all_join_keys(store)]
    asked = frame[[*keys, timestamp]].rename(columns={timestamp: "event_timestamp"})
    asked[ROW] = range(len(asked))
    try:
        answer = store.get_historical_features(entity_df=asked, features=service).to_df()
    except (KeyError, ValueError) as error:
        raise DataError(
            f"Feast could not join the features of {service.name}: {error}",
            hint="check that the feature views' sources have the columns they declare",
        ) from error
    answer = answer.sort_values(ROW, kind="stable").drop_duplicates(ROW).set_index(ROW)
    features = answer[feature_names(service)].reindex(range(len(frame)))
    return _beside(labels, features)


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
