"""A prediction by its id, which says when it was made: so that most of the log is not read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from penstock.serving.prediction_ids import parsed
from penstock.serving.prediction_log.reading import Selection, answer, records
from penstock.serving.prediction_log.segments import LogFolder, begun_at
from penstock.serving.prediction_log.writer import SEGMENT_SECONDS

AROUND = timedelta(seconds=2)  # between the second of an id and its row's time
LONGEST = timedelta(seconds=6 * SEGMENT_SECONDS)  # that a segment is written
LATE = timedelta(seconds=SEGMENT_SECONDS)  # that a row may wait for the disk


def rows_of(folders: Sequence[Path], prediction_id: str) -> list[dict[str, Any]]:
    """The logged rows of a prediction, in their order; none where none is logged.

    Parts whose time may hold it are read first. The others are where it is not there: the clock was
    set, the disk was full for long, or an older gateway gave the id.
    """
    given = parsed(prediction_id)
    if given is not None and given.made is not None:
        near = Selection(
            since=given.made - AROUND,
            until=given.made + AROUND,
            prediction_id=prediction_id,
            parts=frozenset(may_hold(_names(folders, given.made), given.made)),
        )
        if found := _read(folders, near):
            return found
    return _read(folders, Selection(prediction_id=prediction_id))


def may_hold(names: Iterable[str], made: datetime) -> set[str]:
    """Of the names of segments, those that a row of that time was written to. Pure.

    Of each process: the one that it wrote then, and what it began soon after. What is not named as
    segments are may hold anything.
    """
    found, latest = set[str](), dict[str, tuple[datetime, str]]()
    for name in names:
        if (begun := begun_at(name)) is None or made < begun <= made + LATE:
            found.add(name)
        elif made - LONGEST <= begun <= made:
            writer = name.partition("Z-")[2].rpartition("-")[0]
            latest[writer] = max(latest.get(writer, (begun, name)), (begun, name))
    return found | {name for _, name in latest.values()}


def _names(folders: Sequence[Path], made: datetime) -> Iterable[str]:
    since, until = ((made + span).astimezone(UTC).date() for span in (-AROUND, AROUND))
    for log in map(LogFolder, folders):
        for part in (*log.list_segments(), *log.list_parquet(since, until)):
            yield part.stem


def _read(folders: Sequence[Path], selection: Selection) -> list[dict[str, Any]]:
    return answer(folders, selection, lambda found: records(found.order("row_index")))
