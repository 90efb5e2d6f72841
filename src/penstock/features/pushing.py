"""Rows that are pushed to the online store as they happen, before any batch brings them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from penstock.errors import ProjectError
from penstock.features.feast_objects import push_source_name
from penstock.features.store import open_store
from penstock.frames.checks import require_columns, require_rows
from penstock.project import Project


def push_rows(project: Project, source: str, rows: pa.Table) -> int:
    """Pushes rows of a source; they count within the second. Gives how many.

    Raises `ProjectError` for an unknown source, `DataError` for rows without its columns.
    """
    store = open_store(project.root)
    sources = {one.name: one for one in store.list_data_sources()}
    name = push_source_name(source)
    if name not in sources:
        known = [n for n in sources if push_source_name(n) in sources]
        raise ProjectError(
            f"there is no source {source!r} to push to",
            hint=f"the sources are: {', '.join(known) or 'none; run `penstock features apply`'}",
        )
    require_rows(rows, f"the file for {source!r}")
    require_columns(rows, _needed(store, name), f"the source {source!r}")
    store.push(name, rows.to_pandas())
    return int(rows.num_rows)


def _needed(store: Any, push_source: str) -> tuple[str, ...]:
    """All columns that the views fed by a push source have."""
    names: list[str] = []
    for view in store.list_feature_views():
        if view.stream_source is not None and view.stream_source.name == push_source:
            batch = view.batch_source
            names += [column.name for column in (*view.entity_columns, *view.features)]
            names += filter(None, (batch.timestamp_field, batch.created_timestamp_column))
    return tuple(dict.fromkeys(name for name in names if name != "__dummy_id"))
