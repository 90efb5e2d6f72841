"""Feast's offline store on DuckDB, Arrow and Penstock's kernels. Loaded as a Feast plugin only.

In feature_store.yaml: `type: penstock.features.offline_store.DuckDBOfflineStore`. Exact where
Feast 0.67's own stores are not: one row for each row asked, ties by creation and file order, ttl
inclusive, late rows unknown until they were created, and time windows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
from feast.infra.offline_stores.dask import DaskOfflineStore, DaskOfflineStoreConfig
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.types import from_feast_to_pyarrow_type, from_value_type
from feast.utils import (
    _get_requested_feature_views_to_features_dict,
    _get_requested_on_demand_feature_views,
)
from pydantic import StrictStr

from penstock.errors import DataError
from penstock.features.facts import connect
from penstock.features.feast_views import readable
from penstock.features.history import Asked, features_at
from penstock.features.store import keys_of
from penstock.frames.checks import require_columns
from penstock.frames.convert import write_parquet

TIME = "event_timestamp"  # as Feast calls the time that is asked about
DEFAULT_MEMORY = 4 * 2**30


class DuckDBOfflineStoreConfig(DaskOfflineStoreConfig):
    """`root`: the project's folder. `memory`: bytes that a join may take beside its result."""

    type: str = "penstock.features.offline_store.DuckDBOfflineStore"
    root: StrictStr = ""
    memory: int = DEFAULT_MEMORY


class HistoryJob(RetrievalJob):
    """A training set that is computed when it is asked for."""

    def __init__(
        self,
        compute: Callable[[], pa.Table],
        on_demand: list[OnDemandFeatureView],
        full_feature_names: bool,
        metadata: RetrievalMetadata | None = None,
    ) -> None:
        self._compute = compute
        self._on_demand = on_demand
        self._full_feature_names = full_feature_names
        self._metadata = metadata

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        return self._compute()

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        frame: pd.DataFrame = self._compute().to_pandas()
        return frame

    @property
    def full_feature_names(self) -> bool:
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        return self._on_demand

    @property
    def metadata(self) -> RetrievalMetadata | None:
        return self._metadata

    def persist(
        self, storage: Any, allow_overwrite: bool = False, timeout: int | None = None
    ) -> None:
        """Writes the training set as Feast's saved dataset: a Parquet file."""
        path = Path(storage.file_options.uri)
        if path.exists() and not allow_overwrite:
            raise DataError(f"{path} exists", hint="give another path, or allow_overwrite=True")
        write_parquet(self.to_arrow(), path)


class DuckDBOfflineStore(DaskOfflineStore):
    """Historical features by Penstock; what else Feast asks of a store on files, by its own."""

    supports_filter_by_created_timestamp = True

    @classmethod
    def get_historical_features(
        cls,
        config: Any,
        feature_views: list[Any],
        feature_refs: list[str],
        entity_df: pd.DataFrame | pa.Table | str | None,
        registry: Any,
        project: str,
        full_feature_names: bool = False,
        **span: Any,
    ) -> RetrievalJob:
        """`entity_df` is a frame, an Arrow table or a query in DuckDB's SQL.

        Times without a zone are UTC. Without `entity_df`, Feast's own store reads the time range.
        """
        if entity_df is None:
            return DaskOfflineStore.get_historical_features(
                config, feature_views, feature_refs, None, registry, project, full_feature_names,
                **span,
            )  # fmt: skip
        # Another Feast repository's own settings know neither.
        root = Path(getattr(config.offline_store, "root", "") or config.repo_path)
        memory = getattr(config.offline_store, "memory", DEFAULT_MEMORY)
        on_demand = _get_requested_on_demand_feature_views(feature_refs, project, registry)
        wanted, _ = _get_requested_feature_views_to_features_dict(
            feature_refs, feature_views, on_demand
        )
        asked = _requested(_asked(entity_df, root), on_demand)
        join = partial(cls.joined, config, Path(config.repo_path), root, memory)
        compute = History(asked, wanted, join, full_feature_names)
        metadata = _metadata(feature_refs, asked, compute.at)
        return HistoryJob(compute.table, on_demand, full_feature_names, metadata)

    @staticmethod
    def joined(
        config: Any, repository: Path, root: Path, memory: int, view: Any, asked: Asked
    ) -> pa.Table:
        """The features of one view, one row for each row asked, in its order."""
        definition, facts = readable(view, repository, root)
        return features_at(definition, facts, asked, memory)


class History:
    """The rows asked, with the features of each view beside them."""

    def __init__(
        self,
        asked: pa.Table,
        wanted: Mapping[Any, Sequence[str]],
        join: Callable[[Any, Asked], pa.Table],
        full_feature_names: bool = False,
    ) -> None:
        self._asked = asked
        self._wanted = wanted
        self._join = join
        self._full = full_feature_names
        self.at = _time_column(asked)

    def table(self) -> pa.Table:
        """One row for each row asked, in its order, whether features are found or not."""
        joined = self._asked
        for view, names in self._wanted.items():
            features = self._of(view)
            for name in names:
                prefix = f"{view.projection.name_to_use()}__" if self._full else ""
                joined = _beside(joined, prefix + name, features[name])
        return joined

    def _of(self, view: Any) -> pa.Table:
        keys = keys_of(view)
        require_columns(self._asked, tuple(keys), f"the feature view {view.name}")
        return self._join(view, Asked(self._asked, self.at, keys))


def _beside(table: pa.Table, name: str, column: pa.ChunkedArray) -> pa.Table:
    if name in table.column_names:
        raise DataError(
            f"{name!r} is there twice: in the rows asked about and as a feature, or in two views",
            hint="rename one of them, or ask with full_feature_names",
        )
    return table.append_column(name, column)


def _asked(entity_df: Any, root: Path) -> pa.Table:
    if isinstance(entity_df, pa.Table):
        return entity_df
    if isinstance(entity_df, str):
        try:
            return connect(root).sql(entity_df).to_arrow_table()
        except duckdb.Error as error:
            raise DataError(
                f"DuckDB cannot answer the query for the rows: {str(error).splitlines()[0]}",
                hint="it must give the entities' keys and a column event_timestamp",
            ) from error
    return pa.Table.from_pandas(entity_df, preserve_index=False).replace_schema_metadata(None)


def _requested(asked: pa.Table, on_demand: list[OnDemandFeatureView]) -> pa.Table:
    """What on-demand views take from the request, in the types that they declare.

    A query's 7.0 is a decimal, with which pandas does not calculate.
    """
    for view in on_demand:
        for name, kind in view.get_request_data_schema().items():
            if name not in asked.column_names:
                continue  # Feast says which are missing
            wanted = from_feast_to_pyarrow_type(from_value_type(kind))
            try:
                column = asked[name].cast(wanted)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise DataError(
                    f"{name!r} of the rows asked about is no {wanted}, as {view.name} wants: "
                    f"{str(error).splitlines()[0]}",
                    hint="cast the column",
                ) from error
            asked = asked.set_column(asked.column_names.index(name), name, column)
    return asked


def _time_column(asked: pa.Table) -> str:
    """`event_timestamp`, or the only time there is."""
    times = [field.name for field in asked.schema if pa.types.is_timestamp(field.type)]
    if TIME in asked.column_names:
        return TIME
    if len(times) == 1:
        return str(times[0])
    raise DataError(
        f"the rows asked about have no column {TIME!r}; they have {', '.join(asked.column_names)}",
        hint="add the moment that each row is asked about",
    )


def _metadata(refs: list[str], asked: pa.Table, at: str) -> RetrievalMetadata:
    keys = [name for name in asked.column_names if name != at]
    bounds: list[datetime | None] = [None, None]
    if asked.num_rows and pa.types.is_timestamp(asked[at].type):
        import pyarrow.compute as pc

        found = pc.min_max(asked[at].cast(pa.timestamp("us"), safe=False))
        bounds = [found["min"].as_py(), found["max"].as_py()]
    return RetrievalMetadata(refs, keys, bounds[0], bounds[1])
