"""A shop with features of every function and kind of window, and rows that hypothesis draws.

The features stand still and the rows change, so that a store is set up once for many examples.
"""

from __future__ import annotations

import math
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from feast import FeatureStore, RepoConfig
from feature_examples import COLUMNS, DAY, MICROSECOND, amounts, moments, same
from feature_reference import Row, aggregate, latest
from hypothesis import strategies as st

from penstock.features.declarations import (
    Aggregate,
    BatchSource,
    Entity,
    FeatureView,
)
from penstock.features.definition import ViewDefinition
from penstock.features.feast_objects import compiled

KEYS = {"shop": pa.int64(), "name": pa.string()}
UTC_TIME = pa.timestamp("us", "UTC")
# Without a zone, with others than UTC, and finer: the same moments.
TIMES = (
    UTC_TIME,
    pa.timestamp("us"),
    pa.timestamp("ns"),
    pa.timestamp("ns", "UTC"),
    pa.timestamp("us", "America/New_York"),
)
FILES = ("1.parquet", "10.parquet", "2/1.parquet", "3.parquet")  # in the order of their paths
SCHEMA = {
    **{name: str(kind) for name, kind in KEYS.items()},
    "t": str(UTC_TIME),
    "created": str(UTC_TIME),
    **{name: str(kind) for name, kind in COLUMNS.items()},
}
BEGIN = datetime(2024, 1, 1, tzinfo=UTC)  # before all rows

shop, name = Entity("shop"), Entity("name")
known = BatchSource("known", path="rows", timestamp="t", created="created", schema=SCHEMA)
plain = BatchSource("plain", path="rows", timestamp="t", schema=SCHEMA)

ANY = ("count", "min", "max", "last", "first", "count_distinct", "last_distinct(2)")
NUMERIC = (*ANY, "sum", "mean", "std")
windows = FeatureView(
    "windows",
    source=known,
    entities=[shop],
    aggregates=[
        *(Aggregate("amount", function, "1d") for function in NUMERIC),
        *(Aggregate("count", function, "36h", offset="12h") for function in NUMERIC),
        *(Aggregate("kind", function, "3d") for function in ANY),
        *(Aggregate("amount", function, "lifetime") for function in NUMERIC),
        Aggregate("*", "count", timedelta(microseconds=1), name="now"),
        Aggregate("kind", "last", "lifetime", offset="1d"),
    ],
)
coarse = FeatureView(  # without a lifetime, so that online events go when no window needs them
    "coarse",
    source=plain,
    entities=[shop, name],
    resolution="5h",
    aggregates=[
        Aggregate("amount", "sum", "1d"),
        Aggregate("amount", "std", "36h", offset="12h"),
        Aggregate("count", "last", "12h"),
        Aggregate("kind", "count_distinct", "3d"),
        Aggregate("*", "count", "1d", offset="1d"),
    ],
)
everyone = FeatureView(
    "everyone",
    source=known,
    aggregates=[
        Aggregate("*", "count", "1d"),
        Aggregate("amount", "sum", "3d"),
        Aggregate("kind", "last_distinct(3)", "lifetime"),
    ],
)
recent = FeatureView(
    "recent", source=known, entities=[shop, name], ttl="1d", features=list(COLUMNS)
)
instant = FeatureView(
    "instant", source=plain, entities=[name], ttl=timedelta(microseconds=1), features=list(COLUMNS)
)
newest = FeatureView("newest", source=known, entities=[shop], features=list(COLUMNS))
overall = FeatureView("overall", source=plain, ttl="12h", features=["amount", "kind"])
VIEWS = (windows, coarse, everyone, recent, instant, newest, overall)


@dataclass(frozen=True)
class Question:
    """Whom and when; a part of a key may be null."""

    shop: int | None
    name: str | None
    at: int

    def key(self, view: ViewDefinition) -> tuple[Any, ...]:
        return tuple(getattr(self, column.name) for column in view.keys)


@dataclass(frozen=True)
class World:
    """Rows of the source in file order, with the keys among their values; how they are written,
    and what is asked about them."""

    rows: tuple[Row, ...]
    cuts: tuple[int, ...]  # where one file ends and the next begins
    time: pa.DataType
    asked: tuple[Question, ...]

    def write(self, folder: Path) -> None:
        """The files of the source in `folder`/rows."""
        table, edges = table_of(self.rows, self.time), (0, *self.cuts, len(self.rows))
        for number, file in enumerate(FILES[: len(edges) - 1]):
            path = folder / "rows" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            part = table.slice(edges[number], edges[number + 1] - edges[number])
            pq.write_table(part, path, row_group_size=3)

    def questions(self, time: pa.DataType = UTC_TIME) -> pa.Table:
        return pa.table(
            {
                "shop": pa.array([q.shop for q in self.asked], KEYS["shop"]),
                "name": pa.array([q.name for q in self.asked], KEYS["name"]),
                "event_timestamp": times_of([q.at for q in self.asked], time),
            }
        )


def rows_of(view: ViewDefinition, rows: Sequence[Row]) -> list[Row]:
    """As a view sees them: by its own key, and created if it says so."""
    names = [column.name for column in view.keys]
    return [
        replace(
            row,
            key=tuple(row.values[name] for name in names),
            created=row.created if view.source.created else None,
        )
        for row in rows
    ]


def table_of(rows: Sequence[Row], time: pa.DataType = UTC_TIME) -> pa.Table:
    """Rows as the source has them."""
    values = {n: pa.array([r.values[n] for r in rows], k) for n, k in (KEYS | COLUMNS).items()}
    return pa.table(
        {
            "t": times_of([row.happened for row in rows], time),
            "created": times_of([row.created for row in rows], time),
            **values,
        }
    )


def times_of(moments: Sequence[int | None], kind: pa.DataType) -> pa.Array:
    return pa.array(moments, pa.timestamp("ns", "UTC")).cast(kind)


def expected(view: ViewDefinition, rows: Sequence[Row], key: tuple[Any, ...], t: int) -> Any:
    """What the reference says of every feature of a view."""
    if view.aggregates:
        return {a.name: aggregate(view, a, rows, key, t) for a in view.aggregates}
    row = latest(view, rows, key, t)
    return {c.name: None if row is None else row.values[c.name] for c in view.fields}


def differences(
    found: Mapping[str, Sequence[Any]],
    definitions: Iterable[ViewDefinition],
    rows: Mapping[str, Sequence[Row]],
    asked: Sequence[Question],
) -> list[str]:
    """Where columns called view__feature, a value a question, are not what the reference says."""
    wrong = []
    for view in definitions:
        deviations = {a.name for a in view.aggregates if a.function == "std"}
        for place, question in enumerate(asked):
            answer = expected(view, rows[view.name], question.key(view), question.at)
            for feature, value in answer.items():
                there = found[f"{view.name}__{feature}"][place]
                if not _agree(there, value, deviation=feature in deviations):
                    wrong.append(f"{view.name}.{feature} of {question}: {there!r}, not {value!r}")
    return wrong


def _agree(found: Any, value: Any, *, deviation: bool) -> bool:
    """To the bit, but for deviations: the reference takes the root in another way."""
    if deviation and isinstance(found, float) and isinstance(value, float):
        return math.isclose(found, value, rel_tol=1e-14)
    return same(found, value)


@st.composite
def worlds(draw: st.DrawFn, rows: int = 20, shops: int = 2, asked: int = 6) -> World:
    """Ties, nulls, late and repeated rows in any order; shop 0 has half of all."""
    shop_ids = st.sampled_from([*range(1, shops + 1), None])
    names = st.sampled_from(["a", "a", "b", None])
    values = st.fixed_dictionaries(
        {
            "shop": shop_ids,
            "name": names,
            "amount": amounts(),
            "count": st.one_of(st.none(), st.integers(-3, 3)),
            "kind": st.sampled_from(["x", "y", "z", "", None]),
        }
    )
    happened = st.one_of(moments(), moments(), moments(), moments(), st.none())
    delays = st.sampled_from([0, 0, 0, MICROSECOND, DAY // 2, 2 * DAY, -DAY, None])
    count = draw(st.integers(0, rows))  # else hypothesis seldom draws many
    event = st.tuples(happened, delays, values)
    drawn = draw(st.lists(event, min_size=count, max_size=count))
    made = []
    for place, (when, delay, about) in enumerate(drawn):
        created = None if when is None or delay is None else when + delay
        if place % 2 == 0:
            about = {**about, "shop": 0}
        made.append(Row((), when, created, about))
    made += draw(st.lists(st.sampled_from(made), max_size=3)) if made else []
    cuts = draw(st.lists(st.integers(0, len(made)), max_size=len(FILES) - 1))
    question = st.builds(Question, st.one_of(st.just(0), shop_ids), names, moments())
    return World(
        rows=tuple(made),
        cuts=tuple(sorted(cuts)),
        time=draw(st.sampled_from(TIMES)),
        asked=tuple(draw(st.lists(question, min_size=1, max_size=asked))),
    )


class Shop:
    """The features, compiled once; `opened` gives a store of its own to each example."""

    def __init__(
        self, root: Path, views: Sequence[FeatureView] = VIEWS, engine: str = "duckdb"
    ) -> None:
        module = types.ModuleType("features")
        vars(module).update({view.name: view for view in views})
        found = compiled(module, root)
        self.definitions, self._objects = found.definitions, list(found.objects)
        self._engine = engine

    @property
    def features(self) -> list[str]:
        """All of them, as Feast calls them: view:feature."""
        views = self.definitions.values()
        return [f"{view.name}:{column.name}" for view in views for column in view.features]

    def opened(self, folder: Path, online: Mapping[str, Any]) -> FeatureStore:
        """A store that knows the features, of rows that are written to `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        spark = self._engine == "spark"
        offline = "spark.SparkOfflineStore" if spark else "offline_store.DuckDBOfflineStore"
        batch = "spark.SparkComputeEngine" if spark else "compute_engine.DuckDBComputeEngine"
        conf = {"spark_conf": {"spark.sql.shuffle.partitions": "2"}} if spark else {}
        store = FeatureStore(
            config=RepoConfig(
                project="shop",
                provider="local",
                registry=str(folder / "registry.db"),
                offline_store={"type": f"penstock.features.{offline}", "root": str(folder), **conf},
                batch_engine={"type": f"penstock.features.{batch}"},
                online_store=dict(online),
                entity_key_serialization_version=3,
                repo_path=str(folder),
            )
        )
        store.apply(self._objects)
        return store


def as_frame(table: pa.Table) -> pd.DataFrame:
    """In pandas, where integers beside nulls stay integers."""
    frame: pd.DataFrame = table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
    return frame


def moment(nanoseconds: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=nanoseconds // 1_000)
