"""How old the newest event of each view is, against what its declaration expects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from penstock.errors import DataError, PenstockError
from penstock.features.catalogue import Entry
from penstock.features.facts import facts_of

State = Literal[
    "fresh",
    "stale",  # the newest event is older than expected
    "no data",  # no event has happened yet, as far as the source knows
    "unreadable",  # the source is missing or damaged: nothing is known
    "nothing expected",
]


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
    reason: str = ""  # why it is unreadable
    ahead: int = 0  # events that have not happened yet: some clock is wrong
    farthest: timedelta | None = None  # how far the last of them lies ahead

    @property
    def late(self) -> bool:
        """Whether it is not as fresh as is expected. Of a view without expectation, never."""
        return self.expected is not None and self.state != "fresh"


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
    view, seen, reason = entry.definition, Seen(), ""
    try:
        seen = events_seen(entry, root, now)
    except PenstockError as error:
        reason = error.message
    until, newest = entry.materialised_until, seen.newest
    return Freshness(
        view=name,
        newest=newest,
        age=now - newest if newest else None,
        expected=view.expected_freshness,
        materialised_until=until.astimezone(UTC) if until else None,
        state="unreadable" if reason else judge(newest, view.expected_freshness, now),
        owner=view.owner,
        reason=reason,
        ahead=seen.ahead,
        farthest=seen.last - now if seen.last and seen.ahead else None,
    )


class Seen(NamedTuple):
    """Of the events of a view, in UTC."""

    newest: datetime | None = None  # that has happened by now
    last: datetime | None = None  # of all
    ahead: int = 0  # that have not happened yet


def events_seen(entry: Entry, root: Path, now: datetime) -> Seen:
    """The newest events of a view, by their own time.

    Raises a `PenstockError` when the source, or what a transformation makes of it, is unreadable.
    """
    source = entry.definition.source
    facts = facts_of(entry.definition, root)
    seen = Seen()
    for batch in facts.batches((source.timestamp,)):
        times = batch[source.timestamp]
        if not pa.types.is_timestamp(times.type):
            raise DataError(
                f"{facts.what}: the time {source.timestamp!r} is a {times.type}",
                hint="it must be a timestamp; cast it in the source",
            )
        times = pc.cast(times, pa.timestamp("us", times.type.tz), safe=False)
        limit = pa.scalar(now, pa.timestamp("us", "UTC")).cast(times.type)
        happened = pc.less_equal(times, limit)
        seen = Seen(
            _later(seen.newest, pc.max(times.filter(happened)).as_py()),
            _later(seen.last, pc.max(times).as_py()),
            seen.ahead + (pc.sum(pc.invert(happened)).as_py() or 0),
        )
    return seen


def _later(known: datetime | None, moment: datetime | None) -> datetime | None:
    """In UTC, which a moment without a zone is in."""
    if moment is None:
        return known
    moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(known or moment, moment)
