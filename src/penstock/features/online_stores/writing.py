"""Rows of the latest values out of Feast's protos and out of Arrow tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from penstock.errors import DataError
from penstock.features.definition import ViewDefinition, arrow_type
from penstock.features.online_stores.backend import RowStore
from penstock.features.online_stores.columns import nanoseconds, stored_column
from penstock.features.online_stores.keys import Key
from penstock.features.online_stores.layout import Layout, Note
from penstock.features.online_stores.rows import NEVER, packed
from penstock.features.online_stores.settling import newest, settle
from penstock.features.online_stores.values import Ext, codec_of

BATCH_ROWS = 10_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# An entity key, values by feature, when it happened, and when it was created, if that is known.
Written = tuple[Any, Mapping[str, Any], datetime, datetime | None]


def admit(rows: RowStore, layout: Layout) -> None:
    """Notes how the rows about to be written are to be read.

    Raises `DataError` where rows of another key or definition are there.
    """
    text = rows.get_note(layout.space)
    note = Note.from_json(layout.space, text) if text else Note.of(layout)
    if why := note.differs(layout):
        raise DataError(
            f"feature view {layout.view!r} cannot be written online: {why} since the features "
            "were applied to this store",
            hint="apply the features again, then materialise",
        )
    if text is None or layout.schema not in note.schemas:
        rows.put_note(layout.space, note.with_schema(layout).to_json())


def write_protos(rows: RowStore, layout: Layout, written: Sequence[Written], now: int) -> None:
    """Keeps each row that is the newest of its entity, or will be; `now` in nanoseconds since 1970.

    Features that are not given are missing.
    """
    codecs = [(name, codec_of(kind)) for name, kind in layout.fields]
    keys, values, happened, created = [], [], [], []
    for entity, features, when, known in written:
        keys.append(layout.codec.of_proto(entity))
        values.append([c.stored(features[n]) if n in features else None for n, c in codecs])
        happened.append(moment(when))
        created.append(NEVER if known is None else moment(known))
    foreign = any(type(value) is Ext for row in values for value in row)
    made = packed(layout.schema, happened, created, values, foreign=foreign)
    _merge(rows, layout, keys, made, now)


def write_table(
    rows: RowStore, layout: Layout, table: pa.Table, happened: str, created: str, now: int
) -> None:
    """The same of an Arrow table: key columns, the features, and times; `created` may be empty.

    Rows with a null key, or without a time, are left out. Raises `DataError` for a missing column.
    """
    needed = [
        happened,
        *filter(None, [created]),
        *layout.codec.names,
        *(n for n, _ in layout.fields),
    ]
    if absent := [name for name in needed if name not in table.column_names]:
        raise DataError(
            f"the rows for feature view {layout.view!r} lack {', '.join(absent)}; they have "
            f"{', '.join(table.column_names)}",
            hint="apply the features again if the source changed",
        )
    if table.num_rows > BATCH_ROWS:
        # In the order of the keys, so that a batch touches the rows of one part of the store.
        keys = [key or b"" for key in layout.codec.of_table(table)]
        table = table.take(pa.array(sorted(range(len(keys)), key=keys.__getitem__)))
    for start in range(0, table.num_rows, BATCH_ROWS):
        _write_batch(rows, layout, table.slice(start, BATCH_ROWS), happened, created, now)


def _write_batch(
    rows: RowStore, layout: Layout, table: pa.Table, happened: str, created: str, now: int
) -> None:
    what = f"feature view {layout.view!r}, column"
    when = nanoseconds(table[happened], f"{what} {happened!r}")
    if (when == NEVER).any():
        table = table.filter(pa.array(when != NEVER))
        when = when[when != NEVER]
    known = np.full(len(when), NEVER)
    if created:
        known = nanoseconds(table[created], f"{what} {created!r}")
    columns = [
        stored_column(table[name], codec_of(kind), f"{what} {name!r}")
        for name, kind in layout.fields
    ]
    foreign = any(type(value) is Ext for column in columns for value in column[:1] or ()) or any(
        not codec_of(kind).attribute for _, kind in layout.fields
    )
    values = zip(*columns, strict=True) if columns else iter([()] * len(when))
    made = packed(layout.schema, when.tolist(), known.tolist(), values, foreign=foreign)
    _merge(rows, layout, layout.codec.of_table(table), made, now)


def _merge(
    rows: RowStore, layout: Layout, keys: Sequence[Key], made: Sequence[bytes], now: int
) -> None:
    """One row a key is handed on: the newest, of equal ones the last."""
    chosen: dict[bytes, bytes] = {}
    for key, row in zip(keys, made, strict=True):
        if key is None:
            continue
        there = chosen.get(key)
        chosen[key] = row if there is None else settle(layout.space, there, row, now)
    places, ordered = list(chosen), list(chosen.values())
    for start in range(0, len(places), BATCH_ROWS):
        part = slice(start, start + BATCH_ROWS)
        rows.merge(layout.space, places[part], newest(layout.space, ordered[part], now))


def moment(time: Any) -> int:
    """Nanoseconds since 1970; a time without a zone is UTC."""
    if hasattr(time, "value"):  # pandas' Timestamp, which knows nanoseconds
        return int(time.as_unit("ns").value)
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    return int((aware - EPOCH) // timedelta(microseconds=1)) * 1_000


def as_datetime(moment: int) -> datetime:
    """The inverse, to the microsecond; UTC."""
    return EPOCH + timedelta(microseconds=moment // 1_000)


def events_table(
    definition: ViewDefinition, layout: Layout, written: Sequence[Written]
) -> pa.Table:
    """Rows of the source of a view, as they were pushed to the view of its raw events.

    `layout` is that of the raw events. Raises `DataError` where a value does not fit the source.
    """
    source = definition.source
    kinds = {column.name: arrow_type(column.type) for column in source.columns}
    columns: dict[str, list[Any]] = {name: [] for name, _ in (*layout.keys, *layout.fields)}
    times: dict[str, list[Any]] = {source.timestamp: [], source.created: []}
    codecs = {name: codec_of(kind) for name, kind in (*layout.keys, *layout.fields)}
    for entity, features, when, known in written:
        named = dict(zip(entity.join_keys, entity.entity_values, strict=True))
        for name, column in columns.items():
            proto = features[name] if name in features else named.get(name)
            codec = codecs[name]
            column.append(None if proto is None else codec.python(codec.stored(proto)))
        times[source.timestamp].append(moment(when))
        times[source.created].append(None if known is None else moment(known))
    made = {n: _array(n, c, kinds.get(n)) for n, c in columns.items() if n in kinds}
    for name, moments in times.items():
        if name:
            made[name] = pa.array(moments, pa.timestamp("ns", "UTC"))
    return pa.table(made)


def _array(name: str, values: Iterable[Any], kind: Any) -> pa.Array:
    try:
        if pa.types.is_decimal(kind):
            return pa.array(values, pa.float64()).cast(kind, safe=False)
        return pa.array(values, kind)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise DataError(
            f"pushed values of {name!r} do not fit the source's {kind}: "
            f"{str(error).splitlines()[0]}",
            hint="push values of the source's own type",
        ) from error
