"""Feature views and rows made by hypothesis, as tables and as the reference reads them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pyarrow as pa
from feature_reference import Row, aggregate, latest
from hypothesis import strategies as st

from penstock.features.definition import Aggregation, Function, Source, ViewDefinition
from penstock.records import Column

MICROSECOND = 1_000
DAY = 86_400 * 10**9
START = 1_709_100_000 * 10**9  # on 28 February 2024, the day before a leap day
COLUMNS = {"amount": pa.float64(), "count": pa.int64(), "kind": pa.string()}
NUMBERS: tuple[Function, ...] = ("sum", "mean", "std")
ANY: tuple[Function, ...] = ("count", "min", "max", "last", "first", "count_distinct")


@dataclass(frozen=True)
class Example:
    """A view, rows of its source in file order, and who is asked about when."""

    view: ViewDefinition
    rows: tuple[Row, ...]
    asked: tuple[tuple[tuple[Any, ...], int], ...]

    @property
    def facts(self) -> pa.Table:
        names = [column.name for column in self.view.keys]
        columns: dict[str, pa.Array] = {
            name: pa.array([row.key[i] for row in self.rows], KEYS[name])
            for i, name in enumerate(names)
        }
        columns["t"] = pa.array([row.happened for row in self.rows], pa.timestamp("ns", "UTC"))
        if self.view.source.created:
            created = [row.created for row in self.rows]
            columns["created"] = pa.array(created, pa.timestamp("ns", "UTC"))
        for name, kind in COLUMNS.items():
            columns[name] = pa.array([row.values[name] for row in self.rows], kind)
        return pa.table(columns)

    @property
    def questions(self) -> pa.Table:
        names = [column.name for column in self.view.keys]
        columns: dict[str, pa.Array] = {
            name: pa.array([key[i] for key, _ in self.asked], KEYS[name])
            for i, name in enumerate(names)
        }
        return pa.table(columns | {"at": pa.array([t for _, t in self.asked], TIME)})

    def expected(self) -> list[dict[str, Any]]:
        """What the reference says, one row a question."""
        return [self.expected_at(key, t) for key, t in self.asked]

    def expected_at(self, key: tuple[Any, ...], t: int) -> dict[str, Any]:
        view = self.view
        if view.aggregates:
            return {a.name: aggregate(view, a, self.rows, key, t) for a in view.aggregates}
        row = latest(view, self.rows, key, t)
        return {c.name: None if row is None else row.values[c.name] for c in view.fields}


KEYS = {"shop": pa.int64(), "name": pa.string()}
TIME = pa.timestamp("ns", "UTC")


def same(found: Any, expected: Any) -> bool:
    """Equal to the bit, but for deviations, which the reference takes the root of otherwise."""
    if found is None or expected is None:
        return found is expected
    if isinstance(expected, float) and isinstance(found, float):
        if math.isnan(found) or math.isnan(expected):
            return math.isnan(found) and math.isnan(expected)
        return found == expected
    return bool(found == expected)


def moments() -> st.SearchStrategy[int]:
    """Times that often coincide or lie a microsecond apart."""
    near = st.sampled_from([-MICROSECOND, 0, 0, 0, MICROSECOND])
    return st.builds(lambda day, jitter: START + day * DAY // 2 + jitter, st.integers(0, 12), near)


def amounts() -> st.SearchStrategy[float | None]:
    money = st.integers(-10_000, 10_000).map(lambda cents: cents / 100)
    wild = st.sampled_from([1e300, -1e300, 1e-300, 0.1, -0.0, math.inf, -math.inf, math.nan, 1e16])
    return st.one_of(money, money, money, wild, st.none())


@st.composite
def aggregations(draw: st.DrawFn, column: str) -> Aggregation:
    kind = COLUMNS[column]
    functions = ANY if column == "kind" else ANY + NUMBERS
    function = draw(st.sampled_from([*functions, "last_distinct"]))
    days = draw(st.sampled_from([None, 0.5, 1, 1.5, 3]))
    offset = draw(st.sampled_from([0, 0, 0, 0.5, 1]))
    types: dict[str, pa.DataType] = {
        "count": pa.int64(),
        "count_distinct": pa.int64(),
        "mean": pa.float64(),
        "std": pa.float64(),
        "last_distinct": pa.list_(kind),
    }
    return Aggregation(
        name="",
        function=function,
        column=column,
        window=None if days is None else timedelta(days=days),
        offset=timedelta(days=offset),
        n=draw(st.integers(1, 3)) if function == "last_distinct" else 0,
        type=str(types.get(function, kind)),
    )


@st.composite
def views(draw: st.DrawFn, aggregated: bool) -> ViewDefinition:
    names = draw(st.sampled_from([("shop",), ("name",), ("shop", "name"), ()]))
    made = []
    if aggregated:
        columns = draw(st.lists(st.sampled_from(list(COLUMNS)), min_size=1, max_size=4))
        made = [draw(aggregations(column)) for column in columns]
        made.append(Aggregation(name="", function="count", window=timedelta(days=1), type="int64"))
        made = [a.model_copy(update={"name": f"f{i}"}) for i, a in enumerate(made)]
    fields = () if aggregated else tuple(Column(name=n, type=str(t)) for n, t in COLUMNS.items())
    return ViewDefinition(
        name="view",
        keys=tuple(Column(name=name, type=str(KEYS[name])) for name in names),
        source=Source(
            name="rows",
            kind="parquet",
            location="rows.parquet",
            timestamp="t",
            created=draw(st.sampled_from(["", "created"])),
        ),
        fields=fields,
        aggregates=tuple(made),
        ttl=None
        if aggregated
        else draw(st.sampled_from([None, timedelta(days=1), timedelta(microseconds=1)])),
        resolution=draw(st.sampled_from([timedelta(0), timedelta(0), timedelta(hours=5)]))
        if aggregated
        else timedelta(0),
    )


@st.composite
def examples(draw: st.DrawFn, aggregated: bool = True, late: bool = True) -> Example:
    """Few entities, one of them with half of all rows; ties, nulls, late and repeated rows."""
    view = draw(views(aggregated))
    parts = {"shop": st.sampled_from([1, 1, 1, 2, None]), "name": st.sampled_from(["a", "a", "b"])}
    key = st.tuples(*(parts[column.name] for column in view.keys))
    values = st.fixed_dictionaries(
        {
            "amount": amounts(),
            "count": st.one_of(st.none(), st.integers(-3, 3)),
            "kind": st.sampled_from(["x", "y", "z", None]),
        }
    )
    delays = st.sampled_from([0, 0, 0, DAY // 2, 2 * DAY, -DAY, None] if late else [0])
    rows = []
    for _ in range(draw(st.integers(0, 14))):
        happened, delay = draw(moments()), draw(delays)
        created = happened + delay if view.source.created and delay is not None else None
        rows.append(Row(draw(key), happened, created, draw(values)))
    rows += draw(st.lists(st.sampled_from(rows), max_size=2)) if rows else []
    asked = draw(st.lists(st.tuples(key, moments()), min_size=1, max_size=6))
    return Example(view, tuple(rows), tuple(asked))
