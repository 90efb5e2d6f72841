"""What a step's result rests on: a pure function of the record, and of the inputs by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from penstock.lineage.graph import JUDGES, MADE_BY, MADE_FROM, Edge, Graph, Kind, Node
from penstock.records import (
    DataReport,
    DatasetVersion,
    FeatureSet,
    GateReport,
    IntegrationReport,
    ModelReport,
    ModelVersion,
    Record,
    TrainedModel,
    digest_of,
)

# Of the inputs of a step, what is a fact of its own: by the beginning of its name.
INPUTS: dict[str, Kind] = {"file ": "file", "code ": "code"}
REPORTS: dict[type[GateReport], Kind] = {
    DataReport: "data report",
    ModelReport: "model report",
    IntegrationReport: "integration report",
}


def edges_of(record: Record, inputs: Mapping[str, str], run_id: str) -> Graph:
    """The record as a node, with all that it rests on. Empty for what nothing is made from.

    `inputs` are those of the step, as the cache has them: name → digest or short value.
    """
    made = _node(record)
    if made is None:
        return Graph()
    parents = [*_parents(record), (MADE_BY, Node(run_id, "run", run_id))]
    if not isinstance(record, GateReport | ModelVersion):
        parents += [(MADE_FROM, node) for node in _inputs(inputs)]
    # What has no digest is not there; and what has the same bytes is the same fact.
    parents = [(relation, node) for relation, node in parents if node.key not in ("", made.key)]
    return Graph.of(
        [made, *(node for _, node in parents)],
        [Edge(made.key, node.key, relation) for relation, node in parents],
    )


def facts_among(records: Iterable[Record], inputs: Mapping[str, str]) -> list[Node]:
    """The facts that a step takes, whether anything comes of it or not."""
    return [*filter(None, map(_node, records)), *_inputs(inputs)]


def _node(record: Record) -> Node | None:
    match record:
        case DatasetVersion():
            return Node(record.digest, "dataset", f"{record.name}: {record.rows:,} rows")
        case FeatureSet():
            return Node(record.digest, "training set", f"{record.rows:,} rows")
        case TrainedModel():
            return Node(record.digest, "model", record.flavor)
        case ModelVersion():
            return Node(record.label, "version", record.label)
        case GateReport():
            held = sum(check.passed for check in record.checks)
            label = f"{held} of {len(record.checks)} checks hold"
            kind = REPORTS.get(type(record))
            return kind and Node(digest_of(record.model_dump(mode="json")), kind, label)
    return None


def _parents(record: Record) -> Iterator[tuple[str, Node]]:
    """What the record itself names. Labels of what an earlier step made are known already."""
    match record:
        case FeatureSet():
            yield MADE_FROM, Node(record.dataset, "dataset", "")
            yield MADE_FROM, Node(record.definitions, "definitions", record.service or "columns")
        case TrainedModel():
            yield MADE_FROM, Node(record.training_set, "training set", "")
            yield MADE_FROM, Node(record.code, "code", "train()")
            params = digest_of(record.params)
            yield MADE_FROM, Node(params, "parameters", _words(record.params))
            yield MADE_BY, Node(record.mlflow_run_id, "MLflow run", record.mlflow_run_id)
        case ModelVersion():
            yield MADE_FROM, Node(record.digest, "model", "")
        case DataReport():
            yield JUDGES, Node(record.subject, "dataset", "")
        case GateReport():
            yield JUDGES, Node(record.subject, "model", "")


def _inputs(inputs: Mapping[str, str]) -> Iterator[Node]:
    for name, value in inputs.items():
        for beginning, kind in INPUTS.items():
            if name.startswith(beginning) and len(value) == 64:  # a digest
                yield Node(value, kind, name.removeprefix(beginning))


def _words(params: Mapping[str, object]) -> str:
    shown = ", ".join(f"{name}={value}" for name, value in sorted(params.items()))
    return shown if len(shown) <= 120 else f"{shown[:117]}…"
