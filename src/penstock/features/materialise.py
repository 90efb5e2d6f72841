"""Which rows an interval of time brings to the online store.

The interval is closed. Rows that were created in it count too, however long ago they happened, and
rows created after its end do not exist yet. No interval ends in the future: what is dated later
than now comes with a later one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from penstock.features.definition import ViewDefinition
from penstock.features.facts import Facts, between
from penstock.features.kernels.latest import latest_of_each
from penstock.features.kernels.windows import aggregates_at
from penstock.features.partitions import POSITION, in_parts, parts_for
from penstock.setting_types import in_utc

BEGINNING = datetime(1678, 1, 1, tzinfo=UTC)  # of all time: online rows hold none before
SLACK = timedelta(days=1)  # for readers whose clock is behind that of the one who materialises
AT = "__at"


def first_needed(view: ViewDefinition, end: datetime) -> datetime:
    """Since when a view's windows need events, at the end and from then on."""
    if any(a.window is None for a in view.aggregates):
        return BEGINNING
    longest = max(a.window + a.offset for a in view.aggregates if a.window is not None)
    return end - longest - view.resolution - SLACK


def first_event(facts: Facts, timestamp: str) -> datetime | None:
    """When the earliest row happened; none where there are no rows."""
    earliest: datetime | None = None
    for batch in facts.batches((timestamp,)):
        found = pc.min(batch[timestamp])
        moment = found.cast(pa.timestamp("us", found.type.tz), safe=False).as_py()
        if moment is not None:
            moment = in_utc(moment)
            earliest = min(earliest or moment, moment)
    return earliest


@dataclass(frozen=True)
class Filling:
    """One view's rows of an interval."""

    view: ViewDefinition
    facts: Facts
    start: datetime
    end: datetime

    def written(self, memory: int, *, finished: bool) -> Iterator[pa.Table]:
        """What the store is given, a part of the entities at a time.

        One row an entity: the latest, or, with `finished`, the aggregates as they are at the end.
        Else all events that aggregates are made of.
        """
        for table in self.parts(memory):
            yield table if self.view.aggregates and not finished else self.as_rows(table)

    def parts(self, memory: int) -> Iterator[pa.Table]:
        """All rows that the interval brings, by parts of the entities: for views of the latest row
        keys and times, for views of aggregates what they are made of too.
        """
        view = self.view
        names = (*self._keys, *self._times, *(view.inputs if view.aggregates else ()))
        read = tuple(dict.fromkeys(names))
        parts = parts_for(self.facts, read, memory) if self._keys else 1
        for table in in_parts(self.facts, read, self._keys, parts, self._known()):
            if table.num_rows:
                yield table

    def as_rows(self, table: pa.Table) -> pa.Table:
        """One row an entity: the latest, or the aggregates as they are at the end."""
        source = self.view.source
        with self.facts.blamed():
            newest = latest_of_each(
                table, self._keys, happened=source.timestamp, created=source.created
            )
        if self.view.aggregates:
            entities = table.select([*self._keys, *self._times]).take(newest)
            at = pa.repeat(pa.scalar(self.end, pa.timestamp("us", "UTC")), len(entities))
            found = aggregates_at(self.view, table, entities.append_column(AT, at), AT)
            for name in found.column_names:
                entities = entities.append_column(name, found[name])
            return entities
        names = (*self._keys, *self._times, *(column.name for column in self.view.fields))
        rows = table[POSITION].take(newest).combine_chunks()
        return self.facts.take(tuple(dict.fromkeys(names)), rows, self._known())

    @property
    def _keys(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.view.keys)

    @property
    def _times(self) -> tuple[str, ...]:
        return tuple(filter(None, (self.view.source.timestamp, self.view.source.created)))

    def _known(self) -> Any:
        """The expression for the rows of the interval."""
        source = self.view.source
        happened = between(self.facts, source.timestamp, self.start, self.end)
        if not source.created:
            return happened
        before = between(self.facts, source.timestamp, BEGINNING, self.end)
        created = between(self.facts, source.created, self.start, self.end)
        exists = between(self.facts, source.created, BEGINNING, self.end)
        unknown = self.facts.column(source.created).is_null()
        return (happened | (before & created)) & (exists | unknown)
