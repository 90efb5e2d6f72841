# ruff: noqa: F401 - pytest finds fixtures by the names they are imported under
"""Every store and engine against the definition of a feature, read row by row.

Examples hold ties, nulls, late and repeated rows, unsorted files, times with and without a zone, a
leap day, edges of windows and of ttl to the microsecond, and an entity with half of all events.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sparks
from feast import FeatureStore
from feature_examples import DAY, MICROSECOND, moments
from feature_reference import Row
from feature_worlds import (
    BEGIN,
    TIMES,
    Question,
    Shop,
    World,
    as_frame,
    coarse,
    differences,
    everyone,
    moment,
    recent,
    rows_of,
    table_of,
    windows,
    worlds,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from online_backends import Settings, dynamodb_url, redis_url, settings_of

from penstock.features.facts import facts_of
from penstock.features.history import Asked, features_at

pytestmark = pytest.mark.slow

RELAXED = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
LMDB: Settings = {"type": "penstock.features.online_stores.lmdb.LmdbOnlineStore", "path": "online"}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[Path]:
    """A new folder at each turn of a property test."""
    return (tmp_path / str(number) for number in itertools.count())


def history(shop: Shop, store: FeatureStore, asked: Any) -> pa.Table:
    return store.get_historical_features(
        entity_df=asked, features=shop.features, full_feature_names=True
    ).to_arrow()


def check(shop: Shop, world: World, found: Mapping[str, Any]) -> None:
    rows = {name: rows_of(view, world.rows) for name, view in shop.definitions.items()}
    assert differences(found, shop.definitions.values(), rows, world.asked) == []


# Offline


@settings(max_examples=12, deadline=None, suppress_health_check=RELAXED)
@given(world=worlds(), time=st.sampled_from(TIMES), framed=st.booleans())
def test_history_through_feast_is_the_definition(
    shop: Shop, folders: Iterator[Path], world: World, time: pa.DataType, framed: bool
) -> None:
    """One row a question, in the order of the questions, asked in Arrow or in pandas."""
    folder = next(folders)
    world.write(folder)
    asked = world.questions(time)
    found = history(shop, shop.opened(folder, LMDB), as_frame(asked) if framed else asked)
    keys = ["shop", "name"]
    assert found.select(keys).to_pylist() == asked.select(keys).to_pylist()
    check(shop, world, found.to_pydict())


@settings(max_examples=12, deadline=None, suppress_health_check=RELAXED)
@given(world=worlds(), memory=st.sampled_from([1, 3_000, 2**30]))
def test_a_join_in_any_number_of_parts_is_the_definition(
    shop: Shop, folders: Iterator[Path], world: World, memory: int
) -> None:
    folder = next(folders)
    world.write(folder)
    found: dict[str, Any] = {}
    for name, view in shop.definitions.items():
        asked = Asked(
            world.questions(), "event_timestamp", {key.name: key.name for key in view.keys}
        )
        columns = features_at(view, facts_of(view, folder), asked, memory).to_pydict()
        found |= {f"{name}__{feature}": values for feature, values in columns.items()}
    check(shop, world, found)


# Online


@pytest.mark.parametrize(("kind", "examples"), [("lmdb", 15), ("redis", 10), ("dynamodb", 6)])
def test_a_vector_served_at_a_time_is_the_definition_for_what_has_arrived(
    shop: Shop,
    folders: Iterator[Path],
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    examples: int,
) -> None:
    """Materialised in two steps, sometimes the second again, and some of it pushed."""

    @settings(max_examples=examples, deadline=None, suppress_health_check=RELAXED)
    @given(
        world=worlds(),
        pushed=worlds(rows=4),
        ends=st.tuples(moments(), moments()).map(sorted),
        again=st.booleans(),
        later=st.sampled_from([0, 0, MICROSECOND, DAY // 2, DAY, 3 * DAY, 30 * DAY]),
    )
    def served(world: World, pushed: World, ends: Sequence[int], again: bool, later: int) -> None:
        folder = next(folders)
        world.write(folder)
        store = shop.opened(folder, settings_of(kind, request, monkeypatch))
        middle, end = ends
        materialise(store, BEGIN, moment(middle), at=middle)
        for _ in range(1 + again):
            materialise(store, moment(middle), moment(end), at=end)
        events = pushable(pushed.rows)
        push(store, events)
        questions = [Question(q.shop, q.name, end + later) for q in world.asked]
        arrived = {
            name: [*until(rows_of(view, world.rows), end), *rows_of(view, events)]
            for name, view in shop.definitions.items()
        }
        found = read(shop, store, questions, at=end + later)
        assert differences(found, shop.definitions.values(), arrived, questions) == []

    served()


def materialise(store: FeatureStore, start: Any, end: Any, *, at: int) -> None:
    set_clock(store, at)
    store.materialize(start, end)


def set_clock(store: FeatureStore, now: int) -> None:
    store._get_provider().online_store.now = lambda: now


def until(rows: Sequence[Row], end: int) -> list[Row]:
    """What a materialisation up to a moment has brought."""
    return [
        without_nan(row)
        for row in rows
        if row.happened is not None and row.happened <= end and (row.created or 0) <= end
    ]


def without_nan(row: Row) -> Row:
    """Online NaN is missing, as null is."""
    return replace(row, values={n: None if v != v else v for n, v in row.values.items()})


def pushable(rows: Sequence[Row]) -> list[Row]:
    """What a service may push: events of the past, and announced ones.

    Feast 0.67 drops a push without any value, with a warning, before a store hears of it.
    """
    dated = [without_nan(row) for row in rows if row.created is not None]
    return [row for row in dated if (row.values["amount"], row.values["kind"]) != (None, None)]


def push(store: FeatureStore, rows: Sequence[Row]) -> None:
    if rows:
        for source in ("known_push", "plain_push"):
            store.push(source, as_frame(table_of(rows)))


def read(
    shop: Shop, store: FeatureStore, asked: Sequence[Question], *, at: int
) -> dict[str, list[Any]]:
    set_clock(store, at)
    keys = {"shop": [q.shop for q in asked], "name": [q.name for q in asked]}
    answer = store.get_online_features(shop.features, keys, full_feature_names=True)
    columns: dict[str, list[Any]] = answer.to_dict()
    return columns


# Spark


@pytest.fixture(scope="module")
def spark_shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The same on Spark: a view of each kind, as each is a job."""
    sparks.required()
    views = (windows, coarse, everyone, recent)
    with sparks.small_spark(tmp_path_factory.mktemp("conf")):
        yield Shop(tmp_path_factory.mktemp("spark"), views, engine="spark")


@settings(max_examples=3, deadline=None, suppress_health_check=RELAXED)
@given(world=worlds(rows=60, shops=9, asked=40), time=st.sampled_from(TIMES))
def test_history_on_spark_is_the_definition(
    spark_shop: Shop, folders: Iterator[Path], world: World, time: pa.DataType
) -> None:
    folder = next(folders)
    world.write(folder)
    found = history(spark_shop, spark_shop.opened(folder, LMDB), world.questions(time))
    check(spark_shop, world, found.to_pydict())


@settings(max_examples=3, deadline=None, suppress_health_check=RELAXED)
@given(world=worlds(rows=60, shops=9, asked=40), end=moments())
def test_what_spark_materialises_is_the_definition(
    spark_shop: Shop, folders: Iterator[Path], world: World, end: int
) -> None:
    folder = next(folders)
    world.write(folder)
    store = spark_shop.opened(folder, LMDB)
    materialise(store, BEGIN, moment(end), at=end)
    questions = [Question(q.shop, q.name, end) for q in world.asked]
    arrived = {
        name: until(rows_of(view, world.rows), end) for name, view in spark_shop.definitions.items()
    }
    found = read(spark_shop, store, questions, at=end)
    assert differences(found, spark_shop.definitions.values(), arrived, questions) == []
