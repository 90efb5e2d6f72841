from __future__ import annotations

import array
import contextlib
import json
import math
import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import __version__
from penstock.records import Column
from penstock.serving.http_server.messages import Request, RequestError
from penstock.serving.protocols.asked import Asked, Context, Target
from penstock.serving.protocols.open_inference import OPEN_INFERENCE
from penstock.serving.protocols.open_inference_documents import (
    Served,
    encode,
    model_metadata,
    model_ready,
    server_metadata,
)
from penstock.serving.replicas.frames import COLUMNS, MATRIX, Answered
from penstock.serving.schema import InputSchema

CONTEXT = Context("p-1", "q-1", "churn", "7", "r-3")
CODES = {
    "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q", "INT8": "b", "INT16": "h",
    "INT32": "i", "INT64": "q", "FP16": "e", "FP32": "f", "FP64": "d", "BOOL": "?",
}  # fmt: skip


def target(required: frozenset[str] = frozenset(), **types: str) -> Target:
    """At most 100 rows."""
    features = tuple(Column(name=name, type=kind) for name, kind in types.items())
    return Target("churn", "7", "r-3", InputSchema(features, required), 100)


NUMBERS = target(a="double", b="double", c="double")
MIXED = target(age="int64", spend="double", active="bool", plan="string")


def asked(body: Any, to: Target, rest: bytes = b"", header: bytes | None = None) -> Asked:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {}
    if rest or header is not None:
        headers[b"inference-header-content-length"] = header or b"%d" % len(text)
    request = Request(b"POST", b"/", b"", headers, text + rest, "127.0.0.1", 0.0, lambda _: None)
    return OPEN_INFERENCE.parse(request, to)


def tensor(data: Any, shape: list[int], datatype: str = "FP64", name: str = "x") -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "data": data}


def binary(shape: list[int], datatype: str, size: int, name: str = "x") -> dict[str, Any]:
    parameters = {"binary_data_size": size}
    return {"name": name, "shape": shape, "datatype": datatype, "parameters": parameters}


def values_of(question: Asked) -> list[Any]:
    """The numbers of a matrix, row after row, or the columns."""
    if question.kind == MATRIX:
        return array.array("d", question.body).tolist()
    assert question.kind == COLUMNS
    columns: list[Any] = msgspec.msgpack.decode(question.body)
    return columns


def texts(*values: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(value)) + value for value in values)


def refused(body: Any, to: Target, rest: bytes = b"", header: bytes | None = None) -> RequestError:
    with pytest.raises(RequestError) as caught:
        asked(body, to, rest, header)
    return caught.value


ROWS = [[1.0, 2.5, -3.0], [4.0, 5.0, 6.0]]
FLAT = [1.0, 2.5, -3.0, 4.0, 5.0, 6.0]


@pytest.mark.parametrize(
    "inputs",
    [
        [tensor(FLAT, [2, 3])],
        [tensor(ROWS, [2, 3])],
        [tensor([1, 2.5, -3, 4, 5, 6], [2, 3])],
        [tensor(FLAT, [2, 3], "FP32")],
        [tensor(ROWS, [2, 3], "FP32", "any name")],
        [tensor([row[at] for row in ROWS], [2], name="abc"[at]) for at in range(3)],
        [tensor([row[at] for row in ROWS], [2, 1], name="abc"[at]) for at in (2, 0, 1)],
        [tensor([[row[at]] for row in ROWS], [2, 1], "FP32", "abc"[at]) for at in range(3)],
    ],
    ids=lambda inputs: f"{len(inputs)} of {inputs[0]['datatype']} {inputs[0]['shape']}",
)
def test_one_matrix_and_one_input_for_each_feature_are_the_same_question(inputs: Any) -> None:
    question = asked({"inputs": inputs}, NUMBERS)
    assert (question.kind, question.rows, question.positive) == (MATRIX, 2, False)
    assert values_of(question) == FLAT


def test_features_of_different_types_come_in_inputs_of_their_own() -> None:
    inputs = [
        tensor(["gold", "free"], [2], "BYTES", "plan"),
        tensor([41, None], [2], "UINT8", "age"),
        tensor([True, False], [2, 1], "BOOL", "active"),
        tensor([0.5, 1], [2], "FP64", "spend"),
    ]
    assert values_of(asked({"inputs": inputs}, MIXED)) == [
        [41, None], [0.5, 1], [True, False], ["gold", "free"],
    ]  # fmt: skip


def test_fp32_values_are_rounded_as_a_tensor_of_fp32_holds_them() -> None:
    one = target(a="double")
    (as_json,) = values_of(asked({"inputs": [tensor([0.1], [1, 1], "FP32")]}, one))
    raw = struct.pack("<f", 0.1)
    (as_bytes,) = values_of(asked({"inputs": [binary([1, 1], "FP32", 4)]}, one, raw))
    assert as_json == as_bytes == 0.10000000149011612


def test_whole_numbers_beyond_2_to_the_53_are_not_rounded() -> None:
    big = 2**53 + 1
    one = target(n="int64")
    assert values_of(asked({"inputs": [tensor([big], [1], "INT64", "n")]}, one)) == [[big]]
    raw = struct.pack("<q", big)
    assert values_of(asked({"inputs": [binary([1], "INT64", 8, "n")]}, one, raw)) == [[big]]


def test_a_feature_that_is_not_required_may_be_left_out_or_null() -> None:
    some = target(frozenset({"a"}), a="double", b="double")
    (a, b) = values_of(asked({"inputs": [tensor([1.5], [1], name="a")]}, some))
    assert a == 1.5
    assert math.isnan(b)
    (_, b) = values_of(asked({"inputs": [tensor([1.5, None], [1, 2])]}, some))
    assert math.isnan(b)


@pytest.mark.parametrize(
    ("inputs", "to", "field"),
    [
        ([], NUMBERS, "inputs"),
        ([tensor([], [0, 3])], NUMBERS, "x"),
        ([tensor([1.0] * 5, [2, 3])], NUMBERS, "x"),
        ([tensor([1.0] * 3, [3])], NUMBERS, "x"),
        ([tensor([1.0] * 4, [1, 4])], NUMBERS, "x"),
        ([tensor([1.0] * 3, [-1, -3])], NUMBERS, "x"),
        ([tensor([[1, 2, 3], [4, 5]], [2, 3])], NUMBERS, "x"),  # ragged
        ([tensor([[1, 2, 3, 4], [5, 6]], [2, 3])], NUMBERS, "x"),  # ragged, with the right total
        ([tensor([[1, 2], [3, 4], [5, 6]], [2, 3])], NUMBERS, "x"),
        ([tensor([[1, 2, 3], 4], [2, 3])], NUMBERS, "x"),
        ([tensor(3, [1, 3])], NUMBERS, "x"),
        ([tensor(None, [1, 3])], NUMBERS, "x"),
        ([tensor([1, 2, "3"], [1, 3])], NUMBERS, "x"),
        ([tensor([1, 2, True], [1, 3])], NUMBERS, "x"),
        ([tensor([1, 2, {}], [1, 3])], NUMBERS, "x"),
        ([tensor([1, 2, 3], [1, 3], "FP128")], NUMBERS, "x"),
        ([tensor([1, 2, 3], [1, 3], "FP16")], NUMBERS, "x"),  # only as bytes
        ([tensor([1, 2, 3e39], [1, 3], "FP32")], NUMBERS, "x"),
        ([tensor([1, 2, 256], [1, 3], "UINT8")], NUMBERS, "x"),
        ([tensor([1, 2, -1], [1, 3], "UINT64")], NUMBERS, "x"),
        ([tensor([1, 2, 0.5], [1, 3], "INT32")], NUMBERS, "x"),
        ([tensor(["1", "2", "3"], [1, 3], "BYTES")], NUMBERS, "a"),
        ([tensor([True] * 3, [1, 3], "BOOL")], NUMBERS, "a"),
        ([{"name": "x", "shape": [1, 3], "datatype": "FP64"}], NUMBERS, "x"),
        ([tensor([1.0], [1], name="a"), tensor([1.0], [1], name="d")], NUMBERS, "d"),
        ([tensor([1.0], [1], name="a")] * 2, NUMBERS, "a"),
        ([tensor([1.0], [1], name="a"), tensor([1, 2], [2], name="b")], NUMBERS, "b"),
        ([tensor([1.0], [], name="a")], NUMBERS, "a"),
        ([tensor([1] * 4, [1, 4])], MIXED, "x"),  # there is a text
        ([tensor([1.5], [1], name="age")], MIXED, "age"),
        ([tensor([1], [1], name="active")], MIXED, "active"),
        ([tensor([1], [1], "BOOL", name="active")], MIXED, "active"),
        ([tensor([1], [1], name="plan")], MIXED, "plan"),
        ([tensor([1.0], [1], name="a")], target(frozenset("b"), a="double", b="double"), "b"),
        ([tensor([None], [1], name="a")], target(frozenset("a"), a="int64"), "a"),
        ([tensor([2**31], [1], "INT64", "a")], target(a="int32"), "a"),
        ([tensor([3.5e38], [1], "FP64", "a")], target(a="float"), "a"),
    ],
)  # fmt: skip
def test_a_tensor_that_does_not_fit_is_refused_by_name(inputs: Any, to: Target, field: str) -> None:
    error = refused({"inputs": inputs}, to)
    assert (error.status, error.field) == (400, field)
    assert field in error.message


@pytest.mark.parametrize("shape", [[101, 3], [101]])
def test_more_rows_than_allowed_are_too_large(shape: list[int]) -> None:
    names = "x" if len(shape) == 2 else "abc"
    data = [1.0] * math.prod(shape)
    error = refused({"inputs": [tensor(data, shape, name=name) for name in names]}, NUMBERS)
    assert error.status == 413
    raw = bytes(8 * len(data))
    inputs = [binary(shape, "FP64", len(raw), name) for name in names]
    assert refused({"inputs": inputs}, NUMBERS, raw * len(names)).status == 413


GOOD = '{"name": "x", "shape": [1, 3], "datatype": "FP64", "data": %s}'


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "object"),
        (b"{}", "inputs"),
        (b'{"inputs": 3}', "inputs"),
        (b'{"inputs": [{"name": 3}]}', "inputs[0].name"),
        (b'{"inputs": [{"name": "\xff"}]}', "not JSON"),
        (b'{"inputs": [], "id": 3}', "id"),
        (b'{"inputs": [], "parameters": {"binary_data_output": 1}}', "binary_data_output"),
        (b'{"inputs": ' + b"[" * 100_000, "inputs"),
        (b'{"x": ' + b'{"x":' * 100_000, "nested too deeply"),
        (f'{{"inputs": [{GOOD % "[1, NaN, 2]"}]}}'.encode(), "neither NaN nor infinities"),
        (f'{{"inputs": [{GOOD % "[1, Infinity, 2]"}]}}'.encode(), "neither NaN nor infinities"),
        (f'{{"inputs": [{GOOD % "[1, -Infinity, 2]"}]}}'.encode(), "neither NaN nor infinities"),
        (f'{{"inputs": [{GOOD % "[1, 1e400, 2]"}]}}'.encode(), "out of range"),
        (f'{{"inputs": [{GOOD % ("[1, 2, " + "9" * 5000 + "]")}]}}'.encode(), "out of range"),
        (f'{{"inputs": [{GOOD % ("[" * 50_000 + "]" * 50_000)}]}}'.encode(), "nested too deeply"),
    ],
)
def test_a_body_that_is_no_request_is_refused(body: bytes, says: str) -> None:
    error = refused(body, NUMBERS)
    assert error.status == 400
    assert says in error.message


@pytest.mark.parametrize("datatype", [name for name in CODES if name != "BOOL"])
def test_numbers_come_as_bytes_in_every_datatype(datatype: str) -> None:
    raw = struct.pack(f"<6{CODES[datatype]}", 1, 2, 3, 4, 5, 6)
    question = asked({"inputs": [binary([2, 3], datatype, len(raw))]}, NUMBERS, raw)
    assert values_of(question) == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]


def test_json_and_bytes_may_be_mixed_and_follow_in_the_order_of_the_inputs() -> None:
    plan, age, active = texts(b"", "Zoë".encode()), struct.pack("<2h", -1, 7), b"\1\0"
    inputs = [
        binary([2], "BYTES", len(plan), "plan"),
        tensor([0.5, 1.5], [2], name="spend"),
        binary([2, 1], "INT16", len(age), "age"),
        binary([2], "BOOL", len(active), "active"),
    ]
    question = asked({"inputs": inputs}, MIXED, plan + age + active)
    assert values_of(question) == [[-1, 7], [0.5, 1.5], [True, False], ["", "Zoë"]]


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64"])
def test_nan_in_bytes_is_a_missing_value(datatype: str) -> None:
    raw = struct.pack(f"<3{CODES[datatype]}", 1.0, math.nan, 3.0)
    inputs = [binary([1, 3], datatype, len(raw))]
    one, missing, three = values_of(asked({"inputs": inputs}, NUMBERS, raw))
    assert (one, three) == (1.0, 3.0)
    assert math.isnan(missing)
    whole = target(frozenset({"b"}), a="double", b="int64", c="double")
    assert refused({"inputs": inputs}, whole, raw).field == "b"


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_infinities_in_bytes_are_refused_by_feature(value: float) -> None:
    raw = struct.pack("<6d", 1.0, 2.0, 3.0, math.nan, value, 6.0)
    assert refused({"inputs": [binary([2, 3], "FP64", 48)]}, NUMBERS, raw).field == "b"


def test_numbers_whose_sum_overflows_are_not_infinities() -> None:
    raw = struct.pack("<3d", 1.7e308, 1.7e308, 1.0)
    question = asked({"inputs": [binary([1, 3], "FP64", 24)]}, NUMBERS, raw)
    assert values_of(question) == [1.7e308, 1.7e308, 1.0]


@pytest.mark.parametrize(
    ("inputs", "rest", "field"),
    [
        ([binary([1, 3], "FP64", 24)], bytes(23), "x"),
        ([binary([1, 3], "FP64", 24)], bytes(25), None),  # a byte that belongs to nobody
        ([binary([1, 3], "FP64", 16)], bytes(16), "x"),
        ([binary([1, 3], "FP64", -8)], bytes(16), "x"),
        ([binary([10**12, 3], "FP64", 24)], bytes(24), "x"),
        ([binary([1], "FP64", 8, "a") | {"data": [1.0]}], bytes(8), "a"),
        ([binary([1], "BYTES", 8, "a")], texts(b"text"), "a"),
        ([{"name": "a", "shape": [1], "datatype": "FP64"}], bytes(8), None),
        ([{**tensor([], [1, 3]), "parameters": {"shared_memory_region": "r"}}], b"", "x"),
    ],
)
def test_bytes_that_are_not_the_tensor_are_refused(
    inputs: Any, rest: bytes, field: str | None
) -> None:
    error = refused({"inputs": inputs}, NUMBERS, rest)
    assert (error.status, error.field) == (400, field)


@pytest.mark.parametrize(
    ("name", "datatype", "raw"),
    [
        ("active", "BOOL", b"\2"),
        ("plan", "BYTES", texts(b"\xff")),
        ("plan", "BYTES", texts(b"a", b"b")),
        ("plan", "BYTES", b""),
        ("plan", "BYTES", b"\1\0\0"),
        ("plan", "BYTES", texts(b"gold")[:-1]),
        ("plan", "BYTES", texts(b"gold") + b"\0"),
        ("plan", "BYTES", b"\xff\xff\xff\xffgold"),
    ],
)
def test_bytes_that_are_no_elements_are_refused(name: str, datatype: str, raw: bytes) -> None:
    error = refused({"inputs": [binary([1], datatype, len(raw), name)]}, MIXED, raw, None)
    assert (error.status, error.field) == (400, name)


@pytest.mark.parametrize("header", [b"x", b"-1", b"+1", b"1_0", b" 1", b"1e3", b"9" * 400, b"999"])
def test_a_wrong_length_of_the_json_is_refused(header: bytes) -> None:
    error = refused({"inputs": []}, NUMBERS, b"", header)
    assert error.status == 400
    assert "Inference-Header-Content-Length" in error.message


def answered(*outputs: float, width: int = 1) -> Answered:
    view = memoryview(array.array("d", outputs))
    return Answered(len(outputs) // width, width, view, 0, 0, 0, None)


def rendered(answer: bytes) -> tuple[dict[str, str], bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    assert status == "HTTP/1.1 200 OK"
    headers = dict(line.lower().split(": ") for line in lines)
    assert int(headers["content-length"]) == len(body)
    return headers, body


ONE = {"inputs": [tensor([1.0, 2.0, 3.0], [1, 3])]}


@pytest.mark.parametrize(
    ("more", "said_id"),
    [({}, "p-1"), ({"id": "42"}, "42"), ({"id": ""}, "p-1"), ({"id": None}, "p-1"),
     ({"parameters": {"priority": 3, "x": [1]}, "model_name": "y"}, "p-1"),
     ({"outputs": [{"name": "predictions"}]}, "p-1"), ({"outputs": []}, "p-1")],
)  # fmt: skip
def test_the_answer_names_the_model_and_gives_the_id_back(
    more: dict[str, Any], said_id: str
) -> None:
    headers, body = rendered(asked(ONE | more, NUMBERS).render(answered(0.25), CONTEXT))
    assert headers["content-type"] == "application/json"
    assert json.loads(body) == {
        "model_name": "churn",
        "model_version": "7",
        "id": said_id,
        "parameters": {"release": "r-3", "prediction_id": "p-1"},
        "outputs": [{"name": "predictions", "datatype": "FP64", "shape": [1], "data": [0.25]}],
    }


def test_several_numbers_a_row_are_given_row_after_row() -> None:
    outputs = answered(0.1, 0.9, 0.3, 0.7, width=2)
    _, body = rendered(asked(ONE, NUMBERS).render(outputs, CONTEXT))
    (output,) = json.loads(body)["outputs"]
    assert (output["shape"], output["data"]) == ([2, 2], [0.1, 0.9, 0.3, 0.7])


@pytest.mark.parametrize(
    ("more", "binary"),
    [
        ({"parameters": {"binary_data_output": True}}, True),
        ({"parameters": {"binary_data_output": False}}, False),
        ({"outputs": [{"name": "predictions", "parameters": {"binary_data": True}}]}, True),
        ({"parameters": {"binary_data_output": True}, "outputs": [{"name": "predictions"}]}, True),
        ({"parameters": {"binary_data_output": True},
          "outputs": [{"name": "predictions", "parameters": {"binary_data": False}}]}, False),
    ],
)  # fmt: skip
def test_predictions_come_as_bytes_where_that_is_asked_for(
    more: dict[str, Any], binary: bool
) -> None:
    outputs = answered(0.25, math.nan if binary else 0.75)
    headers, body = rendered(asked(ONE | more, NUMBERS).render(outputs, CONTEXT))
    length = int(headers.get("inference-header-content-length", len(body)))
    (output,) = json.loads(body[:length])["outputs"]
    if not binary:
        assert output["data"] == [0.25, 0.75]
        return
    assert headers["content-type"] == "application/octet-stream"
    assert output["parameters"] == {"binary_data_size": 16}
    assert output["shape"] == [2]
    assert "data" not in output
    first, second = struct.unpack("<2d", body[length:])
    assert first == 0.25
    assert math.isnan(second)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_answer_that_json_cannot_hold_is_an_error_not_null(value: float) -> None:
    with pytest.raises(RequestError) as caught:
        asked(ONE, NUMBERS).render(answered(0.5, value), CONTEXT)
    assert caught.value.status == 500


@pytest.mark.parametrize(
    "outputs",
    [
        [{"name": "probabilities"}],
        [{"name": "predictions", "parameters": {"classification": 3}}],
        [{"name": "predictions", "parameters": {"shared_memory_region": "r"}}],
    ],
)
def test_outputs_that_there_are_not_are_refused(outputs: Any) -> None:
    error = refused(ONE | {"outputs": outputs}, NUMBERS)
    assert (error.status, error.field) == (400, "outputs")


def test_a_refusal_has_the_form_of_the_protocol() -> None:
    answer = OPEN_INFERENCE.refuse(429, "too many", "x", {"retry-after": "1"})
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 429 ")
    assert b"retry-after: 1" in head
    assert json.loads(body) == {"error": "too many"}


def test_the_documents_say_what_is_served() -> None:
    assert json.loads(encode(server_metadata())) == {
        "name": "penstock", "version": __version__, "extensions": ["binary_tensor_data"],
    }  # fmt: skip
    other = Target("churn", "8", "r-4", NUMBERS.schema, 100)
    served = [
        Served("churn", MIXED, "lightgbm", ready=True),
        Served("churn", other, "onnx", ready=False),
    ]
    assert json.loads(encode(model_metadata(served, "churn"))) == {
        "name": "churn",
        "versions": ["7", "8"],
        "platform": "lightgbm",
        "inputs": [
            {"name": "age", "datatype": "INT64", "shape": [-1]},
            {"name": "spend", "datatype": "FP64", "shape": [-1]},
            {"name": "active", "datatype": "BOOL", "shape": [-1]},
            {"name": "plan", "datatype": "BYTES", "shape": [-1]},
        ],
        "outputs": [{"name": "predictions", "datatype": "FP64", "shape": [-1]}],
    }
    assert [column.name for column in model_metadata(served, "churn", "8").inputs] == [*"abc"]
    assert json.loads(encode(model_ready(served, "churn"))) == {"name": "churn", "ready": True}
    assert not model_ready(served, "churn", "8").ready
    assert not model_ready(served, "other").ready
    for name, version in [("other", ""), ("churn", "9")]:
        with pytest.raises(RequestError) as caught:
            model_metadata(served, name, version)
        assert caught.value.status == 404


@given(st.lists(st.lists(st.floats(allow_infinity=False), min_size=3, max_size=3), min_size=1))
def test_bytes_of_a_matrix_reach_the_model_as_they_are(rows: list[list[float]]) -> None:
    raw = b"".join(struct.pack("<3d", *row) for row in rows)
    question = asked({"inputs": [binary([len(rows), 3], "FP64", len(raw))]}, NUMBERS, raw)
    assert (question.kind, question.body, question.rows) == (MATRIX, raw, len(rows))


@given(st.lists(st.tuples(st.floats(allow_nan=False, allow_infinity=False, width=32),
                          st.integers(-(2**63), 2**63 - 1), st.booleans(), st.text()),
                min_size=1, max_size=10))  # fmt: skip
def test_json_and_bytes_are_read_alike(rows: list[tuple[float, int, bool, str]]) -> None:
    to = target(f="float", i="int64", b="bool", t="string")
    floats, whole, flags, words = (list(values) for values in zip(*rows, strict=True))
    shape = [len(rows)]
    as_json = [
        tensor(floats, shape, "FP32", "f"), tensor(whole, shape, "INT64", "i"),
        tensor(flags, shape, "BOOL", "b"), tensor(words, shape, "BYTES", "t"),
    ]  # fmt: skip
    parts = [
        struct.pack(f"<{len(rows)}f", *floats), struct.pack(f"<{len(rows)}q", *whole),
        bytes(flags), texts(*(word.encode() for word in words)),
    ]  # fmt: skip
    datatypes = ("FP32", "INT64", "BOOL", "BYTES")
    as_bytes = [
        binary(shape, datatype, len(raw), name)
        for name, datatype, raw in zip("fibt", datatypes, parts, strict=True)
    ]
    first = values_of(asked({"inputs": as_json}, to))
    assert first == values_of(asked({"inputs": as_bytes}, to, b"".join(parts)))
    assert first == [floats, whole, flags, words]


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
SOME = st.sampled_from
ANY_INPUT = st.fixed_dictionaries(
    {
        "name": SOME(["a", "b", "c", "x", "age", "plan", "active"]) | st.text(),
        "shape": SOME([[1, 3], [1], [2], [1, 1], [], [2**70, 3], [-1]]) | ANY_JSON,
        "datatype": SOME([*CODES, "BYTES"]) | ANY_JSON,
    },
    optional={
        "data": st.lists(st.floats() | st.text() | st.booleans(), max_size=4) | ANY_JSON,
        "parameters": st.builds(lambda n: {"binary_data_size": n}, st.integers(-1, 30)) | ANY_JSON,
    },
)


@given(
    st.lists(ANY_INPUT, max_size=4) | ANY_JSON,
    st.dictionaries(SOME(["id", "parameters", "outputs"]), ANY_JSON),
    st.binary(max_size=40),
    SOME([NUMBERS, MIXED]),
)
def test_any_request_is_either_taken_or_refused(
    inputs: Any, more: dict[str, Any], rest: bytes, to: Target
) -> None:
    with contextlib.suppress(RequestError):
        asked({"inputs": inputs} | more, to, rest)


@given(st.binary(), st.none() | st.binary(max_size=4) | st.integers(0, 50).map(lambda n: b"%d" % n))
def test_any_bytes_are_refused(body: bytes, header: bytes | None) -> None:
    with pytest.raises(RequestError):
        asked(body, NUMBERS, b"", header)
