"""Old predictions are deleted, a whole date at a time."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from datetime import date, timedelta
from pathlib import Path

from penstock.errors import ResourceError
from penstock.serving.prediction_log.segments import LogFolder

EXPIRED = ".expired-"


def expired(dates: Iterable[date], keep_days: int, today: date) -> list[date]:
    """The dates of which every row is at least `keep_days` days old; none if that is 0."""
    if keep_days <= 0:
        return []
    return sorted(day for day in dates if day < today - timedelta(days=keep_days))


def expired_in(folder: Path, keep_days: int, today: date) -> list[date]:
    """The dates whose partitions are to be deleted. `today` is the date in UTC."""
    return expired(_partitions(LogFolder(folder).parquet), keep_days, today)


def delete_dates(folder: Path, dates: Iterable[date]) -> None:
    """Deletes the partitions of some dates, and what was left of such a deletion.

    Rows that are still in segments go once they have been compacted. Raises `ResourceError`.
    """
    parquet = LogFolder(folder).parquet
    partitions = _partitions(parquet)
    try:
        for path in (partitions[day] for day in dates if day in partitions):
            # A name that no reader looks at: a date is there as a whole, or not at all.
            path.rename(path.with_name(f"{EXPIRED}{path.name}"))
        for left in parquet.glob(f"{EXPIRED}*"):
            shutil.rmtree(left)
    except OSError as error:
        raise ResourceError(
            f"old predictions cannot be deleted: {error}",
            hint=f"see that {parquet} may be written",
        ) from error


def _partitions(parquet: Path) -> dict[date, Path]:
    return {day: path for path in parquet.glob("date=*") if (day := _date_of(path))}


def _date_of(path: Path) -> date | None:
    try:
        return date.fromisoformat(path.name.removeprefix("date="))
    except ValueError:
        return None
