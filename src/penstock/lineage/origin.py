"""Where a model comes from: what it was made of, what judged it on the way, and who agreed."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine

from penstock.audit.entries import Entry
from penstock.audit.selection import entries_about
from penstock.lineage import store
from penstock.lineage.graph import Graph
from penstock.records import DatasetVersion, from_json
from penstock.state.cache import StepCache


@dataclass(frozen=True)
class Origin:
    """Everything behind a model; an empty graph where nothing of it is known."""

    digest: str  # of the model's files
    label: str  # NAME@VERSION
    graph: Graph  # upwards from the model
    gates: Graph  # reports about what is in `graph`
    entries: tuple[Entry, ...]  # of the ledger, about the model and its version, oldest first


def origin_of(engine: Engine, digest: str, label: str) -> Origin:
    """What is known of a model's files, and of the version that they were registered as."""
    graph = store.upstream(engine, digest)
    gates = store.judging(engine, graph.nodes)
    return Origin(digest, label, graph, gates, tuple(entries_about(engine, {digest}, {label})))


def dataset_of(engine: Engine, digest: str) -> DatasetVersion | None:
    """The dataset version of a digest, where a run of this project extracted it."""
    for entry in StepCache(engine).all("extract_data"):
        if entry.record.get("digest") == digest:
            record = from_json(entry.record)
            return record if isinstance(record, DatasetVersion) else None
    return None
