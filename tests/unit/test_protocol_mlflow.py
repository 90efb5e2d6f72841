"""MLflow's scoring protocol, without MLflow: what a client reads, byte for byte where it matters.

That MLflow answers alike is tested in tests/integration/serving/test_mlflow_parity.py.
"""

from __future__ import annotations

import json
import struct
from array import array
from importlib.metadata import version as installed_version
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow_requests import FEATURES, REFUSED, ROW, SAME

from penstock.records import Column
from penstock.serving.http_server.messages import Request, RequestError
from penstock.serving.protocols.asked import Asked, Context, Target
from penstock.serving.protocols.mlflow import INVOCATIONS, ping, version
from penstock.serving.protocols.mlflow_decoders import RowDecoder
from penstock.serving.protocols.mlflow_json import read_json
from penstock.serving.protocols.mlflow_table import pack_table
from penstock.serving.replicas.frames import COLUMNS, MATRIX, Answered
from penstock.serving.schema import InputSchema


def schema_of(features: dict[str, str], *, required: bool = True) -> InputSchema:
    columns = tuple(Column(name=name, type=kind) for name, kind in features.items())
    return InputSchema(columns, frozenset(features) if required else frozenset())


SCHEMA = schema_of(FEATURES)
CONTEXT = Context("p-1", "q-1", "churn", "3", "r1")


def ask(
    body: bytes | str | Any,
    kind: str = "application/json",
    schema: InputSchema = SCHEMA,
    max_rows: int = 100,
) -> Asked:
    if not isinstance(body, bytes | str):
        body = json.dumps(body)
    body = body.encode() if isinstance(body, str) else body
    headers = {b"content-type": kind.encode()} if kind else {}
    request = Request(b"POST", b"/invocations", b"", headers, body, "", 0.0, lambda _: None)
    return INVOCATIONS.parse(request, Target("churn", "3", "r1", schema, max_rows))


def status_of(*arguments: Any, **more: Any) -> int:
    try:
        return 200 if ask(*arguments, **more).rows else 0
    except RequestError as error:
        return error.status


def matrix(asked: Asked) -> list[tuple[float, ...]]:
    assert asked.kind == MATRIX
    return [*struct.iter_unpack(f"<{len(asked.body) // 8 // asked.rows}d", asked.body)]


def columns(asked: Asked) -> list[list[Any]]:
    assert asked.kind == COLUMNS
    decoded: list[list[Any]] = msgspec.msgpack.decode(asked.body)
    return decoded


def refusal(*arguments: Any, **more: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        ask(*arguments, **more)
    return caught.value


def split(http: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, body = http.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return int(status.split()[1]), dict(line.split(": ", 1) for line in lines), body


def refused(error: RequestError) -> tuple[int, dict[str, str], bytes]:
    return split(INVOCATIONS.refuse(error.status, error.message, error.field, {}))


@pytest.mark.parametrize(
    "document",
    [
        {"dataframe_split": {"columns": ["spend", "age", "visits"], "data": [[12.25, 41, 3.5]]}},
        {"dataframe_records": [ROW]},
        {"inputs": {name: [value] for name, value in ROW.items()}},
        {"inputs": [ROW]},
        {"inputs": ROW},
        {"instances": [ROW]},
    ],
)
def test_every_format_gives_the_same_row_in_the_order_of_the_signature(document: Any) -> None:
    asked = ask(document)
    assert (asked.rows, asked.positive, matrix(asked)) == (1, False, [(3.5, 41.0, 12.25)])


def test_csv_gives_the_same_row() -> None:
    asked = ask("age,spend,visits\n41,12.25,3.5\n", "text/csv; charset=utf-8")
    assert matrix(asked) == [(3.5, 41.0, 12.25)]


def test_csv_keeps_the_texts_of_text_columns() -> None:
    schema = schema_of({"plan": "string", "new": "bool"})
    asked = ask('plan,new\n"a ""b""\nc",True\n007,0\nNA,FALSE\n', "text/csv", schema)
    assert columns(asked) == [['a "b"\nc', "007", None], [True, False, False]]


def test_values_that_lose_nothing_are_cast() -> None:
    data = [["3.5", "41", True], [2, 41.0, " 1e3 "], [1, True, None]]
    asked = ask({"dataframe_split": {"columns": [*FEATURES], "data": data}})
    rows = matrix(asked)
    assert rows[:2] == [(3.5, 41.0, 1.0), (2.0, 41.0, 1000.0)]
    assert rows[2][:2] == (1.0, 1.0)
    assert rows[2][2] != rows[2][2]


def test_whole_numbers_beyond_a_double_are_exact() -> None:
    big = 2**53 + 1
    assert columns(ask({"dataframe_records": [ROW | {"age": big}]}))[1] == [big]


def test_a_number_for_a_double_is_rounded_as_any_other() -> None:
    asked = ask({"dataframe_records": [ROW | {"visits": 2**53 + 1}]})
    assert matrix(asked)[0][0] == 2.0**53
    asked = ask({"dataframe_records": [ROW | {"visits": 2**70, "age": 2**53 + 1}]})
    assert columns(asked)[:2] == [[2.0**70], [2**53 + 1]]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("int64", 41.7), ("int64", 2**63), ("int64", 1e30), ("int32", 2**31), ("int64", None),
        ("int64", "4.5"), ("bool", None), ("bool", "false"), ("bool", 2), ("bool", 0.5),
        ("float", 1e39), ("double", 10**400), ("double", "x"), ("double", "inf"), ("string", 5),
        ("double", [1]), ("double", {}), ("string", "\ud800"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("required", [True, False])
def test_other_values_are_refused_by_name(kind: str, value: Any, required: bool) -> None:
    error = refusal(
        {"dataframe_records": [{"x": value}]}, schema=schema_of({"x": kind}, required=required)
    )
    assert (error.status, error.field) == (400, "x")
    assert "row 0" in error.message


@pytest.mark.parametrize("value", ["Infinity", "-Infinity", "1e400"])
def test_infinity_is_refused_wherever_it_is_written(value: str) -> None:
    row = f'{{"visits": {value}, "age": 1, "spend": 2}}'
    for body in (f'{{"dataframe_records": [{row}]}}', f'{{"inputs": {row}}}'):
        assert refusal(body).field == "visits"
    assert refusal(f"visits,age,spend\n{value},1,2\n", "text/csv").field == "visits"


def test_a_misspelt_column_is_not_taken_for_a_missing_value() -> None:
    row = {"visit": 3.5, "age": 41, "spend": 1.0}
    for required in (True, False):
        error = refusal({"dataframe_records": [row]}, schema=schema_of(FEATURES, required=required))
        assert (error.status, error.field) == (400, "visits")


def test_the_numbers_of_a_model_with_one_feature_may_be_sent_as_a_list() -> None:
    schema = schema_of({"x": "double"})
    for name in ("inputs", "instances"):
        assert matrix(ask({name: [1, 2.5]}, schema=schema)) == [(1.0,), (2.5,)]
    asked = ask({"dataframe_split": {"columns": ["y", "x"], "data": [[0, 1]]}}, schema=schema)
    assert matrix(asked) == [(1.0,)]


def test_a_signature_of_a_tensor_takes_rows_without_names() -> None:
    schema = InputSchema(SCHEMA.features, positional=True)
    row = [3.5, 41, 12.25]
    for document in (
        {"inputs": [row]},
        {"instances": [row]},
        {"dataframe_split": {"data": [row]}},
        {"dataframe_split": {"columns": ["a", "b", "c"], "data": [row]}},
        {"dataframe_split": {"columns": ["age", "visits", "spend"], "data": [[41, 3.5, 12.25]]}},
    ):
        assert matrix(ask(document, schema=schema)) == [(3.5, 41.0, 12.25)]
    assert "3 values" in refusal({"inputs": [row, row[:2]]}, schema=schema).message


@pytest.mark.parametrize(
    "body",
    [
        '{"dataframe_split": {"columns": ["visits", "age", "spend"], "data": [[1,2,3],[1,2,3]]}}',
        '{"dataframe_records": [{"visits": NaN, "age": 2, "spend": 3}, {"age": 1}]}',
        '{"inputs": {"visits": [1, 2], "age": [1, 2], "spend": [1, 2]}}',
    ],
)
def test_too_many_rows_are_refused_with_the_limit(body: str) -> None:
    error = refusal(body, max_rows=1)
    assert error.status == 413
    assert "at most 1" in error.message
    status, _, document = refused(error)
    assert (status, json.loads(document)["error_code"]) == (413, "REQUEST_LIMIT_EXCEEDED")


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000, b'{"dataframe_split":' + b"[" * 100_000, b'{"a":' * 100_000,
        b'{"inputs": {"visits": ' + b"9" * 5000 + b"}}", b"\x00", b"\xef\xbb\xbf", b"\xff\xfe{",
    ],
)  # fmt: skip
def test_bodies_that_overwhelm_a_parser_are_refused(body: bytes) -> None:
    for kind in ("application/json", "text/csv"):
        assert refusal(body, kind).status == 400


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text()
    | st.sampled_from(["visits", "age", "spend", "1", "nan"]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from([*FEATURES, "columns", "data", "index"]) | st.text(max_size=3), inner
    ),
    max_leaves=12,
)  # fmt: skip
FORMATS = st.sampled_from(["dataframe_split", "dataframe_records", "instances", "inputs"])


@given(st.dictionaries(FORMATS | st.sampled_from(["params", "input"]), JSON_VALUES, max_size=2))
def test_any_json_is_understood_or_refused(document: Any) -> None:
    for schema in (SCHEMA, schema_of({"visits": "string", "age": "bool"}, required=False)):
        assert status_of(document, schema=schema) in (200, 400)


@given(st.text() | st.lists(st.lists(st.text(max_size=4) | st.just("visits"))).map(
    lambda rows: "\n".join(",".join(row) for row in rows)
))  # fmt: skip
def test_any_text_is_csv_or_refused(text: str) -> None:
    body = text.encode("utf-8", "surrogatepass")
    assert status_of(body, "text/csv", schema_of({"visits": "string"})) in (200, 400)


NUMBER = st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.none()
ROWS = st.lists(
    st.fixed_dictionaries({"visits": NUMBER, "age": st.integers(-(2**60), 2**60), "spend": NUMBER}),
    min_size=1,
    max_size=4,
)


@given(ROWS, st.permutations([*FEATURES]))
def test_the_short_way_packs_what_the_careful_way_does(
    rows: list[dict[str, Any]], order: list[str]
) -> None:
    decoder = RowDecoder(SCHEMA)
    data = [[row[name] for name in order] for row in rows]
    for document in (
        {"dataframe_split": {"columns": order, "data": data}},
        {"dataframe_records": rows},
        {"inputs": {name: [row[name] for row in rows] for name in order}},
        {"instances": rows},
    ):
        body = json.dumps(document).encode()
        careful = pack_table(read_json(body, SCHEMA), SCHEMA, 100)
        assert decoder.pack(body, 100) in (None, (*careful, len(rows)))


@pytest.mark.parametrize("data", [[[1, 2.5, 3]], [[1, 2, None]], [[2**53 - 1, 4, 5.0]] * 3])
def test_usual_requests_take_the_short_way(data: list[list[Any]]) -> None:
    document = {"dataframe_split": {"columns": ["age", "visits", "spend"], "data": data}}
    assert RowDecoder(SCHEMA).pack(json.dumps(document).encode(), 100) is not None


def test_texts_take_the_short_way_too() -> None:
    schema = schema_of({"plan": "string", "age": "int64"})
    body = json.dumps({"dataframe_records": [{"plan": "basic", "age": 41}]}).encode()
    assert RowDecoder(schema).pack(body, 100) is not None
    assert columns(ask(body, schema=schema)) == [["basic"], [41]]


def test_many_orders_of_columns_are_understood() -> None:
    for number in range(40):
        names = [*FEATURES, f"extra_{number}"]
        asked = ask({"dataframe_split": {"columns": names, "data": [[*ROW.values(), {}]]}})
        assert matrix(asked) == [(3.5, 41.0, 12.25)]


def answered(outputs: list[float], width: int) -> Answered:
    rows = len(outputs) // width
    return Answered(rows, width, memoryview(array("d", outputs)), 0, 0, 0, None)


def test_one_output_a_row_is_a_number_and_several_are_a_list() -> None:
    asked = ask({"inputs": ROW})
    status, headers, body = split(asked.render(answered([0.1, 1e-300], 1), CONTEXT))
    assert (status, headers["content-type"]) == (200, "application/json")
    assert (headers["x-request-id"], headers["x-prediction-id"]) == ("q-1", "p-1")
    assert int(headers["content-length"]) == len(body)
    assert json.loads(body) == {"predictions": [0.1, 1e-300]}
    *_, body = split(asked.render(answered([0.1, 0.9, 0.3, 0.7], 2), CONTEXT))
    assert json.loads(body) == {"predictions": [[0.1, 0.9], [0.3, 0.7]]}


def test_errors_have_mlflows_form_and_name_the_field() -> None:
    status, headers, body = refused(refusal({"inputs": ROW | {"age": "old"}}))
    document = json.loads(body)
    assert (status, headers["content-type"]) == (400, "application/json")
    assert document["error_code"] == "BAD_REQUEST"
    assert document["field"] == "age"
    assert "'age'" in document["message"]


def test_a_missing_column_is_an_invalid_parameter_value() -> None:
    error = refusal({"inputs": {"visits": [3.5]}})
    assert json.loads(refused(error)[2])["error_code"] == "INVALID_PARAMETER_VALUE"
    assert "'age', 'spend'" in error.message


def test_another_content_type_is_refused_in_plain_text() -> None:
    for kind in ("", "text/plain", "application/json; charset=latin-1", "application/json;"):
        status, headers, body = refused(refusal({"inputs": ROW}, kind))
        assert (status, headers["content-type"]) == (415, "text/plain; charset=utf-8")
        assert body


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, "UNAUTHENTICATED"), (403, "PERMISSION_DENIED"), (404, "ENDPOINT_NOT_FOUND"),
     (405, "BAD_REQUEST"), (429, "RESOURCE_EXHAUSTED"), (500, "INTERNAL_ERROR"),
     (503, "TEMPORARILY_UNAVAILABLE"), (504, "DEADLINE_EXCEEDED")],
)  # fmt: skip
def test_other_refusals_have_mlflows_name_for_the_status(status: int, code: str) -> None:
    http = INVOCATIONS.refuse(status, "no", None, {"retry-after": "1"})
    seen, headers, body = split(http)
    assert (seen, headers["retry-after"]) == (status, "1")
    assert json.loads(body) == {"error_code": code, "message": "no"}


def test_health_and_version_are_mlflows() -> None:
    assert split(ping())[::2] == (200, b"\n")
    assert split(ping(ready=False))[::2] == (404, b"\n")
    assert split(version())[::2] == (200, installed_version("mlflow").encode())


@pytest.mark.parametrize(("name", "kind", "body"), REFUSED, ids=[row[0] for row in REFUSED])
def test_what_would_be_another_value_is_refused(name: str, kind: str, body: bytes) -> None:
    assert refusal(body, kind).status == 400


@pytest.mark.parametrize(("name", "kind", "body"), SAME, ids=[row[0] for row in SAME])
def test_a_model_without_required_columns_answers_and_refuses_the_same(
    name: str, kind: str, body: bytes
) -> None:
    optional = schema_of(FEATURES, required=False)
    assert status_of(body, kind) == status_of(body, kind, optional) in (200, 400, 415)
