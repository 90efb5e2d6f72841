"""The point-in-time join: for every row that is asked about, the latest fact known at its time.

A fact is known from the moment it happened or, where that is later, was created. Of those known
the latest counts: by (happened, created), equal on both the last in file order. The time to live is
inclusive at both ends. Null keys match nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import duckdb
import numpy as np
import pyarrow as pa

from penstock.errors import DataError

# An ASOF join alone breaks ties at random, and a range join is quadratic on a frequent key. So the
# facts are ranked first; then for each moment at which one became known, the highest rank is kept.
SQL = """
WITH ranked AS (
    SELECT *, greatest(happened, created) AS moment,
           row_number() OVER (ORDER BY happened, created NULLS FIRST, position) AS rank
    FROM facts WHERE happened IS NOT NULL
), latest AS (
    SELECT {keys}, moment, max(max(rank)) OVER (PARTITION BY {keys} ORDER BY moment) AS rank
    FROM ranked GROUP BY {keys}, moment
)
SELECT ranked.position
FROM asked
ASOF LEFT JOIN latest USING ({keys}, moment)
LEFT JOIN ranked ON ranked.rank = latest.rank AND ranked.happened >= asked.moment - {ttl}
ORDER BY asked.position
"""
FOREVER = 2**62  # nanoseconds


def latest_rows(
    asked: pa.Table,
    facts: pa.Table,
    keys: Mapping[str, str],
    *,
    at: str,
    happened: str,
    created: str = "",
    ttl: timedelta | None = None,
) -> pa.Array:
    """The row number in `facts` for each row of `asked`, int64, null where nothing is known.

    `keys` maps columns of `asked` to those of `facts`; without any, all facts are of one entity.
    Times may have any unit; those without a zone are UTC. Raises `DataError` for keys that
    cannot be compared.
    """
    names = [f"key_{number}" for number in range(len(keys))] or ["key_0"]
    nothing = pa.nulls(len(facts), pa.int64())
    left = {"position": _numbers(asked), "moment": _nanoseconds(asked, at)}
    right = {
        "position": _numbers(facts),
        "happened": _nanoseconds(facts, happened),
        "created": _nanoseconds(facts, created) if created else nothing,
    }
    for name, (asked_key, key) in zip(names, keys.items(), strict=False):
        left[name] = _comparable(asked[asked_key], facts.schema.field(key).type, asked_key)
        right[name] = facts[key]
    if not keys:
        left["key_0"], right["key_0"] = (pa.repeat(0, len(table)) for table in (asked, facts))
    lifetime = FOREVER if not ttl else ttl // timedelta(microseconds=1) * 1_000
    query = SQL.format(keys=", ".join(names), ttl=lifetime)
    with duckdb.connect() as database:
        database.register("asked", pa.table(left))
        database.register("facts", pa.table(right))
        return database.sql(query).to_arrow_table()["position"].combine_chunks()


def _numbers(table: pa.Table) -> pa.Array:
    return pa.array(np.arange(table.num_rows, dtype=np.int64))


def _nanoseconds(table: pa.Table, name: str) -> pa.ChunkedArray:
    """Since 1970, UTC."""
    column = table[name]
    try:
        zone = getattr(column.type, "tz", None)
        return column.cast(pa.timestamp("ns", zone)).cast(pa.int64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"the column {name!r} cannot be read as times: {error}",
            hint="it must hold timestamps from 1678 to 2261",
        ) from error


def _comparable(column: pa.ChunkedArray, kind: pa.DataType, name: str) -> pa.ChunkedArray:
    """A key as the source has it. Text is never read as a number, nor the other way round."""
    if pa.types.is_null(column.type) or _is_text(column.type) == _is_text(kind):
        try:
            return column.cast(kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            pass
    raise DataError(
        f"the key {name!r} is {column.type} in the rows asked about and {kind} in the source",
        hint="give it one type in labels() and in the source",
    )


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
