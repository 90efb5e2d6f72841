"""Brings events to the rows of their entities: the source's of an interval, and pushed ones.

The source has the last word on its interval: its events replace those that it gave before for
(start, end]. A pushed event stays until the source has an equal one, which is counted instead, so
that nothing counts twice; equal means the same times and the same values, one for one. Doing the
same again changes nothing.

At a merge events are dropped that no window can reach any more, a day of slack left; a view with a
lifetime aggregate keeps them all. Events that a source no longer has go when its interval is
materialised again and the entity still has some in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from penstock.errors import DataError
from penstock.features.online_stores.backend import Combine, Row, RowStore
from penstock.features.online_stores.columns import nanoseconds as column_ns
from penstock.features.online_stores.events import PUSHED, SOURCE, Events, as_stored
from penstock.features.online_stores.layout import FORMAT, Layout, nanoseconds, newer_version
from penstock.features.online_stores.rows import NEVER, TAIL
from penstock.features.online_stores.tails import HEADER, UNREADABLE, events_of, shape_of, tail_rows
from penstock.features.online_stores.writing import moment

MOST_ENTITIES, MOST_EVENTS = 10_000, 500_000  # of one merge
DAY = 86_400 * 10**9
Mask = np.ndarray[Any, np.dtype[np.bool_]]
Stays = Callable[[Events, Events], Mask]  # of old and new events: which old ones stay


def write_source(
    rows: RowStore, layout: Layout, table: pa.Table, start: datetime, end: datetime, now: int
) -> None:
    """The source's events of (start, end]; `now` in nanoseconds since 1970.

    The table has the view's key columns, its times and `inputs`. Raises `DataError` for a column
    that is missing or cannot be kept.
    """
    begun, ended = moment(start), moment(end)

    def stays(old: Events, new: Events) -> Mask:
        given = (old.happened > begun) & (old.happened <= ended) & (old.created <= ended)
        stay = (old.origin == PUSHED) | ~given
        kept: Mask = stay & ~_matched(old, stay, new)
        return kept

    _write(rows, layout, table, SOURCE, stays, now)


def write_pushed(rows: RowStore, layout: Layout, table: pa.Table, now: int) -> None:
    """Events that the source may not have yet, as they came."""
    _write(rows, layout, table, PUSHED, lambda old, _: np.ones(len(old), bool), now)


def _write(
    rows: RowStore, layout: Layout, table: pa.Table, origin: int, stays: Stays, now: int
) -> None:
    keys, arrived = _arrived(layout, table, origin)
    bounds = arrived.bounds(len(keys))
    begin = 0
    while begin < len(keys):
        most = int(np.searchsorted(bounds, bounds[begin] + MOST_EVENTS, "right")) - 1
        end = min(len(keys), begin + MOST_ENTITIES, max(begin + 1, most))
        part = arrived.take(np.arange(bounds[begin], bounds[end]))
        part = Events(part.entity - begin, part.happened, part.created, part.origin, part.columns)
        rows.merge(layout.space, keys[begin:end], _merging(layout, part, end - begin, stays, now))
        begin = end


def _arrived(layout: Layout, table: pa.Table, origin: int) -> tuple[list[bytes], Events]:
    """The keys of the entities, and the events by entity, each one's as they came."""
    view = layout.definition
    assert view is not None
    what = f"feature view {layout.view!r}, column"
    needed = [n for n in (view.source.timestamp, view.source.created, *view.inputs) if n]
    if absent := [name for name in needed if name not in table.column_names]:
        raise DataError(
            f"the events for feature view {layout.view!r} lack {', '.join(absent)}; they have "
            f"{', '.join(table.column_names)}",
            hint="apply the features again if the source changed",
        )
    happened = column_ns(table[view.source.timestamp], f"{what} {view.source.timestamp!r}")
    created = np.full(table.num_rows, NEVER)
    if view.source.created:
        created = column_ns(table[view.source.created], f"{what} {view.source.created!r}")
    numbers: dict[bytes, int] = {}
    codes = [
        -1 if key is None else numbers.setdefault(key, len(numbers))
        for key in layout.codec.of_table(table)
    ]
    events = Events(
        np.array(codes, np.int64),
        happened,
        created,
        np.full(table.num_rows, origin, np.uint8),
        {name: as_stored(table[name], f"{what} {name!r}") for name in view.inputs},
    )
    events = events.take((events.entity >= 0) & (happened != NEVER))
    # In the order of the keys, so that a merge touches the rows of one part of the store.
    keys = sorted(numbers)
    rank = np.empty(len(keys), np.int64)
    rank[[numbers[key] for key in keys]] = np.arange(len(keys))
    events = replace(events, entity=rank[events.entity])
    return keys, events.take(np.argsort(events.entity, kind="stable"))


def _merging(layout: Layout, arrived: Events, entities: int, stays: Stays, now: int) -> Combine:
    view = layout.definition
    assert view is not None
    shape = shape_of(layout)
    bounds = arrived.bounds(entities)
    oldest = _oldest(layout, now)

    def combine(positions: list[int], old: list[Row]) -> list[Row]:
        new = _of(arrived, bounds, positions)
        there = _events_of(layout, old, view.inputs)
        merged = there.take(stays(there, new)).followed_by(new)
        merged = merged.take(merged.happened > oldest).in_order()
        made = tail_rows(shape, layout.schema, merged, len(positions))
        return [
            None if row == before or (before is None and not _count(row)) else row
            for row, before in zip(made, old, strict=True)
        ]

    return combine


def _of(arrived: Events, bounds: np.ndarray[Any, Any], positions: Sequence[int]) -> Events:
    """The events of some entities, numbered by their position."""
    if list(positions) == list(range(len(bounds) - 1)):
        return arrived
    spans = [np.arange(bounds[p], bounds[p + 1]) for p in positions]
    taken = arrived.take(np.concatenate(spans))
    entity = np.repeat(np.arange(len(positions)), [len(span) for span in spans])
    return replace(taken, entity=entity)


def _oldest(layout: Layout, now: int) -> int:
    """Events up to this moment are out of reach of all windows."""
    view = layout.definition
    assert view is not None
    if any(a.window is None for a in view.aggregates):
        return NEVER
    reach = max(nanoseconds(a.window + a.offset) for a in view.aggregates if a.window)
    return now - reach - nanoseconds(view.resolution) - DAY


def _events_of(layout: Layout, rows: Sequence[Row], inputs: Sequence[str]) -> Events:
    """The events of rows. Those that are damaged, or of another definition, give way."""
    rows = [row if _is_ours(layout, row) else None for row in rows]
    try:
        return events_of(rows, inputs)
    except UNREADABLE:
        sound = [row if _is_sound(row, inputs) else None for row in rows]
        return events_of(sound, inputs)


def _is_ours(layout: Layout, row: Row) -> bool:
    if row is None or len(row) < HEADER.size:
        return False
    form, kind, _, schema, *_ = HEADER.unpack_from(row)
    if form > FORMAT and kind == TAIL:
        raise newer_version(layout.space)
    return bool(kind == TAIL and schema == layout.schema)


def _is_sound(row: Row, inputs: Sequence[str]) -> bool:
    try:
        events_of([row], inputs)
    except UNREADABLE:
        return False
    return True


def _count(row: bytes) -> int:
    return int(HEADER.unpack_from(row)[5])


def _matched(old: Events, stay: Mask, new: Events) -> Mask:
    """Which of the old events that stay have an equal one among the new, one for one."""
    matched = np.zeros(len(old), bool)
    places = np.flatnonzero(stay)
    if not len(places):
        return matched
    places = places[np.isin(_hashes(old.take(places)), _hashes(new))]
    if not len(places):
        return matched
    others = np.flatnonzero(np.isin(_hashes(new), _hashes(old.take(places))))
    values = _values(new.take(others))
    for origin in (SOURCE, PUSHED):
        left = Counter(values)
        chosen = places[old.origin[places] == origin]
        for place, value in zip(chosen, _values(old.take(chosen)), strict=True):
            if left[value] > 0:
                left[value] -= 1
                matched[place] = True
    return matched


def _hashes(events: Events) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Equal for equal entities and times, and seldom for others."""
    with np.errstate(over="ignore"):
        mixed = events.entity.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= events.happened.astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F)
        return mixed ^ events.created.astype(np.uint64) * np.uint64(0x165667B19E3779F9)


def _values(events: Events) -> list[tuple[Any, ...]]:
    """What makes each event equal to another; NaN and null are alike."""
    columns = [
        [None if value != value else value for value in column.to_pylist()]
        for column in events.columns.values()
    ]
    times = (events.entity.tolist(), events.happened.tolist(), events.created.tolist())
    return list(zip(*times, *columns, strict=True))
