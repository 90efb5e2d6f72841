"""Rows → profiles: all columns in one pass over what is there. DuckDB reads, and tallies count.

A new profile is made in two: where the bins shall lie, and how many rows are in each. What is
compared with it later is counted in its bins, by the same tallies.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import duckdb
import pyarrow as pa

from penstock.profiles.edges import edges_from, shares_of
from penstock.profiles.profile import Column, Numbers, Profile, Words
from penstock.profiles.tallies import Tally, WordTally, tally_of

NAMED = 200  # categories that are counted by name; of more, only buckets are
BUCKETS = 64
ROWS = 1 << 16  # that are counted at a time: a column of them fits into a core's cache
VALUES = 1 << 22  # that are, of all columns: 32 MB of doubles
UNSEEN = 100  # categories that are not in the reference and are counted by name
NUMERIC = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT",
           "UINTEGER", "UBIGINT", "FLOAT", "DOUBLE", "DECIMAL", "BOOLEAN")  # fmt: skip


def profiled(rows: duckdb.DuckDBPyRelation, names: Sequence[str]) -> tuple[Column, ...]:
    """The columns of some rows, by new bins. Times and lists are named, and not profiled."""
    kinds = dict(zip(rows.columns, map(str, rows.types), strict=True))
    flat = [name for name in names if not kinds[name].endswith("]")]
    numeric = [name for name in flat if kinds[name].startswith(NUMERIC)]
    textual = [name for name in flat if kinds[name].startswith(("VARCHAR", "ENUM"))]
    shapes: list[Column] = []
    sizes = _asked(rows, {name: f"count({_number(name)})" for name in numeric})
    places = _asked(
        rows,
        {
            name: f"quantile_disc({_number(name)}, {shares_of(sizes[name])})"
            for name in numeric
            if sizes[name]
        },
    )
    many = _asked(rows, {name: f"approx_count_distinct({quoted(name)})" for name in textual})
    for name in names:
        numbers, words = None, None
        if name in numeric:
            edges = edges_from(places.get(name) or ())
            numbers = Numbers(edges=edges, counts=(), least=None, greatest=None)
        elif name in textual:
            words = Words(counts={}, buckets=(0,) * (BUCKETS if many[name] > NAMED else 0))
        shapes.append(
            Column(name=name, type=kinds[name], rows=0, nulls=0, numbers=numbers, words=words)
        )
    return counted(rows, shapes)


def profile_of(table: pa.Table, names: Sequence[str], training_set: str = "") -> Profile:
    """Of some columns of a training set, which has that digest."""
    rows = duckdb.connect().from_arrow(table)
    return Profile(rows=table.num_rows, columns=profiled(rows, names), training_set=training_set)


def counted(rows: duckdb.DuckDBPyRelation, shapes: Sequence[Column]) -> tuple[Column, ...]:
    """The rows in the bins of other columns; of a category that those lack, how often it occurs.

    Columns are read by their names: numbers as DOUBLE, categories as VARCHAR.
    """
    tallies = [tally_of(shape) for shape in shapes]
    asked = ", ".join(_value(shape) for shape in shapes) or "1"
    size = max(1, min(ROWS, VALUES // max(1, len(shapes))))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        before: list[Future[None]] = []
        for batch in rows.project(asked).to_arrow_reader(size):
            # DuckDB reads the next batch while this one is counted.
            _finish(before)
            columns = zip(tallies, batch.columns, strict=False)
            before = [pool.submit(tally.add, values) for tally, values in columns]
        _finish(before)
    return tuple(_column(rows, shape, tally) for shape, tally in zip(shapes, tallies, strict=True))


def _value(shape: Column) -> str:
    """What is counted of a column."""
    name = quoted(shape.name)
    if shape.numbers:
        return f"{name}::DOUBLE"
    if shape.words and (buckets := len(shape.words.buckets)):
        return f"(md5_number_lower({name}::VARCHAR) % {buckets})::INT"
    return f"{name}::VARCHAR" if shape.words else f"CASE WHEN {name} IS NOT NULL THEN TRUE END"


def _column(rows: duckdb.DuckDBPyRelation, shape: Column, tally: Tally) -> Column:
    if isinstance(tally, WordTally) and tally.others:
        assert shape.words is not None
        return tally.with_unseen(shape, _unseen(rows, shape.name, shape.words.counts))
    return tally.column(shape)


def _finish(work: Iterable[Future[None]]) -> None:
    for one in work:
        one.result()


def _unseen(rows: duckdb.DuckDBPyRelation, name: str, known: Iterable[str]) -> dict[str, int]:
    """The commonest of the categories that are not known."""
    value = f"{quoted(name)}::VARCHAR"
    listed = ", ".join(map(literal, known))
    others = rows.filter(f"{value} NOT IN ({listed})").aggregate(f"{value} AS word, count(*) AS n")
    return dict(others.order("n DESC, word").limit(UNSEEN).fetchall())


def _asked(rows: duckdb.DuckDBPyRelation, questions: Mapping[str, str]) -> dict[str, Any]:
    """One row of aggregates, by the names of the questions."""
    if not questions:
        return {}
    answers = rows.aggregate(", ".join(questions.values())).fetchall()
    return dict(zip(questions, answers[0], strict=True))


def _number(name: str) -> str:
    """A column as DOUBLE, null where it is not a number."""
    value = f"{quoted(name)}::DOUBLE"
    return f"(CASE WHEN NOT isnan({value}) THEN {value} END)"


def quoted(name: str) -> str:
    """A column, as DuckDB reads its name."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: str) -> str:
    """A text, as DuckDB reads it in a question."""
    return "'" + value.replace("'", "''") + "'"
