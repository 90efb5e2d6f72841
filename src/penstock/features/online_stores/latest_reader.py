"""Reads rows of the latest values."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, ClassVar

import msgspec

from penstock.features.online_stores.backend import Row
from penstock.features.online_stores.layout import FORMAT, Fields
from penstock.features.online_stores.rows import (
    AHEAD,
    HEADER,
    LATEST,
    NEVER,
    NOT_FOUND,
    OUTSIDE_MAX_AGE,
    PRESENT,
    Found,
    Values,
    damaged,
)
from penstock.features.online_stores.settling import first_to_see

decode = msgspec.msgpack.Decoder(list).decode
Picker = Callable[[list[Any]], Values] | None  # none: all values, as they are


@dataclass
class LatestReader:
    """Reads some fields of the rows of one view. A row says all that there is to its entity."""

    beside: ClassVar[tuple[bytes, ...]] = ()  # keys that it wants to have read with those asked

    space: str
    fields: Fields  # those asked for
    ttl: int | None
    schemas: Callable[[], Mapping[int, Fields]]  # what the store knows of now
    _pickers: dict[int, tuple[int, Picker]] = field(default_factory=dict)
    _nothing: Values = ()

    def __post_init__(self) -> None:
        self._nothing = (None,) * len(self.fields)

    def knows(self, number: int, fields: Fields) -> None:
        """Prepares to read rows of a schema; fields that it lacks are missing."""
        places = {pair: place for place, pair in enumerate(fields)}
        picker = None if fields == self.fields else _picker([places.get(f) for f in self.fields])
        self._pickers[number] = (len(fields), picker)

    def read(self, rows: Sequence[Row], keys: Sequence[bytes | None], now: int) -> Found:
        """Raises `DataError` for a row that is damaged or of a newer version."""
        oldest = NEVER if self.ttl is None else now - self.ttl
        found: list[Values] = []
        presence: list[int] = []
        times: list[int] = []
        some_foreign = False
        pickers, unpack = self._pickers, HEADER.unpack_from
        for place, row in enumerate(rows):
            when, state, values = 0, NOT_FOUND, self._nothing
            if row is not None:
                try:
                    form, kind, foreign, schema, happened, created = unpack(row)
                    if form != FORMAT or kind != LATEST:
                        if form != FORMAT or kind != AHEAD:
                            raise ValueError("its format is unknown")
                        row = first_to_see(row, now)
                        form, kind, foreign, schema, happened, created = unpack(row)
                    if schema not in pickers:
                        self._learn(schema)
                    count, pick = pickers[schema]
                    stored = decode(row[24:])
                    if len(stored) != count:
                        raise ValueError(f"it has {len(stored)} values for {count} fields")
                except (struct.error, ValueError, msgspec.DecodeError) as error:
                    raise damaged(self.space, keys[place], row, error) from error
                if happened <= now and created <= now:
                    when, state = happened, OUTSIDE_MAX_AGE
                    if happened >= oldest:
                        state, values = PRESENT, pick(stored) if pick else stored
                        some_foreign |= foreign
            found.append(values)
            presence.append(state)
            times.append(when)
        return Found(found, presence, times, some_foreign)

    def _learn(self, number: int) -> None:
        for known, fields in self.schemas().items():
            self.knows(known, fields)
        if number not in self._pickers:
            raise ValueError("its schema is unknown to the store")


def _picker(places: list[int | None]) -> Picker:
    if None not in places and len(places) > 1:
        return itemgetter(*places)
    return lambda values: tuple(None if p is None else values[p] for p in places)
