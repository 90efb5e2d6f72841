"""Rows that are pushed to the online store as they happen, before any batch brings them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from penstock.errors import DataError, ProjectError
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
    needed = _needed(store, name)
    require_columns(rows, tuple(needed), f"the source {source!r}")
    store.push(name, _as_declared(rows, needed).to_pandas())
    return int(rows.num_rows)


def _needed(store: Any, push_source: str) -> dict[str, pa.DataType]:
    """All columns that the views fed by a push source have, and their types."""
    from feast.types import from_feast_to_pyarrow_type

    kinds: dict[str, pa.DataType] = {}
    for view in store.list_feature_views():
        if view.stream_source is not None and view.stream_source.name == push_source:
            for column in (*view.entity_columns, *view.features):
                kinds[column.name] = from_feast_to_pyarrow_type(column.dtype)
            batch = view.batch_source
            for time in filter(None, (batch.timestamp_field, batch.created_timestamp_column)):
                kinds[time] = pa.timestamp("ns", "UTC")
    kinds.pop("__dummy_id", None)
    return kinds


def _as_declared(rows: pa.Table, kinds: Mapping[str, pa.DataType]) -> pa.Table:
    """Feast 0.67 asserts the types of what is pushed, one value at a time."""
    columns = {}
    for name, kind in kinds.items():
        try:
            columns[name] = rows[name].cast(kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise DataError(
                f"{name!r} of the rows to push is a {rows[name].type} and not a {kind}: "
                f"{str(error).splitlines()[0]}",
                hint="push values of the source's own type",
            ) from error
    return pa.table(columns)
