"""Who may ask for which release, and how often: over HTTP and gRPC alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from gateways import HALF, ROWS, Gateway, table, until

from penstock.serving import endpoint
from penstock.serving.protocols import open_inference_pb2 as messages
from penstock.serving.routing.table import Mirror
from penstock.settings import ServingSettings

pytestmark = pytest.mark.slow

KEYS = ("shop:predict:s", "qa:predict+pin:t", "ops:admin:u")
TENSORS = [("visits", "FP64", 3.5), ("age", "INT64", 41), ("plan", "BYTES", "basic")]
FIELDS = {"FP64": "fp64_contents", "INT64": "int64_contents", "BYTES": "bytes_contents"}
INPUTS = {
    "inputs": [
        {"name": name, "datatype": kind, "shape": [1], "data": [value]}
        for name, kind, value in TENSORS
    ]
}


def settings(**changes: Any) -> ServingSettings:
    given = {"port": 0, "grpc_port": 0, "max_rows": 100, "max_body_mb": 0.1, **changes}
    return ServingSettings(**given)  # type: ignore[arg-type]


@dataclasses.dataclass
class Called:
    """What came of a call: the name of gRPC's status, and the version or the reason."""

    code: str
    said: str


def call(gateway: Gateway, version: str = "", **metadata: str) -> Called:
    request = messages.ModelInferRequest(model_name="churn", model_version=version)
    for name, kind, value in TENSORS:
        given = value.encode() if isinstance(value, str) else value
        contents = messages.InferTensorContents(**{FIELDS[kind]: [given]})
        request.inputs.add(name=name, datatype=kind, shape=[1], contents=contents)
    with grpc.insecure_channel(endpoint.status(gateway.folder).grpc) as channel:
        asking = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=messages.ModelInferRequest.SerializeToString,
            response_deserializer=messages.ModelInferResponse.FromString,
        )
        sent = [(name.replace("_", "-"), value) for name, value in metadata.items()]
        try:
            return Called("OK", asking(request, timeout=30, metadata=sent).model_version)
        except grpc.RpcError as error:
            return Called(error.code().name, error.details())


@pytest.fixture(scope="module")
def guarded(
    tmp_path_factory: pytest.TempPathFactory, champion: Path, challenger: Path
) -> Iterator[Gateway]:
    """Version 1 answers, version 2 is a canary without units, version 3 a shadow."""
    it = Gateway(tmp_path_factory.mktemp("guarded") / "endpoint", settings(keys=KEYS))
    first, canary, shadow = (
        it.spec(name, model)
        for name, model in (("r1", champion), ("r2", challenger), ("r3", challenger))
    )
    weights = {"canary": 0}
    it.serve(table(first, canary, shadow, weights=weights, mirror=Mirror(release="r3")))
    yield it
    it.stop()


@pytest.mark.parametrize("version", ["2", "3"])
def test_a_version_that_does_not_answer_everybody_is_for_testers(
    guarded: Gateway, version: str
) -> None:
    path = f"/v2/models/churn/versions/{version}/infer"
    refused = guarded.ask(path, INPUTS, X_API_Key="s")
    assert refused.status == 403
    assert refused.body == {"error": "the key 'shop' has not the scope 'pin'"}
    assert guarded.ask(path, INPUTS).status == 401
    assert call(guarded, version, x_api_key="s") == Called(
        "PERMISSION_DENIED", "the key 'shop' has not the scope 'pin'"
    )
    assert call(guarded, version).code == "UNAUTHENTICATED"
    for token in ("t", "u"):
        answer = guarded.ask(path, INPUTS, X_API_Key=token)
        assert (answer.status, answer.body["model_version"]) == (200, version)
        assert call(guarded, version, x_api_key=token) == Called("OK", version)


def test_the_version_that_answers_everybody_may_be_named_by_everybody(guarded: Gateway) -> None:
    for path in ("/v2/models/churn/versions/1/infer", "/v2/models/churn/infer"):
        answer = guarded.ask(path, INPUTS, X_API_Key="s")
        assert (answer.status, answer.body["model_version"]) == (200, "1")
    assert call(guarded, "1", x_api_key="s") == Called("OK", "1")
    assert call(guarded, "", x_api_key="s") == Called("OK", "1")


def test_a_refusal_to_pin_is_logged_and_touches_no_arm(guarded: Gateway) -> None:
    before = guarded.samples()
    assert guarded.ask("/v2/models/churn/versions/2/infer", INPUTS, X_API_Key="s").status == 403

    def refusals(samples: Any) -> float:
        found = [v for k, v in samples.items() if k[0] == "penstock_requests_total" and "403" in k]
        return sum(found)

    until(lambda: refusals(guarded.samples()) == refusals(before) + 1)
    assert not any("r2" in labels and "403" in labels for labels in guarded.samples())


def test_a_pin_of_metadata_is_one_of_a_header(guarded: Gateway) -> None:
    assert call(guarded, x_penstock_release="r2", x_api_key="s").code == "PERMISSION_DENIED"
    assert call(guarded, x_penstock_release="r2", x_api_key="t") == Called("OK", "2")


def test_without_keys_everybody_names_every_version(
    tmp_path: Path, champion: Path, challenger: Path
) -> None:
    gateway = Gateway(tmp_path / "endpoint", settings())
    gateway.serve(table(gateway.spec("r1", champion), gateway.spec("r2", challenger), weights=HALF))
    try:
        answer = gateway.ask("/v2/models/churn/versions/2/infer", INPUTS)
        assert (answer.status, answer.body["model_version"]) == (200, "2")
        assert call(gateway, "2") == Called("OK", "2")
    finally:
        gateway.stop()


def test_a_caller_has_one_rate_over_http_and_grpc(tmp_path: Path, champion: Path) -> None:
    limited = settings(keys=KEYS, rate_limit=0.001, rate_burst=3)
    gateway = Gateway(tmp_path / "endpoint", limited)
    gateway.serve(table(gateway.spec("r1", champion)))
    try:
        assert call(gateway, x_api_key="s").code == "OK"
        assert gateway.ask("/predict", ROWS, X_API_Key="s").status == 200
        assert call(gateway, x_api_key="s").code == "OK"
        assert call(gateway, x_api_key="s") == Called("RESOURCE_EXHAUSTED", "too many requests")
        answer = gateway.ask("/predict", ROWS, X_API_Key="s")
        assert (answer.status, answer.body["error"]) == (429, "too many requests")
        assert int(answer.headers["Retry-After"]) > 100
        # Another caller's is untouched; who is nobody has none.
        assert call(gateway, x_api_key="t").code == "OK"
        assert call(gateway).code == "UNAUTHENTICATED"
    finally:
        gateway.stop()


def test_without_keys_an_address_has_one_rate(tmp_path: Path, champion: Path) -> None:
    gateway = Gateway(tmp_path / "endpoint", settings(rate_limit=0.001, rate_burst=2))
    gateway.serve(table(gateway.spec("r1", champion)))
    try:
        assert [call(gateway).code for _ in range(3)] == ["OK", "OK", "RESOURCE_EXHAUSTED"]
        assert gateway.ask("/v2/models/churn/infer", INPUTS).status == 429
    finally:
        gateway.stop()
