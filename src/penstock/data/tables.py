"""What differs between two Parquet or CSV files, counted by DuckDB, which need not hold them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TABULAR = (".parquet", ".csv")
CSV_READ_IN_PASSING = 256 * 2**20  # bytes


@dataclass(frozen=True)
class TableDifference:
    """Counts of rows; names of columns.

    With a key whose values are unique on both sides, rows are the same when their keys are:
    `rows_changed` counts those with other values, and `columns_changed` how many of them each
    column has. Without one, rows are the same when all their values are, `rows_changed` is None,
    and `columns_changed` names columns whose values differ as a whole, without a count.
    """

    rows_before: int
    rows_after: int
    rows_added: int
    rows_removed: int
    rows_changed: int | None
    columns_added: tuple[str, ...]
    columns_removed: tuple[str, ...]
    columns_retyped: dict[str, str]  # name -> "BIGINT → DOUBLE"
    columns_changed: dict[str, int | None]


def count_rows(name: str, place: Path) -> int | None:
    """The rows of a Parquet file by its footer, of a CSV file by reading it.

    None for any other, for one that is broken, and for a CSV file too large to be read in passing.
    """
    if not name.endswith(TABULAR) or (
        name.endswith(".csv") and place.stat().st_size > CSV_READ_IN_PASSING
    ):
        return None
    with _views(name, {"a": place}) as base:
        return None if base is None else _one(base, "SELECT count(*) FROM a")


def count_rows_of(name: str, place: Path, column: str, value: str) -> int | None:
    """The rows of a Parquet or CSV file that have a value in a column, given as text.

    None where there is no such column, or the file cannot be read.
    """
    if not name.endswith(TABULAR):
        return None
    with _views(name, {"a": place}) as base:
        if base is None or column not in _columns(base, "a"):
            return None
        as_text = f"{_q(column)}::VARCHAR"  # 123.0 is 123: beside nulls, pandas makes floats
        query = f"SELECT count(*) FROM a WHERE {as_text} IN ($1, $1 || '.0')"
        return int(base.execute(query, [value]).fetchall()[0][0])


def difference(
    name: str, before: Path, after: Path, key: Sequence[str] = ()
) -> TableDifference | None:
    """Compares two files of the same name; None where they are not tabular or cannot be read."""
    if not name.endswith(TABULAR):
        return None
    with _views(name, {"a": before, "b": after}) as base:
        return None if base is None else _compared(base, key)


@contextlib.contextmanager
def _views(name: str, places: Mapping[str, Path]) -> Iterator[Any]:
    """A database that sees files as views; None where they cannot be read.

    Nothing is loaded from DuckDB's extension server, whatever the files ask for.
    """
    import duckdb

    offline: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    with duckdb.connect(config=offline) as base:
        try:
            for view, place in places.items():
                read = base.read_csv if name.endswith(".csv") else base.read_parquet
                read(str(place)).create_view(view)
        except duckdb.Error:
            yield None
            return
        yield base


def _compared(base: Any, key: Sequence[str]) -> TableDifference:
    old, new = (_columns(base, view) for view in "ab")
    common = [name for name in old if name in new]
    rows = {view: _one(base, f"SELECT count(*) FROM {view}") for view in "ab"}
    keyed = bool(key) and all(name in common for name in key) and _unique(base, key)
    values = [name for name in common if name not in key] if keyed else common
    counted = _by_key(base, key, values) if keyed else _by_value(base, common)
    return TableDifference(
        rows["a"],
        rows["b"],
        *counted[:3],
        columns_added=tuple(name for name in new if name not in old),
        columns_removed=tuple(name for name in old if name not in new),
        columns_retyped={n: f"{old[n]} → {new[n]}" for n in common if old[n] != new[n]},
        columns_changed=counted[3],
    )


def _by_key(
    base: Any, key: Sequence[str], values: Sequence[str]
) -> tuple[int, int, int | None, dict[str, int | None]]:
    on = " AND ".join(f"a.{_q(name)} = b.{_q(name)}" for name in key)
    added = _one(base, f"SELECT count(*) FROM b ANTI JOIN a ON {on}")
    removed = _one(base, f"SELECT count(*) FROM a ANTI JOIN b ON {on}")
    if not values:
        return added, removed, 0, {}
    # Of another type on each side, values are compared as text: 1 and '1' would fail to cast.
    differs = [f"a.{_q(n)}::VARCHAR IS DISTINCT FROM b.{_q(n)}::VARCHAR" for n in values]
    counts = ", ".join(f"count(*) FILTER ({one})" for one in [" OR ".join(differs), *differs])
    changed, *each = base.execute(f"SELECT {counts} FROM a JOIN b ON {on}").fetchall()[0]
    return added, removed, changed, {n: c for n, c in zip(values, each, strict=True) if c}


def _by_value(
    base: Any, common: Sequence[str]
) -> tuple[int, int, int | None, dict[str, int | None]]:
    names = ", ".join(f"{_q(name)}::VARCHAR" for name in common)
    added, removed = (
        _one(
            base,
            f"SELECT count(*) FROM (SELECT {names} FROM {x} EXCEPT ALL SELECT {names} FROM {y})",
        )
        if common
        else 0
        for x, y in ("ba", "ab")
    )
    sums = ", ".join(f"sum(hash({_q(name)}::VARCHAR)::HUGEINT)" for name in common) or "0"
    old, new = (base.execute(f"SELECT {sums} FROM {view}").fetchall()[0] for view in "ab")
    changed = [name for name, x, y in zip(common, old, new, strict=False) if x != y]
    return added, removed, None, dict.fromkeys(changed)


def _unique(base: Any, key: Sequence[str]) -> bool:
    names = ", ".join(_q(name) for name in key)
    return all(
        _one(base, f"SELECT count(*) - count(DISTINCT ({names})) FROM {view}") == 0 for view in "ab"
    )


def _columns(base: Any, view: str) -> dict[str, str]:
    return {row[0]: row[1] for row in base.execute(f"DESCRIBE {view}").fetchall()}


def _one(base: Any, query: str) -> int:
    return int(base.execute(query).fetchall()[0][0])


def _q(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
