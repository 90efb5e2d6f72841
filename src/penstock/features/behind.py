"""The rows of the sources that an entity's features rest on, at a moment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from penstock.features.definition import Source, ViewDefinition
from penstock.features.facts import Facts, source_rows
from penstock.features.feast_views import readable
from penstock.features.store import keys_of, open_store, repository, views_behind
from penstock.project import Project

MOST = 1_000  # rows of a view that are given; all are counted


@dataclass(frozen=True)
class Behind:
    """Rows of one view's source, the oldest first."""

    view: str
    source: str
    since: datetime | None  # exclusive: where the longest window begins; None: no row is too old
    count: int
    rows: pa.Table  # keys, times, and the columns that features are made of


def rows_behind(
    project: Project, service: str, entities: Mapping[str, Any], at: datetime
) -> list[Behind]:
    """What each view of a feature service knew of an entity at `at` (UTC).

    Of aggregates the rows in the longest window, of the latest row that one alone. Raises
    `ProjectError` where the service is not there any more.
    """
    store = open_store(project.root)
    found = store.get_feature_service(service)
    return list(_views(store, found, project, entities, at))


def dataset_rows(
    file: Path, name: str, entities: Mapping[str, Any], event_time: str, until: datetime
) -> Behind | None:
    """What a dataset has of an entity up to a moment: where features are computed from it.

    None where it has not the entity's keys as columns, or no rows of them.
    """
    facts = source_rows(Source(name=name, kind="parquet", location=str(file)), file.parent)
    times = (event_time,) if event_time else ()
    if not set(entities) <= set(facts.schema.names):
        return None
    table = facts.table(tuple(facts.schema.names), _of_entity(facts, entities))
    known = [row for row in table.to_pylist() if _counts(row, times, None, until)]
    rows = pa.Table.from_pylist(known[-MOST:], table.schema)
    return Behind(name, str(file), None, len(known), rows) if known else None


def _views(
    store: Any, service: Any, project: Project, entities: Mapping[str, Any], at: datetime
) -> Iterator[Behind]:
    for view in views_behind(store, service):
        definition, facts = readable(view, repository(project.root), project.root)
        keys = {own: entities[asked] for asked, own in keys_of(view).items() if asked in entities}
        if len(keys) == len(definition.keys):
            yield _behind(definition, facts, keys, at)


def _behind(view: ViewDefinition, facts: Facts, keys: Mapping[str, Any], at: datetime) -> Behind:
    source = view.source
    times = tuple(name for name in (source.timestamp, source.created) if name)
    columns = tuple(dict.fromkeys((*keys, *times, *view.inputs)))
    table = facts.table(columns, _of_entity(facts, keys))
    since = _left_edge(view, at)
    known = [row for row in table.to_pylist() if _counts(row, times, since, at)]
    known.sort(key=lambda row: [_utc(row[name]) for name in times if row[name] is not None])
    if not view.aggregates:
        known = known[-1:]
    return Behind(
        view=view.name,
        source=source.location,
        since=since,
        count=len(known),
        rows=pa.Table.from_pylist(known[-MOST:], table.schema),
    )


def _of_entity(facts: Facts, keys: Mapping[str, Any]) -> Any:
    """An expression for the rows of an entity; None, for all rows, where a view has no keys."""
    among = None
    for name, value in keys.items():
        own = facts.column(name) == pa.scalar(value).cast(facts.schema.field(name).type)
        among = own if among is None else among & own
    return among


def _left_edge(view: ViewDefinition, at: datetime) -> datetime | None:
    """Where the longest window begins; None where one of them has no beginning."""
    if not view.aggregates:
        return at - view.ttl - timedelta(microseconds=1) if view.ttl else None
    spans = [one.window + one.offset for one in view.aggregates if one.window is not None]
    if len(spans) < len(view.aggregates):
        return None
    return at - max(spans) - view.resolution


def _counts(
    row: Mapping[str, Any], times: tuple[str, ...], since: datetime | None, at: datetime
) -> bool:
    """In the window by its own time, and known by then."""
    moments = [_utc(row[name]) for name in times if row[name] is not None]
    return all(moment <= at for moment in moments) and (
        since is None or not moments or moments[0] > since
    )


def _utc(value: Any) -> datetime:
    """As `Source` says: a time without a zone is UTC."""
    moment = value if isinstance(value, datetime) else datetime.combine(value, time.min)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
