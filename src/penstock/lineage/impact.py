"""What came of a fact: what was made from it, and what of that is serving now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Engine

from penstock.lineage import store
from penstock.lineage.graph import Graph, Node
from penstock.state import routes


class Serving(NamedTuple):
    """A release that a routing table holds."""

    endpoint: str
    release: str
    model: str  # NAME@VERSION
    digest: str
    part: str  # champion, shadow, the name of an arm; loaded: it has no traffic


@dataclass(frozen=True)
class Impact:
    fact: Node
    graph: Graph  # downwards from the fact
    serving: tuple[Serving, ...]


def impact_of(engine: Engine, fact: Node) -> Impact:
    graph = store.downstream(engine, fact.key)
    models = {node.key for node in graph.of_kind("model")}
    tables = ((endpoint, found.document) for endpoint, found in routes.endpoints(engine))
    return Impact(fact, graph, tuple(one for one in served(tables) if one.digest in models))


def served(tables: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterator[Serving]:
    """All releases of some endpoints' routing tables, and what each is there for."""
    for endpoint, table in tables:
        parts = {table["champion"]: "champion"}
        parts |= {arm["release"]: arm["name"] for arm in table.get("arms", ())}
        if mirror := table.get("mirror"):
            parts[mirror["release"]] = "shadow"
        for name, release in table["releases"].items():
            part = parts.get(name, "loaded")
            yield Serving(endpoint, name, release["model"], release["digest"], part)
