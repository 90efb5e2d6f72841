"""The rows of a window by the values of one column: a feature, an entity key, or one of the log's.

A column of many numbers is cut into parts of equal share; of others the most frequent values are
slices, and the rest is one, called (others); rows without a value are (missing).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import duckdb

from penstock.errors import UsageError

OWN = ("arm", "release", "epoch")  # columns of the log itself
OBJECTS = ("features", "entities")
FEW = 10  # distinct numbers, each of which is a slice of its own
PARTS = 5
MOST = 20  # values
MISSING, OTHERS = "(missing)", "(others)"  # in brackets: a value may be called so


def sliced_rows(
    rows: duckdb.DuckDBPyRelation, column: str
) -> Iterator[tuple[str, duckdb.DuckDBPyRelation]]:
    """Each slice's name and rows. Raises `UsageError` for a column that no row has."""
    value = _value(rows, column)
    valued = rows.project(f"*, {value} AS sliced")
    numbers = valued.aggregate(
        "count(DISTINCT sliced), count(sliced), count(TRY_CAST(sliced AS DOUBLE))"
    ).fetchall()
    distinct, there, numeric = numbers[0]
    named = _parts(valued) if there == numeric and distinct > FEW else _values(valued)
    cut = valued.project(f"* EXCLUDE sliced, {named} AS slice")
    found = cut.aggregate("slice, count(*) AS n", "slice").order("n DESC, slice").fetchall()
    for name, _ in found:
        is_slice = duckdb.ColumnExpression("slice") == duckdb.ConstantExpression(name)
        yield str(name), cut.filter(is_slice)


def _value(rows: duckdb.DuckDBPyRelation, column: str) -> str:
    """The column's value as text, in SQL."""
    if column in OWN:
        return f"nullif({column}, '')"
    known = list[str]()
    for place in OBJECTS:
        keys = rows.filter(f"{place} IS NOT NULL").limit(1).project(f"json_keys({place})")
        names = [name for (listed,) in keys.fetchall() for name in listed]
        if column in names:
            quoted = column.replace("'", "''")
            return f"{place}->>'{quoted}'"
        known += names
    raise UsageError(
        f"no prediction of the window has a column {column!r}",
        hint=f"choose one of {', '.join([*known, *OWN])}",
    )


def _parts(valued: duckdb.DuckDBPyRelation) -> str:
    """Between quantiles, which are shown as in (3.5, 7]."""
    shares = [part / PARTS for part in range(1, PARTS)]
    number = "TRY_CAST(sliced AS DOUBLE)"
    (row,) = valued.aggregate(f"quantile_cont({number}, {shares})").fetchall()
    edges = sorted(set(row[0]))
    cases = [f"WHEN {number} <= {edges[0]!r} THEN '(, {edges[0]:.6g}]'"] if edges else []
    for low, high in pairwise(edges):
        cases.append(f"WHEN {number} <= {high!r} THEN '({low:.6g}, {high:.6g}]'")
    last = f"({edges[-1]:.6g}, )" if edges else "all"
    return f"CASE WHEN sliced IS NULL THEN '{MISSING}' {' '.join(cases)} ELSE '{last}' END"


def _values(valued: duckdb.DuckDBPyRelation) -> str:
    ranked = valued.filter("sliced IS NOT NULL").aggregate("sliced, count(*) AS n", "sliced")
    most = [value for value, _ in ranked.order("n DESC, sliced").limit(MOST).fetchall()]
    listed = ", ".join("'" + value.replace("'", "''") + "'" for value in most) or "NULL"
    named = f"WHEN sliced IN ({listed}) THEN sliced"
    return f"CASE WHEN sliced IS NULL THEN '{MISSING}' {named} ELSE '{OTHERS}' END"
