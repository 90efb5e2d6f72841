"""Feast's compute engine that fills online stores in bulk. Loaded as a Feast plugin only.

In feature_store.yaml: `type: penstock.features.compute_engine.DuckDBComputeEngine`. Rows are read
as Arrow and packed as bytes, a part of the entities at a time; nothing becomes a Python object that
need not. What is written is newer or equal, so a materialisation that dies half way leaves old
values or new ones, and doing it again changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from feast.infra.common.materialization_job import (
    MaterializationJob,
    MaterializationJobStatus,
    MaterializationTask,
)
from feast.infra.compute_engines.base import ComputeEngine
from feast.infra.compute_engines.local.compute import LocalComputeEngine
from feast.infra.compute_engines.local.job import LocalMaterializationJob
from feast.repo_config import FeastConfigBaseModel
from feast.utils import _convert_arrow_to_proto

from penstock.features.facts import view_rows
from penstock.features.feast_views import definition_of, is_parquet, source_of
from penstock.features.materialise import BEGINNING, Filling, first_needed
from penstock.features.spans import gaps
from penstock.setting_types import in_utc


class DuckDBComputeEngineConfig(FeastConfigBaseModel):
    """`memory`: bytes that a materialisation may take."""

    type: str = "penstock.features.compute_engine.DuckDBComputeEngine"
    memory: int = 4 * 2**30


class DuckDBComputeEngine(ComputeEngine):
    """Materialises views of Parquet files and Penstock's own; others as Feast does."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._memory = int(settings.get("memory", 4 * 2**30))

    def update(self, *_: Any, **__: Any) -> None:
        """Nothing to prepare."""

    def teardown_infra(self, *_: Any, **__: Any) -> None:
        """Nothing to take down."""

    def get_historical_features(self, registry: Any, task: Any) -> Any:
        """By the offline store, as Feast does without an engine."""
        return self._feast().get_historical_features(registry, task)

    def _materialize_one(self, registry: Any, task: MaterializationTask, **_: Any) -> Any:
        """As Feast asks for it; for windows also what they need and the store has not got."""
        start, end = _interval(task)
        definition = definition_of(task.feature_view)
        if definition is not None and definition.aggregates and not self._stock:
            there = self.online_store.covered(self.repo_config, task.feature_view)
            missing = gaps(first_needed(definition, end), end, there)
            start = min([start, *(low for low, _ in missing)])
        return self.fill(registry, replace(task, start_time=start, end_time=end))

    def fill(self, registry: Any, task: MaterializationTask) -> MaterializationJob:
        """Brings the rows of a task's interval, as far as it is past, and no others.

        What the store holds is noted when it is done.
        """
        view, (start, end) = task.feature_view, _interval(task)
        with self._noted(view, start, end):
            if definition_of(view) is None and not is_parquet(view):
                job = self._feast()._materialize_one(registry, task)
                if error := job.error():
                    raise error
                return job
            self._fill(view, start, end, task.tqdm_builder or _unwatched)
        name = f"{view.name}-{task.start_time}-{task.end_time}"
        return LocalMaterializationJob(name, MaterializationJobStatus.SUCCEEDED)

    def _noted(self, view: Any, start: datetime, end: datetime) -> AbstractContextManager[None]:
        store = self.online_store
        return nullcontext() if self._stock else store.filling(self.repo_config, view, start, end)

    def _feast(self) -> LocalComputeEngine:
        return LocalComputeEngine(
            repo_config=self.repo_config,
            offline_store=self.offline_store,
            online_store=self.online_store,
            backend="pandas",
        )

    def _fill(self, view: Any, start: datetime, end: datetime, progress: Any) -> None:
        repository = Path(self.repo_config.repo_path)
        root = Path(getattr(self.repo_config.offline_store, "root", "") or repository)
        definition, rows = source_of(view, repository, root)
        if definition.aggregates and self._stock:  # which shall forget what no window holds now
            start = min(start, first_needed(definition, start))
        filling = Filling(definition, rows, start, end)
        with progress(rows.count()) as bar:
            for table in self.written(filling, root, finished=self._stock):
                self._write(view, filling, table)
                bar.update(table.num_rows)
            bar.update(bar.total - bar.n)  # rows outside the interval, and those not the latest

    def written(self, filling: Filling, root: Path, *, finished: bool) -> Iterator[pa.Table]:
        """What the store is given; `filling` has the rows of the source as they stand."""
        rows = view_rows(filling.view, filling.facts, root)
        return replace(filling, facts=rows).written(self._memory, finished=finished)

    @property
    def _stock(self) -> bool:
        """Whether the online store is Feast's own, which knows values and no events."""
        return not hasattr(self.online_store, "write_latest")

    def _write(self, view: Any, filling: Filling, table: pa.Table) -> None:
        """Packed where the store can; through Feast's own protocol where it cannot."""
        store, config, source = self.online_store, self.repo_config, filling.view.source
        if self._stock:
            # Feast 0.67 converts the first of a table's batches only.
            for batch in table.combine_chunks().to_batches():
                joined = {c.name: c.dtype.to_value_type() for c in view.entity_columns}
                rows = _convert_arrow_to_proto(batch, view, joined)
                store.online_write_batch(config, view, rows, None)
        elif filling.view.aggregates:
            store.write_events(config, view, table, filling.start, filling.end)
        else:
            store.write_latest(config, view, table, source.timestamp, source.created)


def _interval(task: MaterializationTask) -> tuple[datetime, datetime]:
    """Of a task, as far as it is past; all of the past where it has none."""
    now = datetime.now(UTC)
    if task.disable_event_timestamp:
        return BEGINNING, now
    end = min(in_utc(task.end_time), now)
    return min(in_utc(task.start_time), end), end


def _unwatched(_: int) -> Any:
    from tqdm import tqdm  # Feast's own

    return tqdm(disable=True)
