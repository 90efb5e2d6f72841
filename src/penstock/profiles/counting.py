"""Rows → profiles, by DuckDB: all columns in one pass over what is there.

A new profile is made in two: where the bins shall lie, and how many rows are in each. What is
compared with it later is counted in its bins, by the same question.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from penstock.profiles.edges import edges_from, shares_of
from penstock.profiles.profile import Column, Numbers, Profile, Words

NAMED = 200  # categories that are counted by name; of more, only buckets are
BUCKETS = 64
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
    questions = dict(_questions(shapes))
    answers = _asked(rows, questions)
    return tuple(_column(rows, shape, place, answers) for place, shape in enumerate(shapes))


def _questions(shapes: Iterable[Column]) -> Iterator[tuple[str, str]]:
    """What is asked of each column, by its place."""
    yield "rows", "count(*)"
    for place, shape in enumerate(shapes):
        if numbers := shape.numbers:
            value = _number(shape.name)
            finite = f"CASE WHEN isfinite({value}) THEN {value} END"
            yield f"{place} filled", f"count({value})"
            yield f"{place} ends", f"[min({finite}), max({finite})]"
            if numbers.least is not None and numbers.greatest is not None:
                outside = f"{value} NOT BETWEEN {numbers.least!r} AND {numbers.greatest!r}"
                yield f"{place} beyond", f"count_if({outside})"
            if numbers.edges:
                listed = ", ".join(f"{edge!r}::DOUBLE" for edge in numbers.edges)
                yield f"{place} bins", f"histogram({value}, [{listed}])"
        elif shape.words:
            value = f"{quoted(shape.name)}::VARCHAR"
            yield f"{place} filled", f"count({value})"
            if buckets := len(shape.words.buckets):
                yield f"{place} words", f"histogram((md5_number_lower({value}) % {buckets})::INT)"
            elif known := shape.words.counts:
                listed = ", ".join(map(literal, known))
                named = f"CASE WHEN {value} IN ({listed}) THEN {value} END"
                yield f"{place} words", f"histogram({named})"
            else:
                yield f"{place} words", f"histogram({value})"
        else:
            yield f"{place} filled", f"count({quoted(shape.name)})"


def _column(
    rows: duckdb.DuckDBPyRelation, shape: Column, place: int, answers: Mapping[str, Any]
) -> Column:
    filled = answers[f"{place} filled"]
    numbers, words = shape.numbers, shape.words
    if numbers:
        least, greatest = answers[f"{place} ends"]
        bins = answers.get(f"{place} bins") or {}
        # What lies beyond the last edge has the key infinity.
        counts = [bins.get(edge, 0) for edge in numbers.edges]
        counts.append(filled - sum(counts))
        numbers = Numbers(
            edges=numbers.edges,
            counts=tuple(counts),
            least=least,
            greatest=greatest,
            beyond=answers.get(f"{place} beyond") or 0,
        )
    elif words:
        there = answers[f"{place} words"] or {}
        if words.buckets:
            words = Words(
                counts={}, buckets=tuple(there.get(i, 0) for i in range(len(words.buckets)))
            )
        else:
            if filled > sum(there.values()):
                there |= _unseen(rows, shape.name, words.counts)
            words = Words(
                counts=dict(sorted(there.items())),
                singletons=sum(1 for count in there.values() if count == 1),
            )
    return shape.model_copy(
        update={
            "rows": answers["rows"],
            "nulls": answers["rows"] - filled,
            "numbers": numbers,
            "words": words,
        }
    )


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
