"""The same requests to MLflow's own scoring server and to Penstock's `/invocations`, on one model.

Penstock's side is the protocol alone: what it packs is given to the model as the replica would get
it, and what it makes of the outputs is compared.
"""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow_requests import FEATURES, REFUSED, SAME

from penstock.records import Column
from penstock.registry import lightgbm_format
from penstock.registry.model_folder import model_digest, read_model_folder
from penstock.serving.http_server.messages import Request, RequestError
from penstock.serving.protocols.asked import Context, Target
from penstock.serving.protocols.mlflow import INVOCATIONS, ping, version
from penstock.serving.replicas.frames import MATRIX, Answered
from penstock.serving.schema import InputSchema

pytestmark = pytest.mark.slow

CONTEXT = Context("p", "q", "churn", "1", "r1")


@dataclass(frozen=True)
class Reply:
    """What has to agree."""

    status: int
    content_type: str
    error_code: str | None = None
    predictions: Any = None


@dataclass(frozen=True)
class Served:
    """One model, as MLflow serves it and as Penstock does."""

    client: Any  # of MLflow's scoring server
    target: Target
    predict: Callable[[Any], Any]  # of a float64 matrix, (rows, features)

    def mlflows(self, content_type: str, body: bytes) -> Reply:
        headers = {"content-type": content_type}
        answer = self.client.post("/invocations", content=body, headers=headers)
        return reply(answer.status_code, answer.headers["content-type"], answer.content)

    def penstocks(self, content_type: str, body: bytes) -> Reply:
        headers = {b"content-type": content_type.encode()}
        request = Request(b"POST", b"/invocations", b"", headers, body, "", 0.0, lambda _: None)
        try:
            asked = INVOCATIONS.parse(request, self.target)
        except RequestError as error:
            return read(INVOCATIONS.refuse(error.status, error.message, error.field, {}))
        assert asked.kind == MATRIX
        return read(asked.render(self._answered(asked.body, asked.rows), CONTEXT))

    def _answered(self, body: bytes, rows: int) -> Answered:
        import numpy

        outputs = self.predict(numpy.frombuffer(body).reshape(rows, len(FEATURES)))
        width = 1 if outputs.ndim == 1 else outputs.shape[1]
        return Answered(rows, width, memoryview(array("d", outputs.ravel())), 0, 0, 0, None)


def reply(status: int, content_type: str, body: bytes) -> Reply:
    if not content_type.startswith("application/json"):
        return Reply(status, content_type)
    document = json.loads(body)
    if status == 200:
        return Reply(status, content_type, predictions=document["predictions"])
    assert document["message"]
    return Reply(status, content_type, document["error_code"])


def read(http: bytes) -> Reply:
    status, content_type, body = split(http)
    return reply(status, content_type, body)


def split(http: bytes) -> tuple[int, str, bytes]:
    head, _, body = http.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return int(status.split()[1]), dict(line.split(": ", 1) for line in lines)["content-type"], body


def serve(folder: Path, predict: Callable[[Any], Any]) -> Served:
    import mlflow.pyfunc
    from mlflow.pyfunc import scoring_server
    from starlette.testclient import TestClient

    described = read_model_folder(folder, model_digest(folder))
    schema = InputSchema(described.features, described.required)
    app = scoring_server.init(mlflow.pyfunc.load_model(str(folder)))
    client = TestClient(app, raise_server_exceptions=False)
    return Served(client, Target("churn", "1", "r1", schema, 100), predict)


def examples() -> Any:
    """A frame of the features, (300, 3), with missing numbers, and a label."""
    import numpy
    import pandas

    rng = numpy.random.default_rng(7)
    frame = pandas.DataFrame(
        {
            "visits": rng.normal(3, 2, 300),
            "age": rng.integers(18, 90, 300),
            "spend": rng.exponential(10, 300),
        }
    )
    label = (frame["visits"] + frame["spend"] / 20 + rng.normal(0, 1, 300) > 3.5).astype(int)
    holes = rng.random((300, 3)) < [0.1, 0.0, 0.1]
    return frame.mask(holes).astype({"age": "int64"}), label


@pytest.fixture(scope="module")
def booster(tmp_path_factory: pytest.TempPathFactory) -> Served:
    """As Penstock saves it: every column may be null. One output a row."""
    import lightgbm

    frame, label = examples()
    parameters = {"objective": "binary", "verbose": -1, "num_threads": 1, "seed": 1}
    model = lightgbm.train(parameters, lightgbm.Dataset(frame, label), num_boost_round=10)
    folder = tmp_path_factory.mktemp("lightgbm") / "model"
    features = tuple(Column(name=name, type=kind) for name, kind in FEATURES.items())
    lightgbm_format.save(model, folder, features, (), [])
    return serve(folder, model.predict)


@pytest.fixture(scope="module")
def forest(tmp_path_factory: pytest.TempPathFactory) -> Served:
    """As MLflow's users save it: every column is required. Two outputs a row."""
    import mlflow.sklearn
    from mlflow.models import infer_signature
    from sklearn.ensemble import RandomForestClassifier

    frame, label = examples()
    model = RandomForestClassifier(10, max_depth=5, random_state=1).fit(frame.to_numpy(), label)
    folder = tmp_path_factory.mktemp("sklearn") / "model"
    mlflow.sklearn.save_model(
        model,
        str(folder),
        serialization_format="skops",
        skops_trusted_types=["sklearn.tree._tree.Tree"],
        signature=infer_signature(frame.dropna(), model.predict_proba(frame.to_numpy())),
        pyfunc_predict_fn="predict_proba",
        pip_requirements=[],
    )
    return serve(folder, model.predict_proba)


@pytest.fixture(params=["booster", "forest"])
def served(request: pytest.FixtureRequest) -> Served:
    found: Served = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize(("name", "kind", "body"), SAME, ids=[row[0] for row in SAME])
def test_both_answer_alike(served: Served, name: str, kind: str, body: bytes) -> None:
    assert served.penstocks(kind, body) == served.mlflows(kind, body)


@pytest.mark.parametrize(("name", "kind", "body"), REFUSED, ids=[row[0] for row in REFUSED])
def test_only_penstock_refuses_what_would_be_another_value(
    served: Served, name: str, kind: str, body: bytes
) -> None:
    assert served.mlflows(kind, body).status == 200
    assert served.penstocks(kind, body).error_code == "BAD_REQUEST"


def test_infinity_is_refused_where_mlflow_leaves_it_to_the_model(booster: Served) -> None:
    body = json.dumps({"inputs": {"visits": [math.inf], "age": [41], "spend": [1]}}).encode()
    assert booster.mlflows("application/json", body).status == 200
    assert booster.penstocks("application/json", body).error_code == "BAD_REQUEST"


def test_mlflows_own_client_is_understood(served: Served) -> None:
    """It sends frames with their index, and NaN for what is missing."""
    from mlflow.pyfunc.scoring_server.client import dump_input_data

    frame, _ = examples()
    body = dump_input_data(frame.sample(20, random_state=1)).encode()
    assert b"NaN" in body
    found = served.penstocks("application/json", body)
    assert len(found.predictions) == 20
    assert found == served.mlflows("application/json", body)


def test_health_and_version_are_answered_alike(booster: Served) -> None:
    for path, http in (("/ping", ping()), ("/health", ping()), ("/version", version())):
        answer = booster.client.get(path)
        assert split(http) == (answer.status_code, answer.headers["content-type"], answer.content)
