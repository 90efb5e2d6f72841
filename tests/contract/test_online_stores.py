# ruff: noqa: F401, F811 - pytest finds fixtures by the names they are imported under
"""One suite over the packed online stores, beside Feast's own SQLite where that is right."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from feast import (
    Entity,
    FeatureService,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
    RequestSource,
)
from feast import types as feast_types
from feast.on_demand_feature_view import on_demand_feature_view
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.types import Array, Bool, Float64, Int64, Set, String, UnixTimestamp
from feast.value_type import ValueType
from online_backends import (
    HOUR,
    NOW,
    PLUGINS,
    Settings,
    dynamodb_url,
    online,
    open_store,
    redis_url,
    set_clock,
)

from penstock.errors import DataError

pytestmark = pytest.mark.slow

driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
city = Entity(name="city", join_keys=["city_name"], value_type=ValueType.STRING)


def source(name: str) -> FileSource:
    return FileSource(name=name, path=f"{name}.parquet", timestamp_field="at")


def created_source(name: str) -> FileSource:
    return FileSource(
        name=name, path=f"{name}.parquet", timestamp_field="at", created_timestamp_column="known"
    )


def trips(**changes: Any) -> FeatureView:
    about: dict[str, Any] = {
        "name": "trips",
        "entities": [driver],
        "schema": [
            Field(name="driver_id", dtype=Int64),
            Field(name="count", dtype=Int64),
            Field(name="rate", dtype=Float64),
            Field(name="note", dtype=String),
        ],
        "source": source("trips"),
        "ttl": timedelta(days=1),
    }
    return FeatureView(**{**about, **changes})


def weather() -> FeatureView:
    return FeatureView(
        name="weather",
        entities=[city],
        schema=[Field(name="city_name", dtype=String), Field(name="rain", dtype=Float64)],
        source=source("weather"),
    )


def visits() -> FeatureView:
    return FeatureView(
        name="visits",
        entities=[driver, city],
        schema=[
            Field(name="driver_id", dtype=Int64),
            Field(name="city_name", dtype=String),
            Field(name="visits", dtype=Int64),
        ],
        source=source("visits"),
    )


def globals_() -> FeatureView:
    return FeatureView(
        name="everywhere",
        entities=[],
        schema=[Field(name="price_of_fuel", dtype=Float64)],
        source=source("everywhere"),
    )


def write(store: FeatureStore, view: str, **columns: list[Any]) -> None:
    times = columns.pop("at", [NOW - HOUR] * len(next(iter(columns.values()))))
    store.write_to_online_store(
        view, pd.DataFrame({**columns, "at": pd.to_datetime(times, utc=True)})
    )


def filled(store: FeatureStore) -> FeatureStore:
    store.apply([driver, city, trips(), weather(), visits(), globals_()])
    set_clock(store, NOW)
    write(
        store,
        "trips",
        driver_id=[1, 2, 3],
        count=[10, 20, 30],
        rate=[0.5, float("nan"), 0.25],
        note=["a", None, "ä"],
    )
    write(store, "weather", city_name=["Rome", "Oslo"], rain=[1.5, 2.5])
    write(store, "visits", driver_id=[1, 1], city_name=["Rome", "Oslo"], visits=[7, 8])
    write(store, "everywhere", price_of_fuel=[1.75])
    return store


@pytest.fixture
def stock(tmp_path: Path) -> FeatureStore:
    return open_store(tmp_path / "stock", {"type": "sqlite", "path": str(tmp_path / "stock.db")})


@pytest.fixture
def store(tmp_path: Path, online: Settings) -> Iterator[FeatureStore]:
    opened = open_store(tmp_path / "ours", online)
    yield opened
    opened._get_provider().online_store.teardown(opened.config, [], [])


def statuses(response: Any) -> dict[str, list[str]]:
    names = response.proto.metadata.feature_names.val
    return {
        name: [FieldStatus.Name(status) for status in vector.statuses]
        for name, vector in zip(names, response.proto.results, strict=True)
    }


TRIPS = ["trips:count", "trips:rate", "trips:note"]
REQUESTS: dict[str, tuple[list[str], Any, bool]] = {
    "a list of dicts": (TRIPS, [{"driver_id": 1}, {"driver_id": 3}], False),
    "one entity": (TRIPS, [{"driver_id": 2}], False),
    "columns": (TRIPS, {"driver_id": [3, 1, 2]}, False),
    "some features": (["trips:note", "trips:count"], [{"driver_id": 1}], False),
    "one feature": (["trips:rate"], [{"driver_id": 1}], False),
    "full names": (TRIPS, [{"driver_id": 1}], True),
    "unknown entities": (TRIPS, [{"driver_id": 9}, {"driver_id": 1}], False),
    "repeated entities": (TRIPS, {"driver_id": [1, 2, 1, 1]}, False),
    "several views": (
        [*TRIPS, "weather:rain", "visits:visits"],
        [{"driver_id": 1, "city_name": "Rome"}, {"driver_id": 2, "city_name": "Oslo"}],
        False,
    ),
    "a key that no view needs": (["weather:rain"], [{"city_name": "Rome", "driver_id": 1}], False),
    "values that nobody knows": (TRIPS, [{"driver_id": 1, "mood": "good"}], False),
}


@pytest.mark.parametrize("request_", REQUESTS)
def test_every_kind_of_request_is_answered_as_feast_does(
    store: FeatureStore, stock: FeatureStore, request_: str
) -> None:
    features, entities, full = REQUESTS[request_]
    answers = [
        filled(s).get_online_features(features, entities, full_feature_names=full)
        for s in (store, stock)
    ]
    ours, theirs = answers
    assert ours.to_dict() == theirs.to_dict()
    assert same_times(ours.to_dict(True), theirs.to_dict(True))
    columns = list(theirs.to_df().columns)
    pd.testing.assert_frame_equal(ours.to_df()[columns], theirs.to_df())
    assert ours.to_arrow().select(columns) == theirs.to_arrow()
    assert proto_values(ours) == proto_values(theirs)


def same_times(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    """Feast's SQLite reads times in the machine's own zone, which is UTC where tests run."""
    return ours == theirs


def proto_values(response: Any) -> dict[str, Any]:
    names = response.proto.metadata.feature_names.val
    return {n: list(r.values) for n, r in zip(names, response.proto.results, strict=True)}


def test_a_view_without_entities_has_one_row(store: FeatureStore) -> None:
    """Feast 0.67's SQLite store does not find what was pushed to such a view."""
    asked = ["everywhere:price_of_fuel", "trips:count"]
    answer = filled(store).get_online_features(asked, {"driver_id": [1, 2]}).to_dict()
    assert answer == {"driver_id": [1, 2], "price_of_fuel": [1.75, 1.75], "count": [10, 20]}


def test_a_feature_service_and_aliased_views(store: FeatureStore, stock: FeatureStore) -> None:
    origin = weather().with_name("origin").with_join_key_map({"city_name": "origin_name"})
    target = weather().with_name("target").with_join_key_map({"city_name": "target_name"})
    both = FeatureService(name="both", features=[origin, target, trips()[["rate"]]])
    rows = [{"driver_id": 1, "origin_name": "Rome", "target_name": "Oslo"}]
    answers = []
    for each in (store, stock):
        filled(each).apply([both])
        service = each.get_feature_service("both")
        answers.append(each.get_online_features(service, rows, full_feature_names=True).to_dict())
    assert answers[0] == answers[1]
    assert answers[0]["origin__rain"] == [1.5]
    assert answers[0]["target__rain"] == [2.5]


def test_on_demand_features_and_request_data(store: FeatureStore, stock: FeatureStore) -> None:
    asked = RequestSource(name="asked", schema=[Field(name="bonus", dtype=Float64)])

    @on_demand_feature_view(
        sources=[trips(), asked], schema=[Field(name="with_bonus", dtype=Float64)], mode="pandas"
    )
    def bonus(inputs: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"with_bonus": inputs["rate"] + inputs["bonus"]})

    answers = []
    for each in (store, stock):
        filled(each).apply([bonus])
        rows = [{"driver_id": 1, "bonus": 1.0}, {"driver_id": 3, "bonus": 2.0}]
        answers.append(
            each.get_online_features(["bonus:with_bonus", "trips:count"], rows).to_dict()
        )
    assert answers[0] == answers[1]
    assert answers[0]["with_bonus"] == [1.5, 2.25]


@pytest.mark.parametrize(
    "entities",
    [
        [{"city_name": "Rome"}],
        {"driver_id": [1], "city_name": ["Rome", "Oslo"]},
        {},
        {"driver_id": []},
    ],
)
def test_wrong_requests_are_refused_with_feasts_own_errors(
    store: FeatureStore, stock: FeatureStore, entities: Any
) -> None:
    refused = []
    for each in (stock, store):
        with pytest.raises(Exception) as error:  # noqa: PT011 - Feast's own, whatever it is
            filled(each).get_online_features(TRIPS, entities)
        refused.append((type(error.value), str(error.value)))
    assert refused[0] == refused[1]


def test_unknown_features_are_refused_with_feasts_own_errors(store: FeatureStore) -> None:
    from feast.errors import FeatureNameCollisionError, FeatureViewNotFoundException

    filled(store)
    with pytest.raises(FeatureViewNotFoundException):
        store.get_online_features(["nothing:here"], [{"driver_id": 1}])
    with pytest.raises(KeyError):
        store.get_online_features(["trips:nothing"], [{"driver_id": 1}])
    with pytest.raises(FeatureNameCollisionError):
        store.get_online_features(["trips:rate", "trips:rate"], [{"driver_id": 1}])


def test_a_key_of_another_type_is_refused(store: FeatureStore) -> None:
    filled(store)
    with pytest.raises(DataError, match=r"'x'.*'driver_id'"):
        store.get_online_features(TRIPS, [{"driver_id": "x"}])


def test_a_null_entity_matches_nothing(store: FeatureStore) -> None:
    answer = filled(store).get_online_features(TRIPS, {"driver_id": [None, 1]})
    assert answer.to_dict()["count"] == [None, 10]


def test_statuses_say_why_a_value_is_null(store: FeatureStore) -> None:
    filled(store)
    write(store, "trips", driver_id=[4], count=[1], rate=[1.0], note=["x"], at=[NOW - 25 * HOUR])
    rows = [{"driver_id": d} for d in (1, 2, 4, 9)]
    answer = store.get_online_features(["trips:rate"], rows)
    assert answer.to_dict()["rate"] == [0.5, None, None, None]
    assert statuses(answer)["rate"] == ["PRESENT", "NULL_VALUE", "OUTSIDE_MAX_AGE", "NOT_FOUND"]


def test_ttl_is_inclusive(store: FeatureStore) -> None:
    filled(store)
    write(store, "trips", driver_id=[4], count=[1], rate=[1.0], note=["x"], at=[NOW])
    for later, expected in ((timedelta(days=1), [1]), (timedelta(days=1, microseconds=1), [None])):
        set_clock(store, NOW + later)
        assert (
            store.get_online_features(["trips:count"], [{"driver_id": 4}]).to_dict()["count"]
            == expected
        )


def test_a_row_of_the_future_is_served_from_its_time_on(store: FeatureStore) -> None:
    filled(store)
    write(store, "trips", driver_id=[4], count=[1], rate=[1.0], note=["x"], at=[NOW + HOUR])
    asked = (["trips:count"], [{"driver_id": 4}])
    assert statuses(store.get_online_features(*asked))["count"] == ["NOT_FOUND"]
    set_clock(store, NOW + HOUR)
    assert store.get_online_features(*asked).to_dict()["count"] == [1]


def test_the_newest_row_stays_whatever_the_order_of_writes(store: FeatureStore) -> None:
    view = trips(source=created_source("trips"))
    store.apply([driver, view])
    set_clock(store, NOW)

    def put(hours: int, created: int | None, count: int) -> None:
        known = pd.NaT if created is None else NOW - created * HOUR
        frame = {"driver_id": [1], "count": [count], "rate": [0.0], "note": [""]}
        frame |= {"at": [NOW - hours * HOUR], "known": pd.to_datetime([known], utc=True)}
        store.write_to_online_store("trips", pd.DataFrame(frame))

    seen = []
    for hours, created, count in (
        (5, None, 1),
        (6, 1, 2),  # happened before: stays out
        (5, 4, 3),  # happened then, and is known to have been created
        (5, 5, 4),  # created before that
        (5, 4, 5),  # equal: the later write
        (2, 2, 6),
    ):
        put(hours, created, count)
        answer = store.get_online_features(["trips:count"], [{"driver_id": 1}]).to_dict()
        seen += answer["count"]
    assert seen == [1, 1, 3, 3, 5, 6]


def test_of_one_batch_the_newest_row_stays(store: FeatureStore) -> None:
    store.apply([driver, trips()])
    set_clock(store, NOW)
    write(
        store,
        "trips",
        driver_id=[1, 1, 1],
        count=[1, 2, 3],
        rate=[0.0] * 3,
        note=[""] * 3,
        at=[NOW - 2 * HOUR, NOW - HOUR, NOW - 3 * HOUR],
    )
    assert store.get_online_features(["trips:count"], [{"driver_id": 1}]).to_dict()["count"] == [2]


def as_table(values: list[Any], kind: pa.DataType) -> pa.Table:
    return pa.table(
        {
            "driver_id": pa.array(range(len(values)), pa.int64()),
            "value": pa.array(values, kind),
            "at": pa.array([NOW - HOUR] * len(values), pa.timestamp("us", "UTC")),
        }
    )


def test_integers_beside_nulls_stay_exact(store: FeatureStore) -> None:
    """Feast 0.67 takes them through float64, and rounds those above 2^53."""
    view = trips(schema=[Field(name="driver_id", dtype=Int64), Field(name="value", dtype=Int64)])
    store.apply([driver, view])
    set_clock(store, NOW)
    plugin = store._get_provider().online_store
    table = as_table([2**53 + 1, None], pa.int64())
    plugin.write_latest(store.config, view, table, "at", "")
    answer = store.get_online_features(["trips:value"], {"driver_id": [0, 1]}).to_dict()
    assert answer["value"] == [2**53 + 1, None]


def test_a_table_that_does_not_fit_is_refused_by_column(store: FeatureStore) -> None:
    view = trips(schema=[Field(name="driver_id", dtype=Int64), Field(name="value", dtype=Int64)])
    store.apply([driver, view])
    plugin = store._get_provider().online_store
    with pytest.raises(DataError, match="'trips', column 'value'"):
        plugin.write_latest(store.config, view, as_table(["x"], pa.string()), "at", "")
    table = as_table([1], pa.int64()).drop_columns(["value"])
    with pytest.raises(DataError, match="lack value"):
        plugin.write_latest(store.config, view, table, "at", "")


def test_a_deleted_view_is_gone_and_others_stay(store: FeatureStore) -> None:
    filled(store)
    store.apply([], objects_to_delete=[weather()], partial=False)
    store.apply([driver, city, trips(), weather()])
    rows = [{"driver_id": 1, "city_name": "Rome"}]
    answer = store.get_online_features(["trips:count", "weather:rain"], rows).to_dict()
    assert (answer["count"], answer["rain"]) == ([10], [None])


def test_one_entity_is_forgotten_and_others_stay(store: FeatureStore) -> None:
    filled(store)
    online, view = store._get_provider().online_store, store.get_feature_view("trips")
    assert online.forget(store.config, view, {"driver_id": 1}) == 1
    assert online.forget(store.config, view, {"driver_id": 1}) == 0
    answer = store.get_online_features(["trips:count"], {"driver_id": [1, 2]})
    assert answer.to_dict()["count"] == [None, 20]
    write(store, "trips", driver_id=[1], count=[11], rate=[0.5], note=["b"])
    answer = store.get_online_features(["trips:count"], {"driver_id": [1, 2]})
    assert answer.to_dict()["count"] == [11, 20]


def test_features_may_come_and_go_without_losing_the_rest(store: FeatureStore) -> None:
    filled(store)
    fields = [
        Field(name="driver_id", dtype=Int64),
        Field(name="rate", dtype=Float64),
        Field(name="stars", dtype=Int64),
    ]
    store.apply([driver, trips(schema=fields)])
    asked = (["trips:rate", "trips:stars"], [{"driver_id": 1}])
    answer = store.get_online_features(*asked)
    assert (answer.to_dict()["rate"], answer.to_dict()["stars"]) == ([0.5], [None])
    assert statuses(answer)["stars"] == ["NULL_VALUE"]
    write(store, "trips", driver_id=[1], rate=[0.75], stars=[5])
    answer = store.get_online_features(*asked).to_dict()
    assert (answer["rate"], answer["stars"]) == ([0.75], [5])


def test_rows_of_another_key_type_are_dropped_and_it_is_said(
    store: FeatureStore, caplog: pytest.LogCaptureFixture
) -> None:
    filled(store)
    named = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.STRING)
    fields = [Field(name="driver_id", dtype=String), Field(name="rate", dtype=Float64)]
    with caplog.at_level(logging.WARNING):
        store.apply([named, trips(entities=[named], schema=fields)])
    assert "'trips': its keys were {'driver_id': 'INT64'}" in caplog.text
    answer = store.get_online_features(["trips:rate"], [{"driver_id": "1"}])
    assert answer.to_dict()["rate"] == [None]


def test_a_definition_applied_elsewhere_is_seen_after_a_refresh(
    tmp_path: Path, online: Settings, store: FeatureStore
) -> None:
    filled(store)
    asked = (["trips:count"], [{"driver_id": 1}])
    assert store.get_online_features(*asked).to_dict()["count"] == [10]
    open_store(tmp_path / "ours", online).apply([driver, trips(ttl=timedelta(minutes=5))])
    store.refresh_registry()
    assert store.get_online_features(*asked).to_dict()["count"] == [None]


def test_a_definition_applied_here_is_seen_at_once(store: FeatureStore) -> None:
    filled(store)
    asked = (["trips:count"], [{"driver_id": 1}])
    assert store.get_online_features(*asked).to_dict()["count"] == [10]
    store.apply([driver, trips(ttl=timedelta(minutes=5))])
    assert store.get_online_features(*asked).to_dict()["count"] == [None]


def test_teardown_leaves_nothing(store: FeatureStore) -> None:
    filled(store)
    store.teardown()
    filled_again = [driver, city, trips(), weather(), visits(), globals_()]
    store.apply(filled_again)
    answer = store.get_online_features(TRIPS, [{"driver_id": 1}])
    assert answer.to_dict()["count"] == [None]


def test_reading_from_an_event_loop(store: FeatureStore) -> None:
    filled(store)

    async def read() -> list[Any]:
        asked = [store.get_online_features_async(TRIPS, [{"driver_id": d}]) for d in (1, 2, 3)]
        return [answer.to_dict()["count"] for answer in await asyncio.gather(*asked)]

    assert asyncio.run(read()) == [[10], [20], [30]]


def test_long_keys_are_told_apart(store: FeatureStore) -> None:
    filled(store)
    names = ["x" * 600 + end for end in ("a", "b")]
    write(store, "weather", city_name=names, rain=[1.0, 2.0])
    answer = store.get_online_features(["weather:rain"], {"city_name": names}).to_dict()
    assert answer["rain"] == [1.0, 2.0]


def test_hundreds_of_entities_at_once(store: FeatureStore) -> None:
    """More than DynamoDB reads at once, which is 100."""
    store.apply([driver, trips()])
    set_clock(store, NOW)
    count = 250
    numbers = list(range(count))
    write(store, "trips", driver_id=numbers, count=numbers, rate=[0.5] * count, note=["x"] * count)
    asked = [*reversed(numbers), 5_000]
    answer = store.get_online_features(["trips:count"], {"driver_id": asked}).to_dict()
    assert answer["count"] == [*reversed(numbers), None]


def test_feasts_own_feature_server_serves_it(store: FeatureStore) -> None:
    from feast.feature_server import get_app
    from starlette.testclient import TestClient

    filled(store)
    with TestClient(get_app(store)) as client:
        asked = {"features": ["trips:count", "trips:note"], "entities": {"driver_id": [1, 2, 9]}}
        answer = client.post("/get-online-features", json=asked)
    assert answer.status_code == 200
    results = dict(
        zip(answer.json()["metadata"]["feature_names"], answer.json()["results"], strict=True)
    )
    assert results["count"]["values"] == [10, 20, None]
    assert results["note"]["statuses"] == ["PRESENT", "NULL_VALUE", "NOT_FOUND"]
