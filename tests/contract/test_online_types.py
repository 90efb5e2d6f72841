# ruff: noqa: F401, F811 - pytest finds fixtures by the names they are imported under
"""Values and keys of every type on every packed store, and answers that stop half way."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, FileSource
from feast import types as feast_types
from feast.types import Float64, Int64, String, Uuid
from feast.value_type import ValueType
from feast_values import ARROW, VALUES
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
from stalling_proxy import StallingProxy

from penstock.errors import ResourceError

pytestmark = pytest.mark.slow

driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
MOST = max(len(values) for _, values in VALUES.values())
DRIVERS = {"driver_id": list(range(MOST + 1))}  # nobody wrote the last
COLUMN = {kind: kind.replace(" ", "_") for kind in VALUES}


def view_of(name: str, entities: Sequence[Entity], **schema: Any) -> FeatureView:
    return FeatureView(
        name=name,
        entities=list(entities),
        schema=[Field(name=column, dtype=dtype) for column, dtype in schema.items()],
        source=FileSource(name=name, path=f"{name}.parquet", timestamp_field="at"),
    )


def of_types(kinds: Sequence[str]) -> FeatureView:
    return view_of(
        "types", [driver], driver_id=Int64, **{COLUMN[kind]: VALUES[kind][0] for kind in kinds}
    )


@pytest.fixture
def store(tmp_path: Path, online: Settings) -> Iterator[FeatureStore]:
    opened = open_store(tmp_path / "ours", online)
    set_clock(opened, NOW)
    yield opened
    opened._get_provider().online_store.teardown(opened.config, [], [])


@pytest.fixture
def stock(tmp_path: Path) -> FeatureStore:
    return open_store(tmp_path / "stock", {"type": "sqlite", "path": str(tmp_path / "stock.db")})


def padded(kind: str) -> list[Any]:
    """As many values as of every other type, the last of them null."""
    values = VALUES[kind][1]
    return [*values, *[None] * (MOST - len(values))]


def native_rows() -> list[Any]:
    """Rows as Feast's own materialisation and push hand them over."""
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value
    from feast.type_map import python_values_to_proto_values

    columns = {
        COLUMN[kind]: python_values_to_proto_values(padded(kind), dtype.to_value_type())
        for kind, (dtype, _) in VALUES.items()
    }
    keys = [
        EntityKey(join_keys=["driver_id"], entity_values=[Value(int64_val=n)]) for n in range(MOST)
    ]
    return [
        (key, {name: column[place] for name, column in columns.items()}, NOW - HOUR, None)
        for place, key in enumerate(keys)
    ]


def read_types(store: FeatureStore, kinds: Sequence[str]) -> Any:
    return store.get_online_features([f"types:{COLUMN[kind]}" for kind in kinds], DRIVERS)


def protos_of(answer: Any) -> dict[str, list[Any]]:
    names = answer.proto.metadata.feature_names.val
    return {n: list(r.values) for n, r in zip(names, answer.proto.results, strict=True)}


def test_a_value_of_each_type_reads_back_as_feast_gives_it(
    store: FeatureStore, stock: FeatureStore
) -> None:
    answers = []
    for each in (store, stock):
        view = of_types(list(VALUES))
        each.apply([driver, view])
        each._get_provider().online_write_batch(each.config, view, native_rows(), None)
        answers.append(read_types(each, list(VALUES)))
    ours, theirs = ({n: repr(v) for n, v in a.to_dict().items()} for a in answers)
    assert ours == theirs
    assert protos_of(answers[0]) == protos_of(answers[1])


def test_a_table_is_kept_as_the_same_rows_are(store: FeatureStore) -> None:
    """What Penstock's engine materialises, and what Feast's would, of the types that Arrow has."""
    view = of_types(list(ARROW))
    store.apply([driver, view])
    plugin = store._get_provider().online_store
    answers = []
    for write in ("rows", "table"):
        if write == "rows":
            names = [COLUMN[kind] for kind in ARROW]
            rows = [(k, {n: v[n] for n in names}, at, c) for k, v, at, c in native_rows()]
            plugin.online_write_batch(store.config, view, rows, None)
        else:
            columns = {COLUMN[kind]: arrow_column(kind) for kind in ARROW}
            plugin.write_latest(store.config, view, table(columns), "at", "")
        answers.append({n: repr(v) for n, v in read_types(store, list(ARROW)).to_dict().items()})
    assert answers[0] == answers[1]


def arrow_column(kind: str) -> pa.Array:
    values = padded(kind)
    if kind == "decimal":
        values = [None if value is None else str(value) for value in values]
    return pa.array(values, ARROW[kind])


def table(columns: dict[str, pa.Array]) -> pa.Table:
    return pa.table(
        {
            "driver_id": pa.array(range(MOST), pa.int64()),
            **columns,
            "at": pa.array([NOW] * MOST, pa.timestamp("us", "UTC")),
        }
    )


LARGE = 2**63
IDS = [uuid.UUID(int=0), uuid.UUID(int=7), uuid.UUID(int=2**128 - 1), uuid.UUID(int=2**127)]
KEYS: dict[str, tuple[dict[str, tuple[Any, ValueType]], list[tuple[Any, ...]]]] = {
    "int64": (
        {"id": (Int64, ValueType.INT64)},
        [(0,), (-1,), (1,), (256,), (LARGE - 1,), (-LARGE,), (2**53,), (2**53 + 1,)],
    ),
    "string": (
        {"id": (String, ValueType.STRING)},
        [("",), ("1",), ("01",), ("ä",), ("a\u0308",), ("a:b",), ("*",), ("a\x00b",), ("x" * 999,)],
    ),
    "uuid": ({"id": (Uuid, ValueType.UUID)}, [(each,) for each in IDS]),
    "composite": (
        {
            "shop": (String, ValueType.STRING),
            "number": (Int64, ValueType.INT64),
            "order": (Uuid, ValueType.UUID),
        },
        [
            ("a", 1, IDS[0]),
            ("a", 1, IDS[1]),
            ("a", -1, IDS[0]),
            ("", 1, IDS[0]),
            ("a1", 1, IDS[0]),
            ("A", 1, IDS[0]),
        ],
    ),
    "two strings": (
        {"a": (String, ValueType.STRING), "b": (String, ValueType.STRING)},
        [("x", "yz"), ("xy", "z"), ("", "xyz"), ("xyz", ""), ("yz", "x"), ("", "")],
    ),
}


def keyed(kind: str) -> tuple[list[Entity], FeatureView, dict[str, list[Any]]]:
    """Entities and a view by them, and a column for each part of the keys."""
    parts, rows = KEYS[kind]
    entities = [
        Entity(name=f"{name}_entity", join_keys=[name], value_type=value_type)
        for name, (_, value_type) in parts.items()
    ]
    schema = {name: dtype for name, (dtype, _) in parts.items()}
    view = view_of("keyed", entities, **schema, value=Int64)
    return entities, view, dict(zip(parts, map(list, zip(*rows, strict=True)), strict=True))


def as_text(columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """With UUIDs as text."""
    return {
        name: [str(key) if isinstance(key, uuid.UUID) else key for key in column]
        for name, column in columns.items()
    }


def values_of(store: FeatureStore, asked: dict[str, list[Any]]) -> list[Any]:
    values: list[Any] = store.get_online_features(["keyed:value"], asked).to_dict()["value"]
    return values


@pytest.mark.parametrize("kind", KEYS)
def test_keys_are_found_and_told_apart(store: FeatureStore, kind: str) -> None:
    entities, view, asked = keyed(kind)
    store.apply([*entities, view])
    columns = as_text(asked)  # Feast 0.67 takes UUIDs from pandas as text only
    count = len(next(iter(asked.values())))
    frame = pd.DataFrame({**columns, "value": range(count), "at": [NOW - HOUR] * count})
    store.write_to_online_store("keyed", frame)
    assert values_of(store, asked) == list(range(count))
    backwards = {name: column[::-1] for name, column in asked.items()}
    assert values_of(store, backwards) == list(range(count))[::-1]


@pytest.mark.parametrize("kind", KEYS)
def test_keys_of_a_table_are_those_of_a_request(store: FeatureStore, kind: str) -> None:
    """Materialised from Arrow, which has UUIDs as text."""
    entities, view, asked = keyed(kind)
    store.apply([*entities, view])
    count = len(next(iter(asked.values())))
    columns = as_text(asked)
    rows = pa.table({**columns, "value": range(count), "at": [NOW - HOUR] * count})
    store._get_provider().online_store.write_latest(store.config, view, rows, "at", "")
    assert values_of(store, asked) == list(range(count))
    assert values_of(store, columns) == list(range(count))


@pytest.mark.parametrize("kind", KEYS)
def test_a_null_in_a_key_matches_nothing(store: FeatureStore, kind: str) -> None:
    entities, view, asked = keyed(kind)
    store.apply([*entities, view])
    columns = {name: [None, *column] for name, column in as_text(asked).items()}
    count = len(next(iter(columns.values())))
    rows = pa.table({**columns, "value": range(count), "at": [NOW - HOUR] * count})
    store._get_provider().online_store.write_latest(store.config, view, rows, "at", "")
    assert values_of(store, columns) == [None, *range(1, count)]


# A Redis that slows down in the middle of an answer


TIMEOUT = 0.3
PAIRS = {"driver_id": [1, 2]}


@pytest.fixture
def proxied(
    tmp_path: Path, redis_url: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[FeatureStore, StallingProxy]]:
    """Two rows in Redis, behind something that may hold its answers back."""
    settings = settings_of("redis", request, monkeypatch)
    port = int(redis_url.rpartition(":")[2].partition("/")[0])
    with StallingProxy(port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}/0"
        opened = open_store(tmp_path, {**settings, "url": url, "timeout": TIMEOUT})
        opened.apply([driver, view_of("trips", [driver], driver_id=Int64, note=String)])
        set_clock(opened, NOW)
        frame = {"driver_id": [1, 2], "note": ["a" * 50, "b" * 50], "at": [NOW - HOUR] * 2}
        opened.write_to_online_store("trips", pd.DataFrame(frame))
        yield opened, proxy


def notes_of(store: FeatureStore, asked: dict[str, list[int]]) -> list[Any]:
    notes: list[Any] = store.get_online_features(["trips:note"], asked).to_dict()["note"]
    return notes


@pytest.mark.parametrize("passed", [0, 1, 4, 60, 110, 150])
def test_an_answer_that_stops_half_way_is_an_error_and_never_a_value(
    proxied: tuple[FeatureStore, StallingProxy], passed: int
) -> None:
    """Nor does the rest of it, when it comes, answer what is asked next."""
    store, proxy = proxied
    assert notes_of(store, PAIRS) == ["a" * 50, "b" * 50]
    proxy.let_through(passed)
    with pytest.raises(ResourceError, match=r"did not answer within 0\.3 s") as error:
        notes_of(store, PAIRS)
    assert error.value.transient
    proxy.resume()
    assert notes_of(store, {"driver_id": [2, 9]}) == ["b" * 50, None]
    assert notes_of(store, {"driver_id": [1]}) == ["a" * 50]


def test_a_redis_that_stops_is_given_up_within_the_timeout(
    proxied: tuple[FeatureStore, StallingProxy],
) -> None:
    store, proxy = proxied
    notes_of(store, PAIRS)
    proxy.let_through(60)
    begun = time.monotonic()
    with pytest.raises(ResourceError):
        notes_of(store, PAIRS)
    assert TIMEOUT <= time.monotonic() - begun < 3 * TIMEOUT  # asked once, and not again
