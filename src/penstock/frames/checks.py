"""What every dataset must be before anything is built on it. Pure questions on an Arrow table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from penstock.errors import DataError


def require_columns(table: pa.Table, names: tuple[str, ...], setting: str) -> None:
    """Raises `DataError` naming the columns that are missing and those that are there."""
    missing = [name for name in names if name not in table.column_names]
    if missing:
        raise DataError(
            f"{setting} names {', '.join(map(repr, missing))}, which the data does not have; "
            f"it has {', '.join(table.column_names)}",
            hint=f"correct {setting} or return that column",
        )


def require_rows(table: pa.Table, source: str) -> None:
    if table.num_rows == 0:
        raise DataError(
            f"{source} returned no rows", hint="check the source and the period it was asked for"
        )
    require_distinct_names(table, source)


def require_distinct_names(table: pa.Table, source: str) -> None:
    """No two columns of one name. Raises `DataError`."""
    names = table.column_names
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(
            f"{source} returned columns of the same name: {', '.join(repeated)}",
            hint="name each column once",
        )


def require_known(table: pa.Table, names: tuple[str, ...], what: str) -> None:
    """No nulls in some columns. Raises `DataError` naming the column and the first such row."""
    for name in names:
        column = table[name]
        if column.null_count:
            first = pc.index(pc.is_null(column), True).as_py() + 1
            raise DataError(
                f"{name!r} is null in {column.null_count:,} of {len(column):,} rows of {what}, "
                f"first in row {first:,}",
                hint=f"leave such rows out, or say what their {name!r} is",
            )


def require_unique(table: pa.Table, key: tuple[str, ...]) -> None:
    """No two rows with the same key."""
    if not key:
        return
    require_columns(table, key, "[data] key")
    counts = table.group_by(list(key)).aggregate([([], "count_all")])
    repeated = counts.filter(pc.greater(counts["count_all"], 1))
    if repeated.num_rows:
        extra = pc.sum(repeated["count_all"]).as_py() - repeated.num_rows
        example = {name: repeated[name][0].as_py() for name in key}
        raise DataError(
            f"{extra:,} rows repeat the key ({', '.join(key)}) of another, for example {example}",
            hint="drop the duplicates in extract(), or correct [data] key",
        )


def event_bounds(
    table: pa.Table, column: str, as_of: datetime, tolerance: timedelta
) -> tuple[datetime | None, datetime | None]:
    """First and last event time, UTC. Refuses naive, null and future times."""
    if not column:
        return None, None
    require_columns(table, (column,), "[data] event_time")
    kind = table.schema.field(column).type
    if not pa.types.is_timestamp(kind) or kind.tz is None:
        raise DataError(
            f"event time {column!r} is of type {kind}, which has no time zone",
            hint=f"in extract(), make it UTC: frame[{column!r}].dt.tz_localize('UTC')",
        )
    if table[column].null_count:
        raise DataError(
            f"{table[column].null_count:,} rows have no event time {column!r}",
            hint="drop them in extract() or fill them in",
        )
    bounds = pc.min_max(table[column])
    first, last = _utc(bounds["min"]), _utc(bounds["max"])
    if last > as_of + tolerance:
        late = pc.sum(pc.greater(table[column], pa.scalar(as_of + tolerance, kind))).as_py()
        raise DataError(
            f"{late:,} rows lie in the future: the last {column!r} is {last.isoformat()}, "
            f"the run is as of {as_of.isoformat(timespec='seconds')}",
            hint="check the clock and time zone of the source, or raise [data] future_tolerance",
        )
    return first, last


def _utc(scalar: Any) -> datetime:
    moment: datetime = scalar.cast(pa.timestamp("us", "UTC")).as_py()
    return moment.astimezone(UTC)
