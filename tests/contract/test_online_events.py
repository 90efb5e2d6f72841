# ruff: noqa: F401, F811 - pytest finds fixtures by the names they are imported under
"""Time windows online: pushed and materialised through Feast, over every packed store."""

from __future__ import annotations

import random
import types
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import feature_reference as reference
import msgspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import FeatureStore
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from online_backends import (
    HOUR,
    NOW,
    Settings,
    dynamodb_url,
    online,
    open_store,
    redis_url,
    set_clock,
    settings_of,
)

from penstock.errors import DataError
from penstock.features.declarations import (
    Aggregate,
    BatchSource,
    Entity,
    FeatureService,
    FeatureView,
)
from penstock.features.feast_objects import Compiled, compiled
from penstock.features.materialise import BEGINNING
from penstock.features.online_stores.coverage import COVERED

pytestmark = pytest.mark.slow

SCHEMA = {
    "user_id": "int64",
    "at": "timestamp[us, tz=UTC]",
    "amount": "double",
    "shop": "string",
    "currency": "string",
}
user = Entity("user", ["user_id"])
payments = BatchSource("payments", path="payments.parquet", timestamp="at", schema=SCHEMA)
spending = FeatureView(
    "spending",
    source=payments,
    entities=[user],
    aggregates=[
        Aggregate("*", "count", "1h"),
        Aggregate("amount", "sum", "1h"),
        Aggregate("amount", "sum", "1d"),
        Aggregate("amount", "mean", "1d"),
        Aggregate("amount", "max", "1d", offset="1h"),
        Aggregate("shop", "last", "1d"),
        Aggregate("shop", "last_distinct(2)", "1d"),
        Aggregate("shop", "count_distinct", "lifetime"),
    ],
)
last_payment = FeatureView("last_payment", source=payments, entities=[user], ttl="1d")


def in_cents(name: str) -> str:
    return f'SELECT user_id, "at", amount * 100 AS cents, shop FROM {name}'


cents = FeatureView(
    "cents",
    source=payments,
    entities=[user],
    transform=in_cents,
    aggregates=[Aggregate("cents", "sum", "1d", name="cents_1d")],
)
cheque = FeatureView(
    "cheque", source=payments, entities=[user], transform=in_cents, features=["cents"], ttl="1d"
)
everyone = FeatureView(
    "everyone", source=payments, aggregates=[Aggregate("*", "count", "1d", name="payments_1d")]
)
served = FeatureService("model", [spending, last_payment[["amount"]], everyone])


def project(folder: Path, **declared: Any) -> Compiled:
    module = types.ModuleType("features")
    vars(module).update(declared)
    empty = {name: pa.array([], kinds()[name]) for name in SCHEMA}
    if not (folder / "payments.parquet").exists():
        pq.write_table(pa.table(empty), folder / "payments.parquet")
    return compiled(module, folder)


def kinds() -> dict[str, pa.DataType]:
    from penstock.features.definition import arrow_type

    return {name: arrow_type(kind) for name, kind in SCHEMA.items()}


@pytest.fixture
def store(tmp_path: Path, online: Settings) -> Iterator[FeatureStore]:
    opened = open_store(tmp_path, online)
    found = project(
        tmp_path,
        spending=spending,
        last_payment=last_payment,
        cents=cents,
        cheque=cheque,
        everyone=everyone,
        served=served,
    )
    opened.apply(list(found.objects))
    set_clock(opened, NOW)
    for view in (spending, cents, everyone):
        note_covered(opened, view.name, BEGINNING, NOW)  # of sources without rows
    yield opened
    opened._get_provider().online_store.teardown(opened.config, [], [])


def payment(hours_ago: float, amount: float, shop: str = "a", user_id: int = 1) -> dict[str, Any]:
    at = NOW - timedelta(hours=hours_ago)
    return {"user_id": user_id, "at": at, "amount": amount, "shop": shop, "currency": "EUR"}


def push(store: FeatureStore, *payments: dict[str, Any]) -> None:
    store.push("payments_push", pd.DataFrame(payments))


def materialise(store: FeatureStore, name: str, start: datetime, *facts: dict[str, Any]) -> None:
    """What the batch engine does with the source's rows of (start, NOW]."""
    columns = {c: pa.array([f[c] for f in facts], kind) for c, kind in kinds().items()}
    plugin = store._get_provider().online_store
    view = store.get_feature_view(name)
    with plugin.filling(store.config, view, start, NOW):
        plugin.write_events(store.config, view, pa.table(columns), start, NOW)


def note_covered(store: FeatureStore, name: str, start: datetime, end: datetime) -> None:
    plugin = store._get_provider().online_store
    with plugin.filling(store.config, store.get_feature_view(name), start, end):
        pass


def read(store: FeatureStore, *names: str, user_id: int = 1) -> dict[str, Any]:
    answer = store.get_online_features(list(names), [{"user_id": user_id}]).to_dict()
    return {name: value[0] for name, value in answer.items() if name != "user_id"}


def test_a_pushed_payment_counts_at_once_in_every_view(store: FeatureStore) -> None:
    push(store, payment(0.5, 10.0), payment(2, 5.0, "b"))
    assert read(store, "spending:count_1h", "spending:amount_sum_1d", "spending:shop_last_1d") == {
        "count_1h": 1,
        "amount_sum_1d": 15.0,
        "shop_last_1d": "a",
    }
    others = ["last_payment:amount", "cents:cents_1d", "cheque:cents", "everyone:payments_1d"]
    assert read(store, *others) == {
        "amount": 10.0,
        "cents_1d": 1500.0,
        "cents": 1000.0,
        "payments_1d": 2,
    }


def test_windows_slide_with_the_clock(store: FeatureStore) -> None:
    push(store, payment(0, 10.0))
    seen = []
    for later in (timedelta(0), HOUR - timedelta(microseconds=1), HOUR):
        set_clock(store, NOW + later)
        seen.append(read(store, "spending:count_1h")["count_1h"])
    assert seen == [1, 1, 0]


def test_a_service_over_windows_and_latest_rows(store: FeatureStore) -> None:
    push(store, payment(0.5, 10.0, "x"), payment(3, 4.0, "y"))
    service = store.get_feature_service("model")
    answer = store.get_online_features(service, [{"user_id": 1}, {"user_id": 2}]).to_dict()
    assert answer["amount_max_1d_before_1h"] == [4.0, None]
    assert answer["shop_last_distinct_2_1d"] == [["x", "y"], None]
    assert answer["count_1h"] == [1, 0]
    assert answer["payments_1d"] == [2, 2]
    assert answer["amount"] == [10.0, None]


def test_a_payment_is_counted_once_however_it_arrives(store: FeatureStore) -> None:
    day = NOW - timedelta(days=1)
    push(store, payment(2, 10.0))
    materialise(store, "spending", day, payment(2, 10.0), payment(3, 1.0))
    materialise(store, "spending", day, payment(2, 10.0), payment(3, 1.0))
    assert read(store, "spending:amount_sum_1d") == {"amount_sum_1d": 11.0}


def test_random_arrivals_give_what_the_reference_gives(store: FeatureStore, tmp_path: Path) -> None:
    dice = random.Random(7)
    definition = project(tmp_path, spending=spending).definitions["spending"]
    facts = [
        payment(dice.randrange(200) / 4, dice.choice([0.1, 2.5, -1e9]), dice.choice("abc"), u)
        for u in (1, 2, 3)
        for _ in range(8)
    ]
    dice.shuffle(facts)
    arrived: list[dict[str, Any]] = []
    while facts:
        some, facts = facts[:3], facts[3:]
        push(store, *some)
        arrived += some
    rows = [reference.Row((f["user_id"],), nanoseconds(f["at"]), None, f) for f in arrived]
    names = [f"spending:{a.name}" for a in definition.aggregates]
    for hours in (0, -3, 20):
        set_clock(store, NOW + hours * HOUR)
        for number in (1, 2, 3, 4):
            assert read(store, *names, user_id=number) == {
                a.name: reference.aggregate(
                    definition, a, rows, (number,), nanoseconds(NOW + hours * HOUR)
                )
                for a in definition.aggregates
            }


def nanoseconds(moment: datetime) -> int:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return (moment - epoch) // timedelta(microseconds=1) * 1_000


def test_materialised_windows_are_to_the_bit_what_is_computed_offline(
    store: FeatureStore, tmp_path: Path
) -> None:
    from penstock.features.kernels.windows import aggregates_at

    dice = random.Random(11)
    definition = project(tmp_path, spending=spending).definitions["spending"]
    facts = [
        payment(dice.uniform(0, 50), dice.gauss(1e9, 1e-3), dice.choice("abc"), dice.randrange(5))
        for _ in range(150)
    ]
    materialise(store, "spending", NOW - timedelta(days=3), *facts)
    for moment in (NOW, NOW - timedelta(hours=2.5)):
        set_clock(store, moment)
        users = {"user_id": list(range(6))}
        asked = pa.table({**users, "t": pa.array([moment] * 6, pa.timestamp("us", "UTC"))})
        rows = pa.table({c: pa.array([f[c] for f in facts], kind) for c, kind in kinds().items()})
        offline = aggregates_at(definition, rows, asked, "t").to_pydict()
        names = [f"spending:{name}" for name in offline]
        answer = store.get_online_features(names, users).to_dict()
        assert {name: answer[name] for name in offline} == offline


def test_after_a_new_definition_old_events_are_gone_and_it_is_said(
    store: FeatureStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    push(store, payment(0.5, 10.0))
    changed = FeatureView(
        "spending", source=payments, entities=[user], aggregates=[Aggregate("*", "count", "2h")]
    )
    store.apply(list(project(tmp_path, spending=changed).objects))
    assert "'spending': its definition changed" in caplog.text
    assert covered(store) == []
    assert read(store, "spending:count_2h") == {"count_2h": None}
    push(store, payment(1.5, 10.0))
    assert read(store, "spending:count_2h") == {"count_2h": None}
    materialise(store, "spending", NOW - 3 * HOUR, payment(0.5, 10.0), payment(1.5, 10.0))
    assert read(store, "spending:count_2h") == {"count_2h": 2}


def test_finished_values_are_refused_for_views_with_windows(store: FeatureStore) -> None:
    frame = pd.DataFrame([{"user_id": 1, "at": NOW, "count_1h": 3}])
    view = store.get_feature_view("spending")
    for name in (f.name for f in view.features if f.name != "count_1h"):
        frame[name] = None
    with pytest.raises(DataError, match="has time windows"):
        store.write_to_online_store("spending", frame)


WINDOWS = ["spending:count_1h", "spending:amount_sum_1d", "spending:shop_count_distinct_lifetime"]


def statuses(store: FeatureStore, user_id: int = 1) -> dict[str, str]:
    """Of the windows: one hour, one day, a lifetime."""
    answer = store.get_online_features(WINDOWS, [{"user_id": user_id}])
    names = answer.proto.metadata.feature_names.val
    found = dict(zip(names, (r.statuses[0] for r in answer.proto.results), strict=True))
    return {name: FieldStatus.Name(found[name]) for name in found if name != "user_id"}


def emptied(store: FeatureStore) -> None:
    store._get_provider().online_store._rows(store.config).drop("shop:spending")


def covered(store: FeatureStore) -> Any:
    plugin = store._get_provider().online_store
    return plugin.covered(store.config, store.get_feature_view("spending"))


def test_where_the_store_was_emptied_nothing_is_counted(store: FeatureStore) -> None:
    materialise(store, "spending", BEGINNING, payment(3, 10.0))
    emptied(store)
    for user_id in (1, 9):
        assert set(read(store, *WINDOWS, user_id=user_id).values()) == {None}
        assert set(statuses(store, user_id).values()) == {"NOT_FOUND"}
    # Nor from what comes after: the payment of three hours ago is not there.
    push(store, payment(0.5, 1.0))
    assert set(read(store, *WINDOWS).values()) == {None}
    assert set(statuses(store).values()) == {"NOT_FOUND"}


def test_a_flushed_redis_counts_nothing(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    import redis

    settings = settings_of("redis", request, monkeypatch)
    opened = open_store(tmp_path, settings)
    opened.apply(list(project(tmp_path, spending=spending).objects))
    set_clock(opened, NOW)
    materialise(opened, "spending", BEGINNING, payment(0.5, 10.0))
    assert read(opened, *WINDOWS)["count_1h"] == 1
    redis.Redis.from_url(settings["url"]).flushall()
    assert set(read(opened, *WINDOWS).values()) == {None}
    push(opened, payment(0.25, 10.0))
    assert set(read(opened, *WINDOWS).values()) == {None}
    materialise(opened, "spending", BEGINNING, payment(0.5, 10.0))
    assert read(opened, *WINDOWS)["count_1h"] == 2


def test_windows_give_a_value_as_soon_as_all_they_hold_was_brought(store: FeatureStore) -> None:
    emptied(store)
    facts = [payment(0.5, 1.0), payment(3, 10.0), payment(100, 100.0, "b")]
    seen = []
    for start in (NOW - 0.9 * HOUR, NOW - HOUR, NOW - 25 * HOUR, BEGINNING):
        materialise(store, "spending", start, *(f for f in facts if f["at"] > start))
        seen.append(tuple(read(store, *WINDOWS).values()))
    assert seen == [(None, None, None), (1, None, None), (1, 11.0, None), (1, 11.0, 2)]
    assert set(statuses(store).values()) == {"PRESENT"}


def test_a_value_beside_one_that_is_not_known(store: FeatureStore) -> None:
    emptied(store)
    materialise(store, "spending", NOW - 25 * HOUR, payment(3, 10.0))
    assert statuses(store) == {
        "count_1h": "PRESENT",
        "amount_sum_1d": "PRESENT",
        "shop_count_distinct_lifetime": "NOT_FOUND",
    }
    # Windows slide away from what is missing; others begin where it is.
    set_clock(store, NOW - 2 * HOUR)
    assert read(store, *WINDOWS)["amount_sum_1d"] is None
    assert read(store, *WINDOWS)["count_1h"] == 0


def test_what_is_missing_in_between_is_missing(store: FeatureStore) -> None:
    emptied(store)
    for first, last in ((60, 20), (10, 0)):
        note_covered(store, "spending", NOW - first * HOUR, NOW - last * HOUR)
    assert read(store, *WINDOWS) == dict(
        zip(
            ("count_1h", "amount_sum_1d", "shop_count_distinct_lifetime"),
            (0, None, None),
            strict=True,
        )
    )
    note_covered(store, "spending", NOW - 20 * HOUR, NOW - 10 * HOUR)
    assert covered(store) == [(NOW - 60 * HOUR, NOW)]
    assert read(store, *WINDOWS)["amount_sum_1d"] == 0.0


def test_a_store_emptied_while_it_is_filled_covers_nothing(store: FeatureStore) -> None:
    plugin, view = store._get_provider().online_store, store.get_feature_view("spending")

    def fill() -> None:
        with plugin.filling(store.config, view, BEGINNING, NOW):
            emptied(store)
            materialise(store, "spending", NOW - HOUR)  # by another process

    with pytest.raises(DataError, match="'spending' were deleted, or its definition changed"):
        fill()
    assert covered(store) == [(NOW - HOUR, NOW)]


def test_a_filling_that_fails_leaves_what_was_covered(store: FeatureStore) -> None:
    plugin, view = store._get_provider().online_store, store.get_feature_view("spending")
    with pytest.raises(ZeroDivisionError), plugin.filling(store.config, view, NOW, NOW + HOUR):
        raise ZeroDivisionError
    assert covered(store) == [(BEGINNING, NOW)]


def test_what_is_covered_by_a_newer_version_is_neither_read_nor_overwritten(
    store: FeatureStore,
) -> None:
    rows = store._get_provider().online_store._rows(store.config)
    newer = msgspec.msgpack.encode([2, {"of": "another shape"}])
    rows.merge("shop:spending", [COVERED], lambda _, __: [newer])
    with pytest.raises(DataError, match="newer version"):
        read(store, *WINDOWS)
    with pytest.raises(DataError, match="newer version"):
        materialise(store, "spending", BEGINNING)
    rows.merge("shop:spending", [COVERED], lambda _, __: [b"damaged"])
    assert set(read(store, *WINDOWS).values()) == {None}
    materialise(store, "spending", BEGINNING)
    assert read(store, *WINDOWS)["count_1h"] == 0


def test_an_answer_with_windows_becomes_feasts_proto(store: FeatureStore) -> None:
    push(store, payment(0.5, 10.0, "x"))
    names = ["spending:count_1h", "spending:shop_last_distinct_2_1d", "spending:amount_mean_1d"]
    answer = store.get_online_features(names, [{"user_id": 1}, {"user_id": 2}])
    assert list(answer.proto.metadata.feature_names.val)[1:] == [n.split(":")[1] for n in names]
    counted, shops, mean = answer.proto.results[1:]
    assert [v.int64_val for v in counted.values] == [1, 0]
    assert list(shops.values[0].string_list_val.val) == ["x"]
    assert list(mean.statuses) == [1, 3]
    assert counted.event_timestamps[0].ToDatetime(UTC) == NOW - timedelta(minutes=30)
    assert len(answer.to_df()) == len(answer.to_arrow()) == 2


def test_windows_feed_on_demand_features(store: FeatureStore) -> None:
    from feast import Field
    from feast.on_demand_feature_view import on_demand_feature_view
    from feast.types import Float64

    @on_demand_feature_view(
        sources=[store.get_feature_view("spending")],
        schema=[Field(name="per_payment", dtype=Float64)],
        mode="pandas",
    )
    def ratio(inputs: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"per_payment": inputs["amount_sum_1h"] / inputs["count_1h"]})

    store.apply([ratio])
    push(store, payment(0.5, 10.0), payment(0.25, 20.0))
    assert read(store, "ratio:per_payment") == {"per_payment": 15.0}
