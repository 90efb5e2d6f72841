"""Nodes and edges in the state database; asked both ways. Nothing is ever taken out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, select, text
from sqlalchemy.dialects import postgresql, sqlite

from penstock.errors import UsageError
from penstock.lineage.edges import edges_of
from penstock.lineage.graph import JUDGES, Edge, Graph, Node
from penstock.records import Record
from penstock.state.tables import lineage_edges, lineage_nodes

MOST = 10_000  # nodes that one question follows
AT_ONCE = 1_000  # keys in one question
SHORTEST = 6  # letters of a digest that is looked up by its beginning

# UNION takes each node once: cycles end, and what is reached on two ways is followed once.
_WALK = """
WITH RECURSIVE walk(key) AS (
  SELECT CAST(:key AS VARCHAR(256))
  UNION
  SELECT edges.{to} FROM walk JOIN lineage_edges AS edges ON edges.{of} = walk.key
)
SELECT key FROM walk LIMIT {most}
"""


def record_step(engine: Engine, run_id: str, record: Record, inputs: Mapping[str, str]) -> None:
    """Remembers what a step's result rests on. May be repeated."""
    record_graph(engine, edges_of(record, inputs, run_id))


def record_graph(engine: Engine, graph: Graph) -> None:
    """Adds what is not there yet, in one transaction. A label that was not known is filled in."""
    if not graph.nodes:
        return
    insert: Any = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
    nodes = insert(lineage_nodes)
    named = nodes.on_conflict_do_update(
        index_elements=["key"],
        set_={"label": nodes.excluded.label},
        where=(lineage_nodes.c.label == "") & (nodes.excluded.label != ""),
    )
    # In one order, whoever writes: then of two writers one waits, and they never lock each other.
    with engine.begin() as connection:
        connection.execute(named, [node._asdict() for node in sorted(graph.nodes.values())])
        if graph.edges:
            edges = insert(lineage_edges).on_conflict_do_nothing()
            connection.execute(edges, [edge._asdict() for edge in sorted(graph.edges)])


def upstream(engine: Engine, key: str) -> Graph:
    """All that a fact rests on, and itself."""
    return _walked(engine, key, of="child", to="parent")


def downstream(engine: Engine, key: str) -> Graph:
    """All that rests on a fact, and itself; 10,000 nodes at most."""
    return _walked(engine, key, of="parent", to="child")


def judging(engine: Engine, keys: Iterable[str]) -> Graph:
    """The reports about some facts: of data gates, model gates and integration tests."""
    about = lineage_edges.c.parent.in_(list(keys)) & (lineage_edges.c.relation == JUDGES)
    with engine.connect() as connection:
        _by_index(connection)
        edges = [Edge(*row) for row in connection.execute(select(lineage_edges).where(about))]
        among = lineage_nodes.c.key.in_([edge.child for edge in edges])
        nodes = [Node(*row) for row in connection.execute(select(lineage_nodes).where(among))]
    return Graph.of(nodes, edges)


def find(engine: Engine, name: str) -> Node:
    """The fact of a key, of the beginning of one, or of a file's name.

    Raises `UsageError` where there is none, or more than one.
    """
    key, label = lineage_nodes.c.key, lineage_nodes.c.label
    questions = [key == name, label == name]
    if len(name) >= SHORTEST:
        # A range: an index on text answers it on either database, whatever the collation.
        questions.insert(1, key.between(name, f"{name}g") & key.startswith(name, autoescape=True))
    with engine.connect() as connection:
        for question in questions:
            query = select(lineage_nodes).where(question).limit(5)
            found = [Node(*row) for row in connection.execute(query)]
            if len(found) > 1:
                raise _ambiguous(name, found)
            if found:
                return found[0]
    raise UsageError(
        f"nothing of the digest or name {name!r} is known",
        hint="`penstock trace` and `penstock data list` show digests; what ran before lineage was "
        "kept is added by `penstock lineage rebuild`",
    )


def _walked(engine: Engine, key: str, *, of: str, to: str) -> Graph:
    """Nodes and edges are asked for by their keys: PostgreSQL takes every walk for a long one, and
    would read all of them to join some.
    """
    walk = text(_WALK.format(of=of, to=to, most=MOST))
    with engine.connect() as connection:
        _by_index(connection)
        keys = [row.key for row in connection.execute(walk, {"key": key})]
        nodes, edges = set[Node](), set[Edge]()
        for first in range(0, len(keys), AT_ONCE):
            some = keys[first : first + AT_ONCE]
            named = select(lineage_nodes).where(lineage_nodes.c.key.in_(some))
            leading = select(lineage_edges).where(lineage_edges.c[of].in_(some))
            nodes.update(Node(*row) for row in connection.execute(named))
            edges.update(Edge(*row) for row in connection.execute(leading))
    known = {node.key for node in nodes}
    return Graph.of(nodes, (one for one in edges if {one.child, one.parent} <= known))


def _by_index(connection: Connection) -> None:
    """For the rest of the transaction. A million edges that PostgreSQL has not counted yet are few
    to it, and it would read them all at each step.
    """
    if connection.dialect.name == "postgresql":
        for way in ("seqscan", "hashjoin", "mergejoin"):
            connection.execute(text(f"SET LOCAL enable_{way} = off"))


def _ambiguous(name: str, found: Sequence[Node]) -> UsageError:
    listed = ", ".join(f"{one.kind} {one.key[:12]} ({one.label})" for one in found)
    return UsageError(f"{name!r} may be {listed}", hint="give more of the digest, or its whole")
