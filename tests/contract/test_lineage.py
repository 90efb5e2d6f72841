"""Lineage on every database: what is added, and what is asked both ways."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from penstock.errors import UsageError
from penstock.lineage import store
from penstock.lineage.graph import MADE_FROM, Edge, Graph, Node
from penstock.lineage.origin import origin_of
from penstock.lineage.rebuild import rebuild
from penstock.records import (
    Check,
    Column,
    DataReport,
    DatasetVersion,
    FeatureSet,
    ModelReport,
    ModelVersion,
    Record,
    TrainedModel,
    digest_of,
    to_json,
)
from penstock.serving.routing.standing import parts_of, serving
from penstock.serving.routing.table import RoutingTable
from penstock.state.cache import CacheEntry, StepCache

NOW = datetime(2026, 3, 1, tzinfo=UTC)
DATA, SET, MODEL, CODE, FILE, MEANING = (letter * 64 for letter in "abcdef")
COLUMN = Column(name="id", type="int64")
HOLDS = Check(name="rows", passed=True, observed="5", expected="> 0")
DATASET = DatasetVersion(
    name="events", path="data/events.parquet", digest=DATA, dvc_md5="", remote="", rows=5,
    columns=(COLUMN,), first_event=None, last_event=None,
)  # fmt: skip
TRAINING_SET = FeatureSet(
    path="set.parquet", digest=SET, rows=3, features=(COLUMN,), entity_keys=("id",), timestamp="at",
    label="label", service="shop_v1", definitions=MEANING, dataset=DATA, online_until=None,
)  # fmt: skip
TRAINED = TrainedModel(
    path="model", digest=MODEL, flavor="sklearn", features=(COLUMN,), params={"depth": 3},
    metrics={}, seed=1, holdout="", mlflow_run_id="mlflow-1", training_set=SET, code=CODE,
)  # fmt: skip
VERSION = ModelVersion(
    name="shop", version=1, digest=MODEL, source="", mlflow_run_id="mlflow-1", digests={}
)
STEPS: list[tuple[Record, dict[str, str]]] = [
    (DATASET, {"file raw/purchases.csv": FILE, "penstock": "1.0", "param rows": "5"}),
    (DataReport(subject=DATA, checks=(HOLDS,), suites=("events",)), {"file suite.json": CODE}),
    (TRAINING_SET, {"setting features.service": '"shop_v1"'}),
    (TRAINED, {"code pipeline.py:train": CODE}),
    (ModelReport(subject=MODEL, checks=(HOLDS,), metrics={}, rows=2), {}),
    (VERSION, {}),
]


def kinds(graph: Graph) -> set[str]:
    return {node.kind for node in graph.nodes.values()}


@pytest.fixture
def steps(database: Engine) -> Engine:
    """Everything is told twice, and backwards."""
    for record, inputs in [*STEPS, *reversed(STEPS)]:
        store.record_step(database, "run-1", record, inputs)
    return database


def test_a_model_is_traced_to_the_file_that_it_learned_from(steps: Engine) -> None:
    found = origin_of(steps, MODEL, "shop@1")
    assert kinds(found.graph) == {
        *("model", "training set", "dataset", "definitions", "file", "code", "parameters"),
        *("run", "MLflow run"),
    }
    (file,) = found.graph.of_kind("file")
    assert (file.key, file.label) == (FILE, "raw/purchases.csv")
    assert {node.kind for node in found.gates.nodes.values()} == {"data report", "model report"}
    # A label that a later step did not know stays as the step that made it said.
    assert found.graph.nodes[DATA].label == "events: 5 rows"


@pytest.mark.parametrize("name", [FILE, "eeeeee", "raw/purchases.csv"])
def test_the_impact_of_a_file_is_the_version_that_rests_on_it(steps: Engine, name: str) -> None:
    found = store.downstream(steps, store.find(steps, name).key)
    assert [node.key for node in found.of_kind("version")] == ["shop@1"]
    assert serving(steps) == []


def test_what_is_not_known_and_what_is_ambiguous_are_refused(steps: Engine) -> None:
    other = Node("eeeeee" + "0" * 58, "file", "another.csv")
    store.record_graph(steps, Graph.of([other], []))
    with pytest.raises(UsageError, match=r"may be .*another\.csv"):
        store.find(steps, "eeeeee")
    for unknown in ("eee", "%%%%%%", "nothing", ""):
        with pytest.raises(UsageError, match="nothing of the digest or name"):
            store.find(steps, unknown)


def test_what_has_no_digest_is_no_fact_and_nothing_rests_on_itself(database: Engine) -> None:
    """Of a project without features, whose training set has the bytes of its dataset."""
    plain = TRAINING_SET.model_copy(update={"definitions": "", "digest": DATA})
    for record, inputs in ((DATASET, STEPS[0][1]), (plain, {})):
        store.record_step(database, "run-1", record, inputs)
    found = store.upstream(database, DATA)
    assert "" not in found.nodes
    assert all(edge.child != edge.parent for edge in found.edges)


def test_it_is_rebuilt_from_the_cache(database: Engine) -> None:
    cache = StepCache(database)
    for number, (record, inputs) in enumerate(STEPS):
        cache.put(CacheEntry(f"step{number}", "key", inputs, to_json(record), "run-1", NOW))
    cache.put(CacheEntry("old", "key", {}, {"kind": "Forgotten"}, "run-0", NOW))
    assert rebuild(database) == (len(STEPS), 1)
    assert kinds(store.upstream(database, MODEL)) >= {"file", "run"}


def test_what_serves_is_read_from_the_routing_tables() -> None:
    spec = {"endpoint": "production", "model": "shop@1", "digest": MODEL, "path": "/m"}
    names = ("r1", "r2", "r3", "r4")
    table = {
        "endpoint": "production",
        "champion": "r1",
        "arms": [{"name": "canary", "release": "r2"}],
        "mirror": {"release": "r3"},
        "releases": {name: {"id": name, "replicas": 1, **spec} for name in names},
    }
    parts = [one.part for one in parts_of(RoutingTable.model_validate(table))]
    assert parts == ["champion", "canary", "shadow", "loaded"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pairs=st.sets(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=20))
def test_both_ways_are_the_closures_of_the_edges(
    database: Engine, pairs: set[tuple[int, int]]
) -> None:
    """Cycles, and edges to oneself, among them."""
    world = digest_of(sorted(pairs))
    name = [f"{world}-{number}" for number in range(7)]
    edges = {Edge(name[a], name[b], MADE_FROM) for a, b in pairs}
    store.record_graph(database, Graph.of((Node(one, "file", "") for one in name), edges))
    up, down = {name[0]}, {name[0]}
    for _ in name:
        up |= {edge.parent for edge in edges if edge.child in up}
        down |= {edge.child for edge in edges if edge.parent in down}
    assert set(store.upstream(database, name[0]).nodes) == up
    assert set(store.downstream(database, name[0]).nodes) == down
