from __future__ import annotations

import contextlib
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.records import Column
from penstock.serving.payload import RequestError, parse, parse_entities, parse_rows

TYPES = ("double", "float", "int64", "int32", "bool", "string")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("double", 1), ("double", -2.5), ("double", None), ("float", 3e38), ("int64", 2**63 - 1),
        ("int64", 3.0), ("int32", -(2**31)), ("bool", True), ("string", ""), ("string", "Zoë"),
    ],
)  # fmt: skip
def test_values_of_the_type_are_taken_as_they_are(kind: str, value: Any) -> None:
    assert parse_rows([{"x": value}], (Column(name="x", type=kind),), 1) == {"x": [value]}


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("double", True), ("double", "1"), ("double", 10**400), ("double", math.inf),
        ("float", 3.5e38), ("int64", 2**63), ("int64", 1.5), ("int64", math.inf),
        ("int64", False), ("int32", 2**31), ("bool", 1), ("string", 1), ("string", "\ud800"),
        ("double", [1]), ("string", {}),
    ],
)  # fmt: skip
def test_other_values_are_refused_by_name(kind: str, value: Any) -> None:
    with pytest.raises(RequestError) as caught:
        parse_rows([{"x": value}], (Column(name="x", type=kind),), 1)
    assert (caught.value.status, caught.value.field) == (400, "x")


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{}", b"3", b"null", b'{"rows": [], "entities": {}}', b'{"row": []}',
        b"\xff", b'{"rows": [1e', b'{"rows": [-Infinity]}', b'{"rows": ' + b"9" * 5000 + b"}",
    ],
)  # fmt: skip
def test_a_body_that_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        parse(body)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("entities", "field"),
    [
        ({}, "a"),
        ({"a": [1]}, "b"),
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
        parse_entities(entities, ("a", "b"), 3)
    assert caught.value.field == field


def test_entities_are_given_in_the_order_of_the_keys() -> None:
    assert list(parse_entities({"b": ["x"], "a": [1]}, ("a", "b"), 3)) == ["a", "b"]


@given(JSON)
def test_any_json_is_either_taken_or_refused(document: Any) -> None:
    features = tuple(Column(name=kind, type=kind) for kind in TYPES)
    with contextlib.suppress(RequestError):
        parse(json.dumps({"rows": document}).encode())
    with contextlib.suppress(RequestError):
        parse_rows(document, features, 5)
    with contextlib.suppress(RequestError):
        parse_rows([dict.fromkeys(TYPES, document)], features, 5)
    with contextlib.suppress(RequestError):
        parse_entities(document, TYPES, 5)
    with contextlib.suppress(RequestError):
        parse_entities({"a": document}, ("a",), 5)
