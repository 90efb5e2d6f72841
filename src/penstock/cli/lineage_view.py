"""How lineage is shown: trees for people, documents for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from penstock.audit.entries import Entry
from penstock.cli.output import moment
from penstock.features.behind import Behind
from penstock.lineage.graph import MADE_BY, Graph, Node
from penstock.lineage.origin import Origin
from penstock.serving.routing.standing import Serving

Children = Callable[[str], list[tuple[str, Node]]]
SHOWN_ROWS = 10  # of each view's, the newest


def trace_lines(
    prediction: dict[str, Any], origin: Origin, behind: Sequence[Behind]
) -> Iterator[str]:
    """From the answer up to the files, with what judged each on the way."""
    yield f"prediction {prediction['prediction_id']} of {moment(prediction['arrived_at'])}"
    yield f"├ {_answer(prediction)}"
    yield f"├ served by {prediction['endpoint']}, release {prediction['release'] or '–'}, arm " + (
        prediction["arm"] or "–"
    )
    for entry in origin.entries:
        yield f"├ {_told(entry, origin.label)}"
    yield f"└ {_model(origin)}"
    for line in _tree(origin.digest, _with_gates(origin), {origin.digest}):
        yield f"  {line}"
    for one in behind:
        yield from _rows(one)


def trace_json(
    prediction: dict[str, Any], origin: Origin, behind: Sequence[Behind]
) -> dict[str, Any]:
    return {
        "prediction": prediction,
        "model": {"label": origin.label, "digest": origin.digest},
        "lineage": _graph_json(origin.graph),
        "gates": _graph_json(origin.gates),
        "ledger": [_entry_json(entry) for entry in origin.entries],
        "rows": [
            {
                "view": one.view,
                "source": one.source,
                "since": one.since,
                "count": one.count,
                "rows": one.rows.to_pylist(),
            }
            for one in behind
        ],
    }


def impact_lines(fact: Node, graph: Graph, serving: Sequence[Serving]) -> Iterator[str]:
    """From a fact down to what was made from it, and what of that serves."""
    yield f"{fact.kind} {fact.key[:12]}  {fact.label}".rstrip()
    yield from _tree(fact.key, graph.children, {fact.key})
    if len(graph.nodes) == 1:
        yield "  nothing was made from it"
    yield ""
    if not serving:
        yield "nothing that rests on it is serving now"
    for one in serving:
        yield f"{one.endpoint} serves {one.model} ({one.digest[:12]}) as {one.part}"


def impact_json(fact: Node, graph: Graph, serving: Sequence[Serving]) -> dict[str, Any]:
    return {
        "fact": fact._asdict(),
        "lineage": _graph_json(graph),
        "serving": [one._asdict() for one in serving],
    }


def _tree(key: str, below: Children, seen: set[str]) -> Iterator[str]:
    """Everything below a node, each node's own only where it comes first."""
    children = below(key)
    for number, (relation, node) in enumerate(children, start=1):
        last = number == len(children)
        again = node.key in seen
        mark = "…" if again and below(node.key) else ""
        yield f"{'└' if last else '├'} {_named(relation, node)}{mark}"
        if not again:
            seen.add(node.key)
            for line in _tree(node.key, below, seen):
                yield f"{' ' if last else '│'} {line}"


def _with_gates(origin: Origin) -> Children:
    """What a fact was made from, after the reports about it."""

    def below(key: str) -> list[tuple[str, Node]]:
        return [*origin.gates.children(key), *origin.graph.parents(key)]

    return below


def _named(relation: str, node: Node) -> str:
    if relation == MADE_BY:
        return f"by {node.kind} {node.key}"
    return f"{node.kind} {node.key[:12]}  {node.label}".rstrip()


def _model(origin: Origin) -> str:
    told = f"model {origin.label}  {origin.digest[:12]}"
    known = origin.graph.nodes.get(origin.digest)
    return f"{told}  {known.label}" if known else f"{told}: nothing is known of where it comes from"


def _told(entry: Entry, label: str) -> str:
    what = f"{entry.action} {entry.subject}" if entry.subject != label else entry.action
    reason = f": {entry.reason}" if entry.reason else ""
    return f"#{entry.sequence} {moment(entry.at)} {what} by {entry.actor}{reason}"


def _answer(prediction: dict[str, Any]) -> str:
    keys = ", ".join(f"{name}={value}" for name, value in (prediction["entities"] or {}).items())
    output = prediction["output"]
    answer = "no answer" if output is None else ", ".join(f"{value:.6g}" for value in output)
    return f"{keys or 'no entity key'} → {answer}"


def _rows(one: Behind) -> Iterator[str]:
    since = f" since {moment(one.since)}" if one.since else ""
    yield ""
    yield f"{one.view} rests on {one.count:,} rows of {one.source}{since}"
    shown = one.rows.to_pylist()[-SHOWN_ROWS:]
    if one.count > len(shown):
        yield f"  … {one.count - len(shown):,} before"
    for row in shown:
        yield "  " + ", ".join(f"{name}={value}" for name, value in row.items())


def _graph_json(graph: Graph) -> dict[str, Any]:
    return {
        "nodes": [node._asdict() for node in graph.nodes.values()],
        "edges": [edge._asdict() for edge in graph.edges],
    }


def _entry_json(entry: Entry) -> dict[str, Any]:
    return {
        "sequence": entry.sequence,
        "at": entry.at,
        "action": entry.action,
        "subject": entry.subject,
        "actor": entry.actor,
        "reason": entry.reason,
    }
