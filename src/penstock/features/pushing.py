"""Rows that are pushed to the online store as they happen, before any batch brings them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock.errors import DataError, ProjectError
from penstock.features.feast_objects import push_source_name
from penstock.features.store import open_store
from penstock.frames.checks import require_columns, require_known, require_rows
from penstock.project import Project


def push_rows(project: Project, source: str, rows: pa.Table) -> int:
    """Pushes rows of a source; they count within the second. Gives how many.

    Raises `ProjectError` for an unknown source, and `DataError` for rows without its columns or
    that could count nowhere: without a time, or without a key of any view. Nothing is then pushed.
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
    what = f"the rows to push to {source!r}"
    require_rows(rows, f"the file for {source!r}")
    fed = [
        v for v in store.list_feature_views() if v.stream_source and v.stream_source.name == name
    ]
    needed = _needed(fed)
    require_columns(rows, tuple(needed), f"the source {source!r}")
    pushed = _as_declared(rows, needed)
    require_known(pushed, tuple(_times(fed)), what)
    _require_keys(pushed, [_keys(view) for view in fed], what)
    for part in _parts(pushed):
        frame = part.to_pandas(integer_object_nulls=True)
        store.push(name, frame)
        for view in fed:
            features = [feature.name for feature in view.features]
            if features and frame[features].isnull().all(axis=None):
                # Feast 0.67 passes over rows of which no feature is known; a count counts them.
                store._get_provider().ingest_df(view, frame)
    return int(rows.num_rows)


def _parts(rows: pa.Table) -> Iterator[pa.Table]:
    """The rows in their order, as few at a time as keep all digits of their integers.

    Feast 0.67 makes floats of a column of integers that has nulls, which end at 2**53.
    """
    lossy = [name for name in rows.column_names if _loses_digits(rows[name])]
    if not lossy:
        yield rows
        return
    nulls = np.column_stack([pc.is_null(rows[name]).to_numpy() for name in lossy])
    changes = np.flatnonzero((nulls[1:] != nulls[:-1]).any(axis=1)) + 1
    for start, end in pairwise([0, *changes.tolist(), len(rows)]):
        yield rows.slice(start, end - start)


def _loses_digits(column: pa.ChunkedArray) -> bool:
    if not (pa.types.is_integer(column.type) and column.null_count):
        return False
    bounds = pc.min_max(column)
    return any(abs(bounds[end].as_py() or 0) > 2**53 for end in ("min", "max"))


def _needed(fed: Sequence[Any]) -> dict[str, pa.DataType]:
    """All columns that the views fed by a push source have, and their types."""
    from feast.types import from_feast_to_pyarrow_type

    kinds: dict[str, pa.DataType] = {}
    for view in fed:
        for column in (*view.entity_columns, *view.features):
            kinds[column.name] = from_feast_to_pyarrow_type(column.dtype)
    kinds.pop("__dummy_id", None)
    return kinds | dict.fromkeys(_times(fed), pa.timestamp("ns", "UTC"))


def _times(fed: Sequence[Any]) -> list[str]:
    """When the rows happened, and since when they are known."""
    times = [
        time
        for view in fed
        for time in (view.batch_source.timestamp_field, view.batch_source.created_timestamp_column)
    ]
    return list(dict.fromkeys(filter(None, times)))


def _keys(view: Any) -> tuple[str, ...]:
    return tuple(column.name for column in view.entity_columns if column.name != "__dummy_id")


def _require_keys(rows: pa.Table, keys: Sequence[tuple[str, ...]], what: str) -> None:
    """Every row has the whole key of some view; else it would be taken and count nowhere."""
    lost = pa.array([True] * len(rows))
    for names in keys:
        missing = pa.array([False] * len(rows))
        for name in names:
            missing = pc.or_(missing, pc.is_null(rows[name]))
        lost = pc.and_(lost, missing)
    if not (count := pc.sum(lost).as_py()):
        return
    first = pc.index(lost, True).as_py()
    named = dict.fromkeys(name for names in keys for name in names)
    null = [name for name in named if not rows[name][first].is_valid]
    raise DataError(
        f"{', '.join(map(repr, null))} is null in row {first + 1:,} of {what}, and such a key "
        f"matches nothing; so it is in {count:,} of {len(rows):,} rows",
        hint="leave such rows out, or say whom they are about",
    )


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
