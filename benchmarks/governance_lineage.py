"""The lineage rows of `make bench-governance`: questions among a million edges."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from side_by_side import Row, row
from sqlalchemy import Engine, insert

from penstock.lineage.graph import MADE_FROM
from penstock.lineage.origin import origin_of
from penstock.lineage.store import downstream
from penstock.state.tables import lineage_edges, lineage_nodes

MODELS = 50_000
PARENTS = 20  # of each model: a training set, and what that was made from, shared by some
ASKED = 50


def lineage_rows(name: str, engine: Engine) -> list[Row]:
    """From models up to what they rest on, and from a file down to what rests on it."""
    filled(engine)
    dice = random.Random(1)
    models = [f"m{dice.randrange(MODELS):063d}" for _ in range(ASKED)]
    files = [f"f{dice.randrange(MODELS):063d}" for _ in range(ASKED)]
    among = f"among {MODELS * PARENTS:,} edges, {name}"
    return [
        asked(f"all that a model rests on, with gates and entries, {among}; 50 ms", [
            lambda one=one: origin_of(engine, one, "churn@3") for one in models
        ]),
        asked(f"all that rests on a file, {among}; 50 ms", [
            lambda one=one: downstream(engine, one) for one in files
        ]),
    ]  # fmt: skip


def asked(work: str, questions: list[Callable[[], object]]) -> Row:
    """The median of the questions, each asked once."""
    seconds = []
    for question in questions:
        begun = time.perf_counter()
        question()
        seconds.append(time.perf_counter() - begun)
    median = sorted(seconds)[len(seconds) // 2]
    return row(work, median, 0.05, median / 0.05, 1.0)


def filled(engine: Engine) -> None:
    """Models, each of a training set of its own, made from files that others are made from too."""
    dice = random.Random(2)
    kinds = {"m": "model", "t": "training set", "f": "file"}
    with engine.begin() as connection:
        for letter, kind in kinds.items():
            nodes = [
                {"key": f"{letter}{number:063d}", "kind": kind, "label": f"{kind} {number}"}
                for number in range(MODELS)
            ]
            connection.execute(insert(lineage_nodes), nodes)
        for number in range(MODELS):
            made = f"t{number:063d}"
            edges = {(f"m{number:063d}", made)}
            while len(edges) < PARENTS:
                edges.add((made, f"f{dice.randrange(MODELS):063d}"))
            rows = [{"child": a, "parent": b, "relation": MADE_FROM} for a, b in edges]
            connection.execute(insert(lineage_edges), rows)
