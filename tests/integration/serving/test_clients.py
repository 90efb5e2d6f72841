"""Clients that others wrote, against a gateway on a port: they agree with each other and MLflow."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import pandas
import pytest
from mlflow_requests import FEATURES, SAME

from penstock.registry.loading import model_digest
from penstock.serving import endpoint
from penstock.serving.release import ReleaseSpec
from penstock.settings import ServingSettings
from penstock.training.flavors import save

pytestmark = pytest.mark.slow

KEY = "tests:predict:secret"
ROWS = pandas.DataFrame({"visits": [3.5, -0.1], "age": [41, 18], "spend": [12.25, 0.0]})


@dataclass(frozen=True)
class Served:
    url: str
    grpc: str
    model: Any  # as MLflow loads it

    @property
    def host(self) -> str:
        return self.url.removeprefix("http://")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    import lightgbm
    import mlflow.pyfunc

    folder = tmp_path_factory.mktemp("clients")
    rng = numpy.random.default_rng(3)
    frame = pandas.DataFrame(
        {
            "visits": rng.normal(3, 2, 400),
            "age": rng.integers(18, 90, 400),
            "spend": rng.lognormal(2, 1, 400),
        }
    )
    label = (frame["visits"] + rng.normal(0, 1, 400) > 3).astype(int)
    fitted = lightgbm.LGBMClassifier(n_estimators=20, verbose=-1, n_jobs=1).fit(frame, label)
    save(fitted, frame, folder / "model")
    place = endpoint.Place("staging", folder / "endpoint")
    spec = ReleaseSpec(
        id="r1",
        endpoint="staging",
        model="churn@3",
        digest=model_digest(folder / "model"),
        path=str(folder / "model"),
        replicas=1,
    )
    endpoint.deploy(place, spec, ServingSettings(port=0, grpc_port=0))
    said = endpoint.status(place.folder)
    yield Served(said.url, said.grpc, mlflow.pyfunc.load_model(str(folder / "model")))
    endpoint.stop(place.folder)


def expected(served: Served) -> list[float]:
    return [float(value) for value in served.model.predict(ROWS)]


def test_tritons_http_client_sends_and_receives_binary_tensors(served: Served) -> None:
    client = pytest.importorskip("tritonclient.http")
    with client.InferenceServerClient(served.host) as triton:
        assert triton.is_server_live()
        assert triton.is_server_ready()
        assert triton.is_model_ready("churn", "3")
        inputs = triton.get_model_metadata("churn")["inputs"]
        assert [one["name"] for one in inputs] == [*FEATURES]
        matrix = client.InferInput("rows", [2, 3], "FP64")
        matrix.set_data_from_numpy(ROWS.to_numpy(dtype=float))
        for binary in (True, False):
            wanted = client.InferRequestedOutput("predictions", binary_data=binary)
            answer = triton.infer("churn", [matrix], outputs=[wanted], request_id="a1")
            assert answer.as_numpy("predictions").tolist() == expected(served)
            assert answer.get_response()["id"] == "a1"
        with pytest.raises(Exception, match="no model 'nobody'"):
            triton.infer("nobody", [matrix])


def test_tritons_grpc_client_asks_by_feature(served: Served) -> None:
    client = pytest.importorskip("tritonclient.grpc")
    kinds = {"double": ("FP64", float), "int64": ("INT64", numpy.int64)}
    with client.InferenceServerClient(served.grpc) as triton:
        assert triton.is_server_ready()
        tensors = []
        for name, kind in FEATURES.items():
            datatype, dtype = kinds[kind]
            tensor = client.InferInput(name, [2], datatype)
            tensor.set_data_from_numpy(ROWS[name].to_numpy(dtype=dtype))
            tensors.append(tensor)
        answer = triton.infer("churn", tensors, model_version="3")
        assert answer.as_numpy("predictions").tolist() == expected(served)
        with pytest.raises(Exception, match="no model 'churn@4'"):
            triton.infer("churn", tensors, model_version="4")


def test_mlflows_scoring_client_gets_what_mlflow_would_give(served: Served) -> None:
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient

    host, _, port = served.host.partition(":")
    client = ScoringServerClient(host, int(port))
    client.wait_server_ready(timeout=30)
    found = client.invoke(ROWS).get_predictions()
    assert found[0].tolist() == expected(served)


@pytest.mark.parametrize(("content_type", "body"), [pytest.param(*r[1:], id=r[0]) for r in SAME])
def test_invocations_are_answered_as_by_mlflows_own_server(
    served: Served, content_type: str, body: bytes
) -> None:
    from mlflow.pyfunc import scoring_server
    from starlette.testclient import TestClient

    headers = {"content-type": content_type}
    client = TestClient(scoring_server.init(served.model), raise_server_exceptions=False)
    theirs = client.post("/invocations", content=body, headers=headers)
    request = urllib.request.Request(f"{served.url}/invocations", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            status, ours = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        status, ours = error.code, error.read()
    assert status == theirs.status_code
    if status == 200:
        assert json.loads(ours)["predictions"] == theirs.json()["predictions"]
    elif status != 415:
        assert json.loads(ours)["error_code"] == theirs.json()["error_code"]


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool, of Debian's prometheus")
def test_the_metrics_are_clean(served: Served) -> None:
    with urllib.request.urlopen(f"{served.url}/metrics", timeout=30) as answer:
        metrics = answer.read()
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=metrics, capture_output=True, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


def test_keys_are_asked_for_and_a_collectors_trace_is_tolerated(
    champion: Path, tmp_path: Path
) -> None:
    place = endpoint.Place("staging", tmp_path / "endpoint")
    spec = ReleaseSpec(
        id="r1", endpoint="staging", model="churn@1", digest=model_digest(champion),
        path=str(champion), replicas=1,
    )  # fmt: skip
    settings = ServingSettings(port=0, keys=(KEY,), rate_limit=0.001, rate_burst=2)
    url = endpoint.deploy(place, spec, settings).url
    body = json.dumps({"rows": [{"visits": 1.0, "age": 2, "plan": "basic"}]}).encode()

    def ask(**headers: str) -> int:
        try:
            with urllib.request.urlopen(
                urllib.request.Request(f"{url}/predict", body, headers), timeout=30
            ) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    try:
        assert ask() == 401
        assert ask(Authorization="Bearer wrong") == 401
        trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
        assert ask(Authorization="Bearer secret", **trace) == 200
        assert ask(**{"X-API-Key": "secret"}) == 200
        assert ask(**{"X-API-Key": "secret"}) == 429
    finally:
        endpoint.stop(place.folder)


def certificate(folder: Path) -> tuple[str, str]:
    """A certificate of 127.0.0.1 that signs itself, and its key: PEM files."""
    import ipaddress
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = folder / "certificate.pem", folder / "key.pem"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return str(files[0]), str(files[1])


def test_https_where_a_certificate_is_set(champion: Path, tmp_path: Path) -> None:
    import ssl

    pem, key = certificate(tmp_path)
    place = endpoint.Place("staging", tmp_path / "endpoint")
    spec = ReleaseSpec(
        id="r1", endpoint="staging", model="churn@1", digest=model_digest(champion),
        path=str(champion), replicas=1,
    )  # fmt: skip
    settings = ServingSettings(port=0, tls_certificate=pem, tls_key=key)
    url = endpoint.deploy(place, spec, settings).url
    try:
        assert url.startswith("https://")
        trusting = ssl.create_default_context(cafile=pem)
        with urllib.request.urlopen(f"{url}/health/ready", timeout=30, context=trusting) as answer:
            assert json.load(answer) == {"status": "ready"}
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen(f"{url}/health/ready", timeout=30)
    finally:
        endpoint.stop(place.folder)
