"""A tiny real model, and endpoints that are stopped when the test ends."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from penstock.records import Release
from penstock.registry.loading import model_digest
from penstock.serving import endpoint
from penstock.serving.release import ReleaseSpec
from penstock.settings import ServingSettings

ROW = {"visits": 3.5, "age": 41, "plan": "basic"}
MLMODEL = """\
flavors:
  lightgbm: {code: null, data: model.lgb, model_class: lightgbm.basic.Booster}
  python_function: {data: model.lgb, loader_module: mlflow.lightgbm}
signature:
  inputs: '[{"type": "double", "name": "visits", "required": true}, {"type": "long",
    "name": "age", "required": false}, {"type": "string", "name": "plan", "required": true}]'
"""


@pytest.fixture(scope="session")
def train(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """A model folder for each seed."""
    import lightgbm
    import numpy
    import pandas

    def build(seed: int) -> Path:
        folder = tmp_path_factory.mktemp("model")
        rng = numpy.random.default_rng(seed)
        frame = pandas.DataFrame(
            {
                "visits": rng.normal(3, 2, 300),
                "age": rng.integers(18, 90, 300),
                "plan": pandas.Categorical(rng.choice(["basic", "plus"], 300)),
            }
        )
        label = (frame["visits"] + rng.normal(0, 1, 300) > 3).astype(int)
        data = lightgbm.Dataset(frame, label)
        parameters = {"objective": "binary", "verbose": -1, "num_threads": 1, "seed": seed}
        lightgbm.train(parameters, data, num_boost_round=5).save_model(folder / "model.lgb")
        (folder / "MLmodel").write_text(MLMODEL)
        return folder

    return build


@pytest.fixture(scope="session")
def champion(train: Callable[[int], Path]) -> Path:
    return train(1)


@pytest.fixture(scope="session")
def challenger(train: Callable[[int], Path]) -> Path:
    return train(2)


@dataclass
class Answer:
    status: int
    headers: Any
    body: Any


@dataclass
class Endpoint:
    """One endpoint of a test, as its deployer and its clients see it."""

    folder: Path
    settings: ServingSettings
    progress: list[str] = field(default_factory=list)

    def spec(self, model: Path, release: str = "r1", **changes: Any) -> ReleaseSpec:
        given = {
            "id": release,
            "endpoint": "staging",
            "model": "churn@1",
            "digest": model_digest(model),
            "path": str(model),
            "replicas": 2,
        }
        return ReleaseSpec(**(given | changes))

    def deploy(self, model: Path, release: str = "r1", **changes: Any) -> Release:
        spec = self.spec(model, release, **changes)
        return endpoint.deploy(self.place, spec, self.settings, self.progress.append)

    @property
    def config(self) -> bytes:
        """What a gateway's process is told of it."""
        return json.dumps(self.place.config(self.settings).plain()).encode()

    @property
    def place(self) -> endpoint.Place:
        return endpoint.Place("staging", self.folder)

    @property
    def url(self) -> str:
        return endpoint.status(self.folder).url

    def pids(self) -> list[int]:
        return list(self.get("/release").body["pids"])

    def get(self, path: str) -> Answer:
        return request(self.url + path)

    def predict(self, document: Any, **headers: str) -> Answer:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        return request(self.url + "/predict", body, headers)


def request(url: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, body, headers or {}), timeout=30
        ) as answer:
            return Answer(answer.status, answer.headers, json.load(answer))
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.headers, json.load(error))


def until(condition: Callable[[], Any], seconds: float = 120.0) -> Any:
    """Polls; the value of the condition once it holds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError(f"not within {seconds} s")


@pytest.fixture
def staging(tmp_path: Path) -> Iterator[Endpoint]:
    it = Endpoint(tmp_path / "endpoint", ServingSettings(port=0, max_rows=100, max_body_mb=0.1))
    yield it
    endpoint.stop(it.folder)


@pytest.fixture(scope="session")
def live(champion: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """One endpoint with online features for all tests that do not harm it."""
    folder = tmp_path_factory.mktemp("live")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))
        it = Endpoint(folder, ServingSettings(port=0, max_rows=100, max_body_mb=0.1))
        features = {
            "module": "online_features:OnlineFeatures",
            "arguments": {"scale": 0.1},
            "entities": ["customer_id"],
        }
        it.deploy(champion, features=features)
    yield it
    endpoint.stop(it.folder)


@pytest.fixture(name="until")
def polled() -> Callable[..., Any]:
    return until
