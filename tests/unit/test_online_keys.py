"""Entity keys as bytes: alike wherever they come from, and never shared between types."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import python_values_to_proto_values
from feast.value_type import ValueType
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import DataError
from penstock.features.online_stores.keys import DUMMY, NOBODY, KeyCodec

ID = uuid.UUID("8a1f7a7c-1c5e-4f0e-9c8d-3b1d2f4a5b6c")
NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)
SAMPLES: dict[str, list[Any]] = {
    "INT64": [0, 1, -1, 2**63 - 1, -(2**63)],
    "INT32": [0, 1, -1, 2**31 - 1],
    "STRING": ["", "1", "ä", "x" * 600],
    "BYTES": [b"", b"1", b"\x00"],
    "BOOL": [True, False],
    "UUID": [ID, uuid.UUID(int=0)],
    "UNIX_TIMESTAMP": [NOON, datetime(1969, 12, 31, tzinfo=UTC)],
}
ARROW = {
    "INT64": pa.int64(),
    "INT32": pa.int32(),
    "STRING": pa.string(),
    "BYTES": pa.binary(),
    "BOOL": pa.bool_(),
    "UUID": pa.string(),
    "UNIX_TIMESTAMP": pa.timestamp("us", "UTC"),
}


def one(kind: str, value: Any) -> bytes | None:
    [key] = KeyCodec("view", [("id", kind)]).encode([[value]], 1)
    return key


@pytest.mark.parametrize("kind", SAMPLES)
def test_a_key_is_the_same_from_python_from_feast_and_from_arrow(kind: str) -> None:
    codec = KeyCodec("view", [("id", kind)])
    values = SAMPLES[kind]
    native = codec.encode([values], len(values))
    protos = python_values_to_proto_values(values, ValueType[kind])
    of_feast = [codec.of_proto(EntityKey(join_keys=["id"], entity_values=[p])) for p in protos]
    texts = [str(v) for v in values] if kind == "UUID" else values
    of_arrow = codec.of_table(pa.table({"id": pa.array(texts, ARROW[kind])}))
    assert native == of_feast == of_arrow
    assert codec.encode([protos], len(protos)) == native
    assert len({*native}) == len(values)


def test_values_of_different_types_never_share_a_key() -> None:
    keys = [one(kind, value) for kind in SAMPLES for value in SAMPLES[kind] if kind != "INT32"]
    assert len({*keys}) == len(keys)


def test_int32_and_int64_are_one_type() -> None:
    assert one("INT32", 7) == one("INT64", np.int32(7)) == one("INT64", np.int64(7))


@pytest.mark.parametrize(
    "nothing", [None, float("nan"), np.nan, pd.NaT, pd.NA, np.datetime64("NaT")]
)
def test_a_missing_value_is_no_key(nothing: Any) -> None:
    assert one("INT64", nothing) is None
    pair = KeyCodec("view", [("a", "INT64"), ("b", "STRING")])
    assert pair.encode([[1, nothing], ["x", "y"]], 2)[1] is None


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("INT64", "1"),
        ("INT64", True),
        ("INT64", 1.5),
        ("INT64", 2**63),
        ("STRING", 1),
        ("STRING", b"1"),
        ("BYTES", "1"),
        ("BOOL", 1),
        ("UUID", "no uuid"),
        ("UNIX_TIMESTAMP", "2024-01-01"),
    ],
)
def test_a_value_of_another_type_is_refused_by_name(kind: str, value: Any) -> None:
    with pytest.raises(DataError, match="'id', a key of feature view 'view'"):
        one(kind, value)


def test_a_type_that_cannot_be_a_key_is_refused() -> None:
    with pytest.raises(DataError, match="price: DOUBLE"):
        KeyCodec("view", [("price", "DOUBLE")])


@given(st.lists(st.tuples(st.text(max_size=4), st.text(max_size=4)), unique=True, max_size=20))
def test_composite_keys_never_collide(pairs: list[tuple[str, str]]) -> None:
    codec = KeyCodec("view", [("b", "STRING"), ("a", "STRING")])
    assert codec.names == ("a", "b")
    keys = codec.encode([[a for a, _ in pairs], [b for _, b in pairs]], len(pairs))
    assert len({*keys}) == len(pairs)


def test_the_order_of_join_keys_does_not_matter() -> None:
    codec = KeyCodec("view", [("b", "STRING"), ("a", "INT64")])
    values = {"a": Value(int64_val=1), "b": Value(string_val="x")}
    keys = {
        codec.of_proto(EntityKey(join_keys=order, entity_values=[values[n] for n in order]))
        for order in (["a", "b"], ["b", "a"])
    }
    assert keys == {*codec.encode([[1], ["x"]], 1)}


def test_a_view_without_entities_has_one_key() -> None:
    codec = KeyCodec("view", [(DUMMY, "STRING")])
    dummy = EntityKey(join_keys=[DUMMY], entity_values=[Value(string_val="")])
    assert codec.encode([], 3) == [NOBODY] * 3
    assert codec.of_proto(dummy) == NOBODY
    assert codec.of_table(pa.table({"x": [1, 2]})) == [NOBODY] * 2


def test_a_missing_join_key_is_named() -> None:
    codec = KeyCodec("view", [("a", "INT64"), ("b", "INT64")])
    with pytest.raises(DataError, match="b is missing"):
        codec.of_proto(EntityKey(join_keys=["a"], entity_values=[Value(int64_val=1)]))
