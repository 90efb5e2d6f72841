"""Feast's own tools on what `penstock features apply` made: SDK, command line, server and UI; and
Penstock's on a repository of Feast's own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from penstock.cli.main import run

pytestmark = pytest.mark.slow

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)
FEATURES = '''
from penstock.features import (
    Aggregate, BatchSource, Entity, FeatureService, FeatureView, RequestSource,
    batch_feature_view, on_demand_feature_view,
)

customer = Entity("customer", join_keys=["customer_id"], description="Who buys")
orders = BatchSource("orders", path="orders.parquet", timestamp="ordered_at")
basket = RequestSource("basket", schema={"basket_usd": "float64"})


@batch_feature_view(
    source=orders,
    entities=[customer],
    aggregates=[
        Aggregate("usd", "sum", window="1d"),
        Aggregate("usd", "sum", window="7d"),
        Aggregate("*", "count", window="7d", name="orders_7d"),
        Aggregate("product", "last_distinct(2)", window="7d", name="last_products"),
    ],
    owner="growth",
    tags={"tier": "gold"},
)
def spending(orders):
    """What a customer spends"""
    return f"SELECT customer_id, ordered_at, cents / 100 AS usd, product FROM {orders}"


membership = FeatureView(
    "membership", source=orders, entities=[customer], features=["plan"], ttl="30d"
)


@on_demand_feature_view(sources=[spending, basket], schema={"share_of_week": "float64"})
def share(rows):
    return rows.assign(share_of_week=rows.basket_usd / rows.usd_sum_7d)[["share_of_week"]]


shop_v1 = FeatureService("shop_v1", features=[spending, membership[["plan"]], share])
'''
# Of each customer, so many hours ago: cents, product, plan.
ORDERS = {2: (200, "c", "plus"), 12: (100, "a", "basic"), 36: (50, "a", "plus"), 200: (7, "z", "x")}
CUSTOMERS = range(1, 9)  # each test that pushes takes one of its own
EXPECTED = {
    "usd_sum_1d": 3.0,  # 2 + 1
    "usd_sum_7d": 3.5,  # and 0.50
    "orders_7d": 3,
    "last_products": ["c", "a"],
    "plan": "plus",
    "share_of_week": 2.0,  # a basket of 7
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose features are applied and materialised."""
    root = tmp_path_factory.mktemp("shop")
    (root / "penstock.toml").write_text('[project]\nname = "shop"\n')
    (root / "features.py").write_text(FEATURES)
    rows = [(c, NOW - hours * HOUR, *order) for c in CUSTOMERS for hours, order in ORDERS.items()]
    names = ["customer_id", "ordered_at", "cents", "product", "plan"]
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    columns["ordered_at"] = pa.array(columns["ordered_at"], pa.timestamp("us", "UTC"))
    pq.write_table(pa.table(columns), root / "orders.parquet")
    penstock(root, "features", "apply")
    penstock(root, "features", "materialize")
    return root


def penstock(root: Path, *arguments: str) -> None:
    """A command in this process, which forgets the project's modules afterwards."""
    try:
        assert run([*arguments, "--project", str(root)]) == 0
    finally:
        sys.modules.pop("features", None)
        sys.path[:] = [path for path in sys.path if path != str(root)]


@pytest.fixture
def store(root: Path) -> Iterator[Any]:
    """As someone opens it who knows Feast only, in the project's folder."""
    from feast import FeatureStore

    with chdir(root):
        yield FeatureStore(repo_path=".penstock/feast")


def served(store: Any, customer: int, basket_usd: float = 7.0) -> dict[str, Any]:
    service = store.get_feature_service("shop_v1")
    row = {"customer_id": customer, "basket_usd": basket_usd}
    answer = store.get_online_features(service, [row]).to_dict()
    return {name: answer[name][0] for name in EXPECTED}


def test_feast_lists_what_is_declared(store: Any) -> None:
    views = {view.name: view for view in store.list_feature_views()}
    assert {"spending", "membership"} <= set(views)
    spending = views["spending"]
    assert (spending.owner, spending.description) == ("growth", "What a customer spends")
    assert spending.tags["tier"] == "gold"
    assert spending.join_keys == ["customer_id"]
    assert {f.name: str(f.dtype) for f in spending.features} == {
        "usd_sum_1d": "Float64",
        "usd_sum_7d": "Float64",
        "orders_7d": "Int64",
        "last_products": "Array(String)",
    }
    assert views["membership"].ttl == timedelta(days=30)
    assert store.get_entity("customer").description == "Who buys"
    assert [view.name for view in store.list_on_demand_feature_views()] == ["share"]
    assert {s.name for s in store.list_data_sources()} == {"orders", "orders_push", "basket"}
    assert [service.name for service in store.list_feature_services()] == ["shop_v1"]


def test_feast_gives_training_sets_for_a_frame_and_for_a_query(store: Any) -> None:
    service = store.get_feature_service("shop_v1")
    asked = pd.DataFrame(
        {
            "customer_id": [2, 1, 99, 1],
            "event_timestamp": [NOW, NOW - 20 * HOUR, NOW, NOW],
            "basket_usd": [7.0] * 4,
        }
    )
    found = store.get_historical_features(asked, service).to_df()
    assert found["customer_id"].tolist() == [2, 1, 99, 1]
    for row in (0, 3):
        values = found.loc[row, list(EXPECTED)].to_dict()
        assert values | {"last_products": list(values["last_products"])} == EXPECTED
    assert found["usd_sum_1d"].tolist() == [3.0, 0.5, 0.0, 3.0]
    assert found["plan"].fillna("–").tolist() == ["plus", "plus", "–", "plus"]

    query = f"SELECT 1 AS customer_id, TIMESTAMPTZ '{NOW}' AS event_timestamp, 7.0 AS basket_usd"
    [row] = store.get_historical_features(query, service).to_arrow().to_pylist()
    assert {name: row[name] for name in EXPECTED} == EXPECTED

    full = store.get_historical_features(asked, ["spending:orders_7d"], full_feature_names=True)
    assert full.to_df()["spending__orders_7d"].tolist() == [3, 1, 0, 3]


def test_feast_serves_what_the_training_set_has(store: Any) -> None:
    assert served(store, 1) == EXPECTED


FIRST_READ = """
import sys
from feast import FeatureStore
store = FeatureStore(repo_path=".penstock/feast")
row = {"customer_id": 1, "basket_usd": 7.0}
store.get_online_features(store.get_feature_service("shop_v1"), [row])
print(*sorted({"aiobotocore", "psycopg"} & set(sys.modules)))
"""


def test_nobody_waits_at_the_first_read_for_stores_that_are_not_used(root: Path) -> None:
    command = [sys.executable, "-c", FIRST_READ]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_what_feast_pushes_counts_at_once_in_every_view(store: Any) -> None:
    store.push("orders_push", pd.DataFrame([order(2)]))
    assert served(store, 2, 13.5) == AFTER_A_PUSH


def order(customer: int) -> dict[str, Any]:
    columns = {"ordered_at": datetime.now(UTC), "cents": 1000, "product": "new", "plan": "gold"}
    return {"customer_id": customer, **columns}


AFTER_A_PUSH = {
    "usd_sum_1d": 13.0,
    "usd_sum_7d": 13.5,
    "orders_7d": 4,
    "last_products": ["new", "c"],
    "plan": "gold",
    "share_of_week": 1.0,
}


FEAST = [str(Path(sys.executable).with_name("feast")), "-c", ".penstock/feast"]
ENVIRONMENT = {**os.environ, "FEAST_USAGE": "False", "PYTHONWARNINGS": "ignore"}


def feast(root: Path, *arguments: str) -> str:
    """What `feast` prints, called in this process, which has imported what takes it seconds."""
    from click.testing import CliRunner
    from feast.cli.cli import cli

    path, modules = [*sys.path], {*sys.modules}
    with chdir(root):
        done = CliRunner().invoke(cli, [*FEAST[1:], *arguments])
    sys.path[:] = path
    for name in {*sys.modules} - modules:
        if str(root) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def registered(store: Any) -> dict[str, Any]:
    """All that the registry says, without the times at which it was written."""
    store.refresh_registry()
    found: dict[str, Any] = without_times(store.registry.to_dict(store.project))
    return found


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        about = {"createdTimestamp", "lastUpdatedTimestamp", "versionId", "lastUpdated"}
        return {key: without_times(one) for key, one in value.items() if key not in about}
    return [without_times(one) for one in value] if isinstance(value, list) else value


def test_feast_s_command_line_lists_plans_and_applies_and_leaves_all_as_it_is(
    root: Path, store: Any
) -> None:
    before, values = registered(store), served(store, 3)
    listed, planned = feast(root, "feature-views", "list"), feast(root, "plan")
    for name in ("spending", "membership", "share"):
        assert name in listed
    assert "Created" not in planned
    assert "Deleted" not in planned
    assert "No changes to infrastructure" in planned

    feast(root, "apply")
    assert registered(store) == before
    assert served(store, 3) == values == EXPECTED


def test_feast_s_command_line_materialises_what_is_new(root: Path, store: Any) -> None:
    file = root / "orders.parquet"
    rows = pq.read_table(file)
    new = pa.Table.from_pylist([order(4)], rows.schema)
    pq.write_table(pa.concat_tables([rows, new]), file)
    end = datetime.now(UTC) + timedelta(seconds=1)
    feast(root, "materialize-incremental", f"{end:%Y-%m-%dT%H:%M:%S.%f}")
    assert served(store, 4, 13.5) == AFTER_A_PUSH
    assert served(store, 5) == EXPECTED


@contextmanager
def running(root: Path, *arguments: str, health: str) -> Iterator[str]:
    """The address of a server of Feast's, once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [*FEAST, *arguments, "--host", "127.0.0.1", "--port", str(port)]
    log = root / f"{arguments[0]}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=root, env=ENVIRONMENT, stdout=output, stderr=subprocess.STDOUT
        )
    url = f"http://127.0.0.1:{port}"
    try:
        while not answers(url + health):
            assert process.poll() is None, log.read_text()
            time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait()


def answers(url: str) -> bool:
    try:
        ask(url)
    except OSError:
        return False
    return True


def ask(url: str, document: Any = None) -> str:
    body = None if document is None else json.dumps(document, default=str).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return str(answer.read().decode())


def test_feast_s_server_serves_and_takes_events_that_count_within_a_second(root: Path) -> None:
    def vector(basket_usd: float) -> dict[str, Any]:
        asked = {"customer_id": [6], "basket_usd": [basket_usd]}
        document = {"feature_service": "shop_v1", "entities": asked}
        answer = json.loads(ask(f"{url}/get-online-features", document))
        names = answer["metadata"]["feature_names"]
        found = {n: r["values"][0] for n, r in zip(names, answer["results"], strict=True)}
        return {name: found[name] for name in EXPECTED}

    with running(root, "serve", health="/health") as url:
        assert vector(7.0) == EXPECTED
        columns = {name: [value] for name, value in order(6).items()}
        document = {"push_source_name": "orders_push", "df": columns, "to": "online"}
        ask(f"{url}/push", document)
        pushed = time.monotonic()
        while (found := vector(13.5)) != AFTER_A_PUSH and time.monotonic() < pushed + 1:
            pass
        assert found == AFTER_A_PUSH


def test_feast_s_ui_shows_the_registry(root: Path) -> None:
    pytest.importorskip("grpc_health", reason="`feast ui` of 0.67 needs feast[grpcio]")
    with running(root, "ui", health="/") as url:
        assert "<title>Feast Feature Store</title>" in ask(url)
        [project] = json.loads(ask(f"{url}/projects-list.json"))["projects"]
        assert project["id"] == "shop"
        views = json.loads(ask(f"{url}/api/v1/feature_views?project=shop"))["featureViews"]
        by_name = {view["spec"]["name"]: view["spec"] for view in views}
        assert by_name["spending"]["owner"] == "growth"
        features = [feature["name"] for feature in by_name["spending"]["features"]]
        assert features == list(EXPECTED)[:4]


PLAIN_CONFIG = """\
project: plain
provider: local
registry: data/registry.db
offline_store: {type: dask}
online_store: {type: sqlite, path: data/online.db}
entity_key_serialization_version: 3
"""
PLAIN = """
from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Float64, Int64

driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
trips_source = FileSource(name="trips_source", path="data/trips.parquet", timestamp_field="at")
trips = FeatureView(
    name="trips",
    entities=[driver],
    ttl=timedelta(days=1),
    schema=[Field(name="count", dtype=Int64), Field(name="rating", dtype=Float64)],
    source=trips_source,
)
drivers = FeatureService(name="drivers", features=[trips])
"""


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A Feast repository as teams have them, applied by Feast; and two lines of penstock.toml."""
    (tmp_path / "data").mkdir()
    (tmp_path / "feature_store.yaml").write_text(PLAIN_CONFIG)
    (tmp_path / "features.py").write_text(PLAIN)
    times = pa.array([NOW - 40 * HOUR, NOW - HOUR, NOW - HOUR], pa.timestamp("us", "UTC"))
    rows = {"driver_id": [1, 1, 2], "at": times, "count": [1, 2, 9], "rating": [4.0, 4.5, 3.0]}
    pq.write_table(pa.table(rows), tmp_path / "data" / "trips.parquet")
    feast_apply(tmp_path)
    (tmp_path / "penstock.toml").write_text('[project]\nname = "plain"\n')
    return tmp_path


def feast_apply(folder: Path) -> None:
    from feast import FeatureStore

    objects: dict[str, Any] = {}
    exec(PLAIN, objects)
    kept = [objects[name] for name in ("driver", "trips_source", "trips", "drivers")]
    FeatureStore(repo_path=str(folder)).apply(kept)


def files(folder: Path) -> dict[str, bytes]:
    """All but what Python keeps for itself, Feast's own two databases, and Penstock's state."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    kept = (p for p in found if p.suffix not in (".pyc", ".db") and p.name != "state.lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in kept}


def test_a_repository_of_feast_s_own_is_used_as_it_is(
    plain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(plain)
    capsys.readouterr()
    penstock(plain, "features", "list", "--json")
    [trips] = json.loads(capsys.readouterr().out)
    assert (trips["name"], trips["services"]) == ("trips", ["drivers"])
    for command in ("show trips", "freshness", "lineage trips.rating", "materialize", "apply"):
        penstock(plain, "features", *command.split())
    assert files(plain) == before

    from feast import FeatureStore

    store = FeatureStore(repo_path=str(plain))
    assert type(store._get_provider().online_store).__name__ == "SqliteOnlineStore"
    answer = store.get_online_features(
        store.get_feature_service("drivers"), {"driver_id": [1, 2, 3]}
    ).to_dict()
    assert answer == {"driver_id": [1, 2, 3], "count": [2, 9, None], "rating": [4.5, 3.0, None]}

    query = f"""
        SELECT unnest([2, 1, 7, 1]) AS driver_id,
               TIMESTAMPTZ '{NOW}' - INTERVAL 39 HOUR AS event_timestamp"""
    output = plain / "training.parquet"
    penstock(plain, "features", "history", query, "--output", str(output))
    assert pq.read_table(output)["rating"].to_pylist() == [None, 4.0, None, 4.0]
    assert files(plain).keys() - before.keys() == {"training.parquet", "training.parquet.json"}
