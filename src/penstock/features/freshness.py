"""How old the newest event of each view is, against what its declaration expects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from penstock.errors import DataError
from penstock.features.catalogue import Entry
from penstock.features.facts import facts_of

State = Literal["fresh", "stale", "no data", "nothing expected"]


@dataclass(frozen=True)
class Freshness:
    """Of one view. Event time, not the time of a file or a job: what counts is what is known."""

    view: str
    newest: datetime | None  # event time of the newest row that is known, UTC
    age: timedelta | None
    expected: timedelta | None
    materialised_until: datetime | None
    state: State
    owner: str = ""


def judge(newest: datetime | None, expected: timedelta | None, now: datetime) -> State:
    """Stale when the newest event is older than expected."""
    if newest is None:
        return "no data"
    if expected is None:
        return "nothing expected"
    return "stale" if now - newest > expected else "fresh"


def freshness(entries: Mapping[str, Entry], root: Path, now: datetime) -> list[Freshness]:
    """One answer a view, by name."""
    return [_of(name, entry, root, now) for name, entry in sorted(entries.items())]


def _of(name: str, entry: Entry, root: Path, now: datetime) -> Freshness:
    view = entry.definition
    newest = newest_event(entry, root, now)
    until = entry.materialised_until
    return Freshness(
        view=name,
        newest=newest,
        age=now - newest if newest else None,
        expected=view.expected_freshness,
        materialised_until=until.astimezone(UTC) if until else None,
        state=judge(newest, view.expected_freshness, now),
        owner=view.owner,
    )


def newest_event(entry: Entry, root: Path, now: datetime) -> datetime | None:
    """The time of the newest event that had happened by now; none where there is no source."""
    source = entry.definition.source
    try:
        batches = facts_of(entry.definition, root).batches((source.timestamp,))
        newest: datetime | None = None
        for batch in batches:
            times = batch[source.timestamp]
            times = pc.cast(times, pa.timestamp("us", times.type.tz), safe=False)
            limit = pa.scalar(now, pa.timestamp("us", "UTC")).cast(times.type)
            past = times.filter(pc.less_equal(times, limit))
            moment = pc.max(past).as_py()
            if moment is not None:
                moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
                newest = max(newest or moment, moment)
    except DataError:
        return None
    return newest.astimezone(UTC) if newest else None
