"""What lineage is made of: facts as nodes, named by their content, and edges to their parents.

A node's key is the digest of its content wherever it has one; of a version in the registry it is
NAME@VERSION, and of a run its id. So the same bytes are the same node, whoever made them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

Kind = Literal[
    "version",  # of a model, in the registry
    "model",  # its files
    "training set",
    "dataset",
    "definitions",  # of features
    "file",  # a source file
    "code",
    "parameters",
    "run",
    "MLflow run",
    "data report",
    "model report",
    "integration report",
]

MADE_FROM, MADE_BY, JUDGES = "made from", "made by", "judges"


class Node(NamedTuple):
    """A fact."""

    key: str
    kind: Kind
    label: str  # for people: churn@3, 100,465 rows of events


class Edge(NamedTuple):
    """`child` rests on `parent`; a report is the child of what it judges."""

    child: str
    parent: str
    relation: str


@dataclass(frozen=True)
class Graph:
    """Some nodes and the edges among them."""

    nodes: Mapping[str, Node] = field(default_factory=dict)
    edges: tuple[Edge, ...] = ()

    @classmethod
    def of(cls, nodes: Iterable[Node], edges: Iterable[Edge]) -> Graph:
        """Each edge once, in their order."""
        return cls({node.key: node for node in nodes}, tuple(dict.fromkeys(edges)))

    def parents(self, key: str) -> list[tuple[str, Node]]:
        """The relation to each parent, and the parent."""
        return self._parents[key]

    def children(self, key: str) -> list[tuple[str, Node]]:
        return self._children[key]

    def of_kind(self, *kinds: Kind) -> Sequence[Node]:
        return [node for node in self.nodes.values() if node.kind in kinds]

    @cached_property
    def _parents(self) -> Mapping[str, list[tuple[str, Node]]]:
        found = defaultdict[str, list[tuple[str, Node]]](list)
        for child, parent, relation in self.edges:
            found[child].append((relation, self.nodes[parent]))
        return found

    @cached_property
    def _children(self) -> Mapping[str, list[tuple[str, Node]]]:
        found = defaultdict[str, list[tuple[str, Node]]](list)
        for child, parent, relation in self.edges:
            found[parent].append((relation, self.nodes[child]))
        return found
