from __future__ import annotations

import contextlib
import json
import math
import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.records import Column
from penstock.serving.http_server.messages import Request, RequestError
from penstock.serving.protocols.asked import Asked, Target
from penstock.serving.protocols.predict import parse
from penstock.serving.replicas.frames import COLUMNS, ENTITIES, MATRIX
from penstock.serving.schema import InputSchema

TYPES = ("double", "float", "int64", "int32", "bool", "string")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def target(*kinds: str, required: tuple[str, ...] = (), entities: tuple[str, ...] = ()) -> Target:
    """A model that takes one feature of each type, named after it."""
    features = tuple(Column(name=kind, type=kind) for kind in kinds)
    schema = InputSchema(features, frozenset(required))
    return Target("churn", "1", "r1", schema, 3, entities, {"basket": "double"})


def ask(document: Any, of: Target) -> Asked:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return parse(Request(b"POST", b"/predict", b"", {}, body, "", 0.0, lambda _: None), of)


def values_of(asked: Asked) -> list[Any]:
    """What the model would see of one feature, row by row."""
    if asked.kind == MATRIX:
        return list(struct.unpack(f"<{len(asked.body) // 8}d", asked.body))
    return list(asked.columns()[0])


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("double", 1), ("double", -2.5), ("float", 3e38), ("int64", 2**63 - 1), ("int64", -(2**63)),
        ("int64", 3.0), ("int32", -(2**31)), ("bool", True), ("string", ""), ("string", "Zoë"),
        ("double", 1e300), ("double", 2**64), ("int64", 2**53 + 1),
    ],
)  # fmt: skip
def test_values_of_the_type_come_to_the_model_as_they_are(kind: str, value: Any) -> None:
    [seen] = values_of(ask({"rows": [{kind: value}]}, target(kind)))
    assert seen == value


@pytest.mark.parametrize("kind", TYPES)
def test_a_missing_value_is_nan_or_null(kind: str) -> None:
    asked = ask({"rows": [{kind: None}]}, target(kind))
    [seen] = values_of(asked)
    assert seen is None if asked.kind == COLUMNS else math.isnan(seen)


@pytest.mark.parametrize("kind", ["int64", "int32", "bool"])
def test_a_required_whole_number_has_no_missing_value(kind: str) -> None:
    with pytest.raises(RequestError, match="is missing") as caught:
        ask({"rows": [{kind: None}]}, target(kind, required=(kind,)))
    assert (caught.value.status, caught.value.field) == (400, kind)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("double", True), ("double", "1"), ("double", 10**400), ("double", math.inf),
        ("float", 3.5e38), ("int64", 2**63), ("int64", 1.5), ("int64", math.inf),
        ("int64", False), ("int32", 2**31), ("bool", 1), ("string", 1), ("string", "\ud800"),
        ("double", [1]), ("string", {}),
    ],
)  # fmt: skip
def test_other_values_are_refused(kind: str, value: Any) -> None:
    with pytest.raises(RequestError) as caught:
        ask({"rows": [{kind: value}]}, target(kind))
    assert caught.value.status == 400
    if not (isinstance(value, float) and math.isinf(value)):  # JSON has none: refused before
        assert caught.value.field == kind


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{}", b"3", b"null", b'{"rows": [], "entities": {}}', b'{"row": []}',
        b'{"rows": null, "entities": {"customer_id": [1]}}', b'{"entities": null}',
        b"\xff", b'{"rows": [1e', b'{"rows": [-Infinity]}', b'{"rows": ' + b"9" * 5000 + b"}",
        b'{"rows": []}', b'{"rows": [{}]}', b'{"rows": [{"double": 1, "colour": 2}]}',
        b'{"rows": [{"double": 1e999}]}',
    ],
)  # fmt: skip
def test_a_body_that_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        ask(body, target("double"))
    assert caught.value.status == 400


def test_more_rows_than_are_allowed_are_refused() -> None:
    with pytest.raises(RequestError) as caught:
        ask({"rows": [{"double": 1.0}] * 4}, target("double"))
    assert (caught.value.status, caught.value.field) == (413, "rows")


@pytest.mark.parametrize(
    ("entities", "field"),
    [
        ({}, "a"),
        ({"a": [1]}, "b"),
        ({"a": [1], "b": [1], "c": [1]}, "c"),
        ({"a": [1], "b": [1, 2]}, "entities"),
        ({"a": 1, "b": [1]}, "a"),
        ({"a": [1, "x"], "b": [1, 2]}, "a"),
        ({"a": [True], "b": [1]}, "a"),
        ({"a": [2**63], "b": [1]}, "a"),
        ({"a": [1] * 4, "b": [1] * 4}, "entities"),  # more than three
    ],
)
def test_entities_that_cannot_be_looked_up_are_refused(
    entities: dict[str, Any], field: str
) -> None:
    with pytest.raises(RequestError) as caught:
        ask({"entities": entities}, target("double", entities=("a", "b")))
    assert caught.value.field == field


def test_entities_and_request_columns_are_passed_on() -> None:
    of = target("double", entities=("a", "basket"))
    asked = ask({"entities": {"basket": [1.5, None], "a": ["x", "y"]}}, of)
    assert (asked.kind, asked.rows) == (ENTITIES, 2)
    assert msgspec.msgpack.decode(asked.body) == {"basket": [1.5, None], "a": ["x", "y"]}
    with pytest.raises(RequestError, match="basket"):
        ask({"entities": {"basket": ["much"], "a": ["x"]}}, of)


@given(JSON)
def test_any_json_is_either_taken_or_refused(document: Any) -> None:
    of = target(*TYPES, entities=("a",))
    for given_ in (
        document,
        {"rows": document},
        {"rows": [dict.fromkeys(TYPES, document)]},
        {"entities": document},
        {"entities": {"a": document}},
    ):
        with contextlib.suppress(RequestError):
            ask(given_, of)


@given(st.binary(max_size=300))
def test_any_bytes_are_either_taken_or_refused(body: bytes) -> None:
    with contextlib.suppress(RequestError):
        ask(body, target(*TYPES))
