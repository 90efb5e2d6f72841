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
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
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
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(noise=st.binary(min_size=1, max_size=300), whole=st.booleans())
def test_no_bytes_on_a_connection_harm_the_next_one(live: Any, noise: bytes, whole: bool) -> None:
    head = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n" if whole else b""
    with socket.create_connection(address(live), timeout=60) as connection:
        connection.sendall(head + noise)
    assert live.get("/health/ready").status == 200


def test_the_same_processes_answer_afterwards(live: Any) -> None:
    row = {"visits": 3.5, "age": 41, "plan": "basic"}
    assert live.predict({"rows": [row]}).status == 200
    restarts = [r["restarts"] for r in live.get("/routes").body["releases"].values()]
    assert restarts == [0]
