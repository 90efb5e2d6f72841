"""`/get-online-features` as Feast knows it: its remote store reads here, its server agrees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from by_key import serving_by_key
from gateways import Gateway

from penstock.registry.loading import load_model, model_digest

pytestmark = pytest.mark.slow

FEATURES = """
from penstock.features import BatchSource, Entity, FeatureService, FeatureView

customer = Entity("customer", join_keys=["customer_id"])
profiles = BatchSource("profiles", path="profiles", timestamp="seen_at")
habits = FeatureView("habits", source=profiles, entities=[customer], features=["visits"])
profile = FeatureView(
    "profile", source=profiles, entities=[customer], features=["age", "plan"]
)
churn_v1 = FeatureService("churn_v1", features=[habits, profile])
"""
NAMES = ["visits", "age", "plan"]
REFERENCES = ["habits:visits", "profile:age", "profile:plan"]
CUSTOMERS = {1: (3.5, 41, "basic"), 2: (-0.25, 18, "plus"), 3: (None, 90, "basic")}


@dataclass(frozen=True)
class Shop:
    root: Path
    gateway: Gateway

    @property
    def repository(self) -> Path:
        return self.root / ".penstock" / "feast"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, champion: Path) -> Iterator[Shop]:
    """A project whose features are in its online store, and a gateway that reads them."""
    root = tmp_path_factory.mktemp("shop")
    (root / "penstock.toml").write_text('[project]\nname = "shop"\n')
    (root / "features.py").write_text(FEATURES)
    (root / "profiles").mkdir()
    seen = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)
    columns = list(zip(*CUSTOMERS.values(), strict=True))
    found = pa.table(
        {
            "customer_id": pa.array([*CUSTOMERS], pa.int64()),
            "seen_at": pa.array([seen] * len(CUSTOMERS), pa.timestamp("us", "UTC")),
            "visits": pa.array(columns[0], pa.float64()),
            "age": pa.array(columns[1], pa.int64()),
            "plan": pa.array(columns[2], pa.string()),
        }
    )
    pq.write_table(found, root / "profiles" / "1.parquet")
    gateway = serving_by_key(root, champion, NAMES)
    yield Shop(root, gateway)
    gateway.stop()


@pytest.fixture(scope="module")
def local(shop: Shop) -> Any:
    """The project's own feature store, as Feast opens it."""
    from feast import FeatureStore

    return FeatureStore(repo_path=str(shop.repository))


@pytest.fixture(scope="module")
def remote(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The same repository on another machine, whose online store is the gateway."""
    from feast import FeatureStore

    folder = tmp_path_factory.mktemp("elsewhere")
    config = yaml.safe_load((shop.repository / "feature_store.yaml").read_text())
    config["online_store"] = {"type": "remote", "path": shop.gateway.url}
    registry = dict(config["registry"])
    registry["path"] = str(shop.repository / registry["path"])
    config["registry"] = registry
    (folder / "feature_store.yaml").write_text(yaml.safe_dump(config))
    return FeatureStore(repo_path=str(folder))


def test_predictions_by_key_are_those_of_the_stored_features(shop: Shop, champion: Path) -> None:
    import pandas

    answer = shop.gateway.ask("/predict", {"entities": {"customer_id": [2, 1, 3]}})
    frame = pandas.DataFrame([CUSTOMERS[n] for n in (2, 1, 3)], columns=NAMES)
    expected = load_model(champion, model_digest(champion)).predict(frame)
    assert answer.body["predictions"] == expected.tolist()
    (row, *_) = shop.gateway.rows_of([answer.body["prediction_id"]])
    assert row["event_times"]


@pytest.mark.parametrize("keys", [[1], [3, 1, 2], [1, 1], [1, 999]])
@pytest.mark.parametrize("full", [False, True])
def test_feasts_remote_store_reads_through_the_gateway(
    local: Any, remote: Any, keys: list[int], full: bool
) -> None:
    def read(store: Any, features: Any) -> Any:
        rows = [{"customer_id": key} for key in keys]
        return store.get_online_features(features, rows, full_feature_names=full).to_dict()

    service = local.get_feature_service("churn_v1")
    expected = read(local, REFERENCES)
    assert len(expected) == 4
    assert read(remote, REFERENCES) == expected
    assert read(remote, remote.get_feature_service("churn_v1")) == read(local, service)


BODIES = [
    pytest.param({"features": REFERENCES, "entities": {"customer_id": [1, 2]}}, id="features"),
    pytest.param({"feature_service": "churn_v1", "entities": {"customer_id": [3]}}, id="service"),
    pytest.param({"features": REFERENCES, "entities": {"customer_id": [999]}}, id="unknown"),
    pytest.param(
        {
            "features": REFERENCES,
            "entities": {"customer_id": [1]},
            "full_feature_names": True,
        },
        id="full names",
    ),
]


@pytest.fixture(scope="module")
def feasts(local: Any) -> Iterator[Any]:
    """Feast's own feature server."""
    from feast.feature_server import get_app
    from starlette.testclient import TestClient

    with TestClient(get_app(local), raise_server_exceptions=False) as client:
        yield client


@pytest.mark.parametrize("body", BODIES)
def test_feasts_own_server_answers_alike(shop: Shop, feasts: Any, body: Any) -> None:
    theirs = feasts.post("/get-online-features", json=body)
    assert theirs.status_code == 200
    ours = shop.gateway.ask("/get-online-features", body)
    assert ours.status == 200
    assert ours.body == theirs.json()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"features": ["nobody:age"], "entities": {"customer_id": [1]}}, id="view"),
        pytest.param({"features": ["profile:iq"], "entities": {"customer_id": [1]}}, id="feature"),
        pytest.param({"features": ["age"], "entities": {"customer_id": [1]}}, id="no view"),
        pytest.param({"feature_service": "v9", "entities": {"customer_id": [1]}}, id="service"),
        pytest.param({"features": REFERENCES, "entities": {"shop_id": [1]}}, id="another key"),
        pytest.param({"features": REFERENCES, "entities": {"customer_id": ["x"]}}, id="text"),
        pytest.param({"features": REFERENCES, "entities": {"customer_id": [2**70]}}, id="large"),
        pytest.param({"features": REFERENCES, "entities": {"customer_id": [[1]]}}, id="list"),
        pytest.param({"features": REFERENCES, "entities": {"customer_id": 1}}, id="no list"),
        pytest.param({"features": REFERENCES, "entities": {}}, id="no entity"),
        pytest.param({"features": REFERENCES}, id="no entities"),
        pytest.param({"entities": {"customer_id": [1]}}, id="no features"),
        pytest.param({"features": 5, "entities": {"customer_id": [1]}}, id="no names"),
        pytest.param({"features": [5], "entities": {"customer_id": [1]}}, id="numbers as names"),
        pytest.param([], id="a list"),
        pytest.param(b"{", id="not JSON"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_what_cannot_be_looked_up_is_refused_with_a_reason(shop: Shop, body: Any) -> None:
    answer = shop.gateway.ask("/get-online-features", body)
    assert 400 <= answer.status < 500, answer.raw
    assert answer.body["error"]
    assert "Traceback" not in answer.raw.decode()
    good = {"features": REFERENCES, "entities": {"customer_id": [1]}}
    assert shop.gateway.ask("/get-online-features", good).status == 200


@pytest.mark.parametrize(
    ("keys", "status"),
    [
        pytest.param(["x"], 400, id="text for a number"),
        pytest.param(["1"], 400, id="a number as text"),
        pytest.param([1.5], 400, id="a fraction"),
        pytest.param([None], 400, id="null"),
        pytest.param([10**400], 400, id="too large a number"),
        pytest.param([2**63 - 1], 404, id="the largest"),
        pytest.param([1, 999], 404, id="unknown"),
    ],
)
def test_keys_that_are_none_are_the_clients_fault(shop: Shop, keys: list[Any], status: int) -> None:
    answer = shop.gateway.ask("/predict", {"entities": {"customer_id": keys}})
    assert (answer.status, answer.body["field"]) == (status, "customer_id"), answer.raw
