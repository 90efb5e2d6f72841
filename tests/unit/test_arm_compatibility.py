"""What an arm may take that the champion does not, and the other way round: nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.records import Column
from penstock.serving.compatibility import WIDER, difference
from penstock.serving.http_server.messages import Request, RequestError
from penstock.serving.protocols.asked import Target
from penstock.serving.protocols.mlflow import INVOCATIONS
from penstock.serving.protocols.open_inference import OPEN_INFERENCE
from penstock.serving.protocols.open_inference_tensors import DATATYPE_OF
from penstock.serving.protocols.predict import PREDICT
from penstock.serving.schema import InputSchema

TYPES = ("bool", "int32", "int64", "float", "double", "string")


def schema(*features: str, required: str = "", positional: bool = False) -> InputSchema:
    """Of features `name:type`."""
    columns = tuple(
        Column(**dict(zip(("name", "type"), f.split(":"), strict=True))) for f in features
    )
    return InputSchema(columns, frozenset(required.split()), positional)


def target(release: str, given: InputSchema, **more: Any) -> Target:
    return Target("churn", release[1:], release, given, 10, **more)


CHAMPION = schema("age:int64", "spend:double", required="age")


@pytest.mark.parametrize(
    "arm",
    [
        pytest.param(CHAMPION, id="the same"),
        pytest.param(schema("age:int64", "spend:double"), id="requires less"),
        pytest.param(schema("age:double", "spend:double", required="age"), id="a wider type"),
    ],
)
def test_an_arm_that_takes_all_that_the_champion_takes(arm: InputSchema) -> None:
    assert difference(target("r1", CHAMPION), target("r2", arm)) == ""


@pytest.mark.parametrize(
    ("arm", "said"),
    [
        (schema("age:int64", "spend:double", "iq:double", required="age iq"), "no feature 'iq'"),
        (schema("age:int64", "spend:double", "iq:double", required="age"), "no feature 'iq'"),
        (schema("age:int64", required="age"), "it has no feature 'spend'"),
        (schema("spend:double", "age:int64", required="age"), "spend, age, in this order"),
        (schema("age:int64", "spend:double", required="age", positional=True), "in this order"),
        (schema("age:int32", "spend:double", required="age"), "'age' is int32, of the champion"),
        (schema("age:string", "spend:double", required="age"), "'age' is string"),
        (schema("age:int64", "spend:double", required="age spend"), "requires the feature 'spend'"),
    ],
)
def test_an_arm_that_takes_something_else(arm: InputSchema, said: str) -> None:
    assert said in difference(target("r1", CHAMPION), target("r2", arm))


BY_KEY = {"entities": ("customer_id", "basket"), "requested": {"basket": "int64"}}


@pytest.mark.parametrize(
    "more",
    [
        BY_KEY,
        {**BY_KEY, "entities": ("basket", "customer_id")},
        {**BY_KEY, "requested": {"basket": "double"}},
    ],
)
def test_by_key_a_challenger_may_have_other_features(more: dict[str, Any]) -> None:
    first = target("r1", CHAMPION, **BY_KEY)
    assert difference(first, target("r2", schema("iq:double", required="iq"), **more)) == ""


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "r2 reads no features by key, r1 does"),
        ({**BY_KEY, "entities": ("customer_id",)}, "r2 is asked by customer_id, r1 by basket"),
        ({**BY_KEY, "entities": (*BY_KEY["entities"], "shop_id")}, "customer_id, shop_id, r1 by"),
        ({**BY_KEY, "requested": {"basket": "string"}}, "basket is int64 for r1, string for r2"),
        ({**BY_KEY, "requested": {}}, "basket is int64 for r1, a key for r2"),
    ],
)
def test_by_key_the_keys_are_the_same(more: dict[str, Any], said: str) -> None:
    assert said in difference(target("r1", CHAMPION, **BY_KEY), target("r2", CHAMPION, **more))


def test_the_arm_may_read_by_key_where_the_champion_is_sent_rows() -> None:
    assert difference(target("r1", CHAMPION), target("r2", CHAMPION, **BY_KEY)) == ""


# What the check says of two signatures holds for every request.

VALUES = (
    st.none() | st.booleans() | st.integers(-(2**66), 2**66) | st.text(max_size=3)
    | st.floats(allow_nan=False, allow_infinity=False)
)  # fmt: skip


@st.composite
def signatures(draw: st.DrawFn) -> InputSchema:
    names = draw(st.permutations(["a", "b", "c"]))[: draw(st.integers(1, 3))]
    columns = tuple(Column(name=name, type=draw(st.sampled_from(TYPES))) for name in names)
    return InputSchema(columns, frozenset(name for name in names if draw(st.booleans())))


@st.composite
def alike(draw: st.DrawFn) -> tuple[InputSchema, InputSchema]:
    """Two signatures that mostly agree."""
    first = draw(signatures())
    columns = [
        Column(name=c.name, type=draw(st.sampled_from([c.type, *sorted(WIDER.get(c.type, ()))])))
        for c in first.features
    ]
    required = {name for name in first.required if draw(st.booleans())}
    return first, InputSchema(tuple(columns), frozenset(required))


def bodies(given: InputSchema, row: dict[str, Any]) -> list[tuple[Any, bytes, Any]]:
    """A row in every protocol."""
    tensors = [
        {"name": c.name, "datatype": DATATYPE_OF[c.type], "shape": [1], "data": [row[c.name]]}
        for c in given.features
        if c.name in row
    ]
    matrix = {"name": "x", "datatype": "FP64", "shape": [1, len(row)], "data": [*row.values()]}
    json_ = {b"content-type": b"application/json"}
    return [
        (PREDICT, json.dumps({"rows": [row]}).encode(), {}),
        (OPEN_INFERENCE, json.dumps({"inputs": tensors}).encode(), {}),
        (OPEN_INFERENCE, json.dumps({"inputs": [matrix]}).encode(), {}),
        (INVOCATIONS, json.dumps({"dataframe_records": [row]}).encode(), json_),
        (INVOCATIONS, json.dumps({"inputs": [[*row.values()]]}).encode(), json_),
    ]


def understood(protocol: Any, headers: Any, body: bytes, by: InputSchema) -> bool:
    request = Request(b"POST", b"/", b"", headers, body, "", 0.0, lambda _: None)
    try:
        protocol.parse(request, target("r1", by))
    except RequestError:
        return False
    return True


@given(st.data(), alike() | st.tuples(signatures(), signatures()))
def test_what_the_champion_understands_the_arm_understands(
    data: st.DataObject, both: tuple[InputSchema, InputSchema]
) -> None:
    champion, arm = both
    if difference(target("r1", champion), target("r2", arm)):
        return
    row = {name: data.draw(VALUES) for name in champion.names if data.draw(st.booleans())}
    for protocol, body, headers in bodies(champion, row):
        if understood(protocol, headers, body, champion):
            assert understood(protocol, headers, body, arm), (protocol.name, body)
