"""What the packed online stores have in common: Feast's `OnlineStore` over a `RowStore`."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

import pyarrow as pa
from feast import Entity, FeatureView
from feast.infra.online_stores.online_store import OnlineStore
from feast.infra.supported_async_methods import SupportedAsyncMethods
from feast.online_response import OnlineResponse
from feast.repo_config import RepoConfig

from penstock.errors import DataError
from penstock.features.definition import FEEDS_TAG
from penstock.features.online_stores import coverage
from penstock.features.online_stores.backend import RowStore
from penstock.features.online_stores.feeding import FedViews, raw_events
from penstock.features.online_stores.latest_reader import LatestReader
from penstock.features.online_stores.layout import Fields, Layout, Note, layout_of
from penstock.features.online_stores.plan import Plans
from penstock.features.online_stores.response import PackedResponse
from penstock.features.online_stores.rows import NOT_FOUND, PRESENT
from penstock.features.online_stores.values import codec_of
from penstock.features.online_stores.writing import (
    Written,
    admit,
    as_datetime,
    moment,
    write_protos,
    write_table,
)

log = logging.getLogger(__name__)


class PackedOnlineStore(OnlineStore):
    """One packed row an entity and view.

    Views of the latest row keep that; views of aggregates keep events, and finish their windows
    when they are read, so that what is served at a time is what the offline store gives for it.
    """

    # Feast 0.67 imports all of its own stores at the first read to find this out: 0.7 s, for which
    # the first clients of an on-demand feature would wait.
    _versioned_read_supported = False

    def __init__(self) -> None:
        self._config: RepoConfig | None = None
        self._opened: RowStore | None = None
        self._plans = Plans(self._reader)
        self._fed = FedViews()

    @abstractmethod
    def open_rows(self, config: RepoConfig) -> RowStore:
        """The rows that the settings name."""

    def now(self) -> int:
        """The time of a read, in nanoseconds since 1970."""
        return time.time_ns()

    # Reading

    def get_online_features(
        self,
        config: RepoConfig,
        features: Any,
        entity_rows: Any,
        registry: Any,
        project: str,
        full_feature_names: bool = False,
        include_feature_view_version_metadata: bool = False,
    ) -> OnlineResponse:
        """As Feast's, from one read of the store.

        On-demand features, and requests that Feast refuses, go Feast's own way, by `online_read`.
        """
        rows = self._rows(config)
        plan = self._plans.find(registry, project, features, full_feature_names)
        asked = plan.entities(entity_rows) if plan else None
        if plan is None or asked is None or include_feature_view_version_metadata:
            return super().get_online_features(
                config,
                features,
                entity_rows,
                registry,
                project,
                full_feature_names,
                include_feature_view_version_metadata,
            )
        places = [(part.space, part.keys_of(asked)) for part in plan.parts]
        held = rows.read_many(places)
        now = self.now()
        read = []
        for part, (_, keys), part_rows in zip(plan.parts, places, held, strict=True):
            read.append((part.columns, part.reader.read(part_rows, keys, now)))
        return PackedResponse(plan.echo(asked), read, now)

    async def get_online_features_async(self, *args: Any, **kwargs: Any) -> OnlineResponse:
        return await self._aside(self.get_online_features, *args, **kwargs)

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[Any],
        requested_features: list[str] | None = None,
    ) -> list[tuple[datetime | None, dict[str, Any] | None]]:
        """Feast's own protocol: for each entity its time and values; none where it is unknown."""
        layout = layout_of(config.project, table)
        kinds = dict(layout.fields)
        names = [n for n in requested_features or kinds if n in kinds]
        fields = tuple((name, kinds[name]) for name in names)
        rows = self._rows(config)
        keys = [layout.codec.of_proto(key) for key in entity_keys]
        reader = self._reader(layout, fields)
        keys += reader.beside
        [read] = rows.read_many([(layout.space, keys)])
        found = reader.read(read, keys, self.now())
        codecs = [codec_of(kind) for _, kind in fields]
        answer: list[tuple[datetime | None, dict[str, Any] | None]] = []
        for values, state, happened in zip(found.rows, found.presence, found.happened, strict=True):
            there = state == PRESENT or (state == NOT_FOUND and any(v is not None for v in values))
            protos = {n: c.proto(v) for n, c, v in zip(names, codecs, values, strict=True)}
            when = None if state == NOT_FOUND else as_datetime(happened)
            answer.append((when, protos if there else None))
        return answer

    async def online_read_async(self, *args: Any, **kwargs: Any) -> Any:
        return await self._aside(self.online_read, *args, **kwargs)

    @property
    def async_supported(self) -> SupportedAsyncMethods:
        return SupportedAsyncMethods(read=True, write=True)

    # Writing

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[Written],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Feast's own protocol, by which it pushes and its own engines materialise.

        What is pushed to a view of raw events goes to the view that it feeds.
        """
        if fed := table.tags.get(FEEDS_TAG):
            self._feed(config, fed, layout_of(config.project, table), data)
        else:
            layout = layout_of(config.project, table)
            if layout.aggregated:
                raise DataError(
                    f"feature view {layout.view!r} has time windows, of which the store keeps "
                    "events and no finished values",
                    hint="push events to its source; or materialise with Penstock's batch engine",
                )
            admit(self._rows(config), layout)
            write_protos(self._rows(config), layout, data, self.now())
        if progress:
            progress(len(data))

    async def online_write_batch_async(self, *args: Any, **kwargs: Any) -> None:
        await self._aside(self.online_write_batch, *args, **kwargs)

    def write_latest(
        self, config: RepoConfig, view: Any, table: pa.Table, happened: str, created: str
    ) -> None:
        """Keeps each row of the table that is the newest of its entity, and leaves out the others.

        The table has the view's join keys and features, and times under the names given.
        """
        layout = layout_of(config.project, view)
        admit(self._rows(config), layout)
        write_table(self._rows(config), layout, table, happened, created, self.now())

    def write_events(
        self, config: RepoConfig, view: Any, table: pa.Table, start: datetime, end: datetime
    ) -> None:
        """Keeps the source's events of an interval: of (start, end] it has the last word.

        A window gives a value when `filling` has noted that all of its events are there.
        """
        from penstock.features.online_stores.merging import write_source

        layout = layout_of(config.project, view)
        admit(self._rows(config), layout)
        write_source(self._rows(config), layout, table, start, end, self.now())

    def push_events(self, config: RepoConfig, view: Any, table: pa.Table) -> None:
        """Adds events that the source may not have yet."""
        from penstock.features.online_stores.merging import write_pushed

        layout = layout_of(config.project, view)
        admit(self._rows(config), layout)
        write_pushed(self._rows(config), layout, table, self.now())

    def _feed(self, config: RepoConfig, fed: str, raw: Layout, data: Sequence[Written]) -> None:
        view, layout = self._fed.find(config, fed, self._rows(config))
        definition, table = raw_events(config, raw, layout, data)
        if definition.aggregates:
            self.push_events(config, view, table)
        else:
            source = definition.source
            self.write_latest(config, view, table, source.timestamp, source.created)

    def forget(self, config: RepoConfig, view: Any, entity: Mapping[str, Any]) -> int:
        """Deletes the row of one entity, named by all join keys of the view; how many there were.

        What is materialised or pushed later counts anew.
        """
        layout = layout_of(config.project, view)
        keys = layout.codec.encode([[entity[name]] for name in layout.codec.names], 1)
        return self._rows(config).delete(layout.space, [key for key in keys if key is not None])

    # What is covered

    def filling(
        self, config: RepoConfig, view: Any, start: datetime, end: datetime
    ) -> AbstractContextManager[None]:
        """Around the writing of all rows of an interval, which is noted as covered at the end.

        Raises `DataError` where rows may have been lost meanwhile, `ResourceError` where they may
        be later without a trace; then nothing is noted.
        """
        rows, layout = self._rows(config), layout_of(config.project, view)
        if layout.aggregated:
            rows.require_lasting()
        admit(rows, layout)
        birth = secrets.token_hex(8)
        return coverage.filling(rows, layout, moment(start), moment(end), birth)

    def covered(self, config: RepoConfig, view: Any) -> list[tuple[datetime, datetime]]:
        """The spans of event time of which the store has all rows, in order; UTC."""
        spans = coverage.covered_spans(self._rows(config), layout_of(config.project, view))
        return [(as_datetime(start), as_datetime(end)) for start, end in spans]

    # What there is

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[Any],
        tables_to_keep: Sequence[Any],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
        partial: bool,
    ) -> None:
        """Drops views that are gone, and those whose stored rows no longer mean what they did."""
        rows = self._rows(config)
        for view in tables_to_delete:
            coverage.drop(rows, f"{config.project}:{view.name}")
        for view in tables_to_keep:
            layout = layout_of(config.project, view)
            text = rows.get_note(layout.space)
            note = Note.from_json(layout.space, text) if text else Note.of(layout)
            if why := note.differs(layout):
                log.warning(
                    "feature view %r: %s. Its online rows are dropped; materialise it again",
                    layout.view,
                    why,
                )
                coverage.drop(rows, layout.space)
                note = Note.of(layout)
            if text is None or note.with_schema(layout).to_json() != text:
                rows.put_note(layout.space, note.with_schema(layout).to_json())

    def teardown(
        self, config: RepoConfig, tables: Sequence[FeatureView], entities: Sequence[Entity]
    ) -> None:
        """Deletes the rows of the project's views; in LMDB, those of all that share the folder."""
        rows = self._rows(config)
        for view in tables:
            coverage.drop(rows, f"{config.project}:{view.name}")
        rows.teardown()

    def _rows(self, config: RepoConfig) -> RowStore:
        if self._opened is None or config is not self._config:
            self._opened, self._config = self.open_rows(config), config
        return self._opened

    def _reader(self, layout: Layout, fields: Fields) -> Any:
        if layout.aggregated:
            from penstock.features.online_stores.tail_reader import TailReader

            return TailReader(layout, fields)
        reader = LatestReader(layout.space, fields, layout.ttl, self._schemas(layout.space))
        reader.knows(layout.schema, layout.fields)
        return reader

    def _schemas(self, space: str) -> Callable[[], Mapping[int, Fields]]:
        rows = self._opened

        def known() -> Mapping[int, Fields]:
            text = rows.get_note(space) if rows else None
            return Note.from_json(space, text).schemas if text else {}

        return known

    async def _aside(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """In a thread where work waits for a network."""
        if self._opened is not None and not self._opened.remote:
            return work(*args, **kwargs)
        return await asyncio.to_thread(work, *args, **kwargs)
