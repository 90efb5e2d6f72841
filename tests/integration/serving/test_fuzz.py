"""Nonsense on every path: refused with a reason, never a 5xx, and the gateway goes on."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.serving.prediction_log.reading import Selection, predictions, records

pytestmark = pytest.mark.slow

PATHS = ["/predict", "/invocations", "/v2/models/churn/infer", "/feedback", "/get-online-features"]
TYPES = ["application/json", "text/csv", "application/octet-stream", ""]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
# Words that each protocol looks for, with anything behind them.
WORDS = st.sampled_from(
    ["rows", "entities", "inputs", "instances", "dataframe_split", "dataframe_records", "params",
     "columns", "data", "name", "shape", "datatype", "id", "outputs", "parameters",
     "prediction_id", "label", "row", "at", "features", "feature_service", "visits", "age", "plan"]
)  # fmt: skip
DOCUMENTS = st.recursive(
    VALUES, lambda inner: st.dictionaries(WORDS, inner | st.lists(inner, max_size=3)), max_leaves=12
)
BODIES = st.binary(max_size=400) | DOCUMENTS.map(lambda d: json.dumps(d).encode())


def address(live: Any) -> tuple[str, int]:
    found = urlsplit(live.url)
    return str(found.hostname), int(found.port or 0)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    path=st.sampled_from(PATHS),
    content_type=st.sampled_from(TYPES),
    body=BODIES,
    header_length=st.none() | st.integers(-5, 500),
)
def test_no_body_is_too_odd(
    live: Any, path: str, content_type: str, body: bytes, header_length: int | None
) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    if header_length is not None:
        headers["Inference-Header-Content-Length"] = str(header_length)
    connection = http.client.HTTPConnection(*address(live), timeout=60)
    try:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        said = answer.read()
    finally:
        connection.close()
    assert answer.status < 500, said
    assert b"Traceback" not in said


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(noise=st.binary(min_size=1, max_size=300), whole=st.booleans())
def test_no_bytes_on_a_connection_harm_the_next_one(live: Any, noise: bytes, whole: bool) -> None:
    head = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n" if whole else b""
    with socket.create_connection(address(live), timeout=60) as connection:
        connection.sendall(head + noise)
    assert live.get("/health/ready").status == 200


# Close to what is right: only then do the inner parts of a protocol see it.

NUMBERS = st.sampled_from([0, 1, -1, 2**31, 2**53 + 1, 2**63, 2**70, 10**400, 0.5, 1e308, -0.0])
ODD = NUMBERS | st.none() | st.booleans() | st.text(max_size=3) | st.lists(NUMBERS, max_size=3)
NAMES = ["visits", "age", "plan"]
ROWS = st.lists(
    st.dictionaries(st.sampled_from([*NAMES, "colour"]), ODD, min_size=2, max_size=4), max_size=3
)
TENSORS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from([*NAMES, "rows", ""]) | ODD,
        "shape": st.lists(st.integers(-1, 4) | NUMBERS, max_size=3) | ODD,
        "datatype": st.sampled_from(["FP64", "FP32", "INT64", "BOOL", "BYTES", "UINT8", "FP8"]),
        "data": st.lists(ODD, max_size=4) | ODD,
        "parameters": st.dictionaries(
            st.sampled_from(["binary_data_size", "classification"]), ODD | st.integers(0, 64)
        ),
    },
)
SPLIT = {
    "columns": st.permutations(NAMES) | st.lists(ODD, max_size=4),
    "data": st.lists(st.lists(ODD, max_size=4), max_size=3) | ODD,
}
NEARLY = st.one_of(
    st.tuples(st.just("/predict"), st.fixed_dictionaries({"rows": ROWS})),
    st.tuples(
        st.just("/predict"),
        st.fixed_dictionaries(
            {"entities": st.fixed_dictionaries({"customer_id": st.lists(ODD, max_size=3)})}
        ),
    ),
    st.tuples(
        st.just("/v2/models/churn/infer"),
        st.fixed_dictionaries(
            {"inputs": st.lists(TENSORS, max_size=4)},
            optional={"id": ODD, "outputs": st.lists(TENSORS, max_size=2) | ODD},
        ),
    ),
    st.tuples(
        st.just("/invocations"),
        st.one_of(
            st.fixed_dictionaries({"dataframe_split": st.fixed_dictionaries(SPLIT)}),
            st.fixed_dictionaries({"dataframe_records": ROWS}),
            st.fixed_dictionaries({"inputs": ROWS | st.dictionaries(st.sampled_from(NAMES), ODD)}),
        ),
    ),
    st.tuples(
        st.just("/get-online-features"),
        st.fixed_dictionaries(
            {
                "features": st.lists(ODD | st.just("view:age"), max_size=2) | ODD,
                "entities": st.fixed_dictionaries({"customer_id": st.lists(ODD, max_size=3)}),
            }
        ),
    ),
    st.tuples(
        st.just("/feedback"),
        st.fixed_dictionaries(
            {"prediction_id": ODD | st.just("0123456789abcdef-" + "0" * 28), "label": ODD},
            optional={"row": ODD, "at": ODD, "source": ODD, "replace": ODD},
        ),
    ),
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(asked=NEARLY, tail=st.binary(max_size=40), cut=st.none() | st.integers(-3, 3))
def test_what_is_nearly_right_is_answered_or_refused(
    live: Any, asked: tuple[str, Any], tail: bytes, cut: int | None
) -> None:
    path, document = asked
    body = json.dumps(document).encode()
    headers = {"Content-Type": "application/json"}
    if cut is not None and path.startswith("/v2"):  # the binary extension, or nearly so
        headers["Inference-Header-Content-Length"] = str(len(body) + cut)
        body += tail
    connection = http.client.HTTPConnection(*address(live), timeout=60)
    try:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        said = answer.read()
    finally:
        connection.close()
    gone = b"online features could not be read" in said  # the store, as customer 666 has it
    assert answer.status < 500 or gone, said
    document = json.loads(said)
    assert answer.status == 200 or answer.status == 202 or document.get("error", document)


PUBLISHED = {
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "unsupported_method",
}


def test_requests_made_from_the_published_api_are_answered_as_it_says(live: Any) -> None:
    schemathesis = pytest.importorskip("schemathesis")
    schemathesis.checks.load_all_checks()
    checks = [one for one in schemathesis.checks.CHECKS.get_all() if one.__name__ in PUBLISHED]
    assert len(checks) == len(PUBLISHED)
    seen = set()
    for found in schemathesis.openapi.from_url(f"{live.url}/openapi.json").get_all_operations():
        operation = found.ok()

        @settings(max_examples=20, deadline=None, suppress_health_check=[*HealthCheck])
        @given(case=operation.as_strategy())
        def conforms(case: Any) -> None:
            case.call_and_validate(checks=checks)

        conforms()
        seen.add(operation.path)
    assert seen > {"/predict", "/invocations", "/v2/models/churn/infer", "/feedback"}


def test_the_same_processes_answer_afterwards(live: Any) -> None:
    row = {"visits": 3.5, "age": 41, "plan": "basic"}
    assert live.predict({"rows": [row]}).status == 200
    restarts = [r["restarts"] for r in live.get("/routes").body["releases"].values()]
    assert restarts == [0]


def test_the_log_can_be_read_afterwards(live: Any, until: Any) -> None:
    row = {"visits": 3.5, "age": 41, "plan": "basic"}
    last = live.predict({"rows": [row]}).body["prediction_id"]
    relation = until(
        lambda: (
            len(predictions([live.folder / "predictions"], Selection(prediction_id=last)))
            and predictions([live.folder / "predictions"])
        )
    )
    rows = records(relation)
    assert {row["status"] for row in rows} >= {200, 400}
    refused = [row for row in rows if 400 <= row["status"] < 500]
    assert all(row["prediction_id"] and row["output"] is None for row in refused)
