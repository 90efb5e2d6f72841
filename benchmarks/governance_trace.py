"""The trace row of `make bench-governance`: one prediction of a million, back to its files.

A project as the churn template makes it: two endpoints whose logs have a month of parts and one
segment that is still written, a ledger, and the lineage of many runs. The command is called as a
user types it, its output thrown away; what is imported, and nothing else, was imported before.
PENSTOCK_BENCH_PREDICTIONS is heeded.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import random
import shutil
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from side_by_side import Row, row, write
from sqlalchemy import Engine

from penstock.audit.ledger import Draft, Ledger, present_actor
from penstock.cli.main import run
from penstock.lineage.graph import MADE_BY, MADE_FROM, Edge, Graph, Node
from penstock.lineage.store import record_graph
from penstock.project import open_project
from penstock.serving.prediction_ids import salt_tag, written
from penstock.serving.prediction_log.columns import SCHEMA
from penstock.serving.prediction_log.rows import Encoder, Names
from penstock.serving.prediction_log.rows import Row as Answer
from penstock.serving.prediction_log.segments import LogFolder, segment_name
from penstock.state import database

PREDICTIONS = int(os.environ.get("PENSTOCK_BENCH_PREDICTIONS", "1000000"))
ENDPOINTS = ("staging", "production")
A_PART = 2_000  # predictions of ten minutes
OPEN = 5_000  # in the segment that is still written
RUNS = 200
ASKED = 20
AIM = 0.2  # seconds
END = datetime(2026, 3, 1, 12, tzinfo=UTC)
FEATURES = tuple(f"{of}_{days}d" for of in ("count", "spending", "mean") for days in (7, 30, 90))


def trace_rows() -> list[Row]:
    """The median of some predictions anywhere in the logs, and of one that was just made."""
    folder = Path(tempfile.mkdtemp(prefix="penstock-trace-"))
    for name in [one for one in os.environ if one.startswith("PENSTOCK_")]:
        del os.environ[name]  # what is meant for benchmarks and tests is no setting of a project
    try:
        root = folder / "churn"
        quietly("init", str(root))
        project = open_project(root)
        lived(database.open_database(project))
        ids = [name for endpoint in ENDPOINTS for name in logged(project.endpoint(endpoint))]
        chosen = random.Random(1).sample(ids, ASKED)
        quietly("trace", ids[0], "--project", str(root))
        seconds = [traced(root, name) for name in (*chosen, ids[-1])]
    finally:
        shutil.rmtree(folder)
    median = statistics.median(seconds)
    work = f"trace of one of {len(ids):,} predictions, end to end; 200 ms"
    return [row(work, median, AIM, median / AIM, 1.0)]


def traced(root: Path, prediction_id: str) -> float:
    database._open.cache_clear()  # each command opens the state anew
    begun = time.perf_counter()
    said = quietly("trace", prediction_id, "--project", str(root))
    seconds = time.perf_counter() - begun
    assert prediction_id in said
    assert "training set" in said
    return seconds


def quietly(*arguments: str) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert run([*arguments]) == 0, said.getvalue()
    return said.getvalue()


def lived(engine: Engine) -> None:
    """What nightly runs leave: lineage, and entries about each version."""
    by = present_actor()
    with Ledger(engine).page() as page:
        for number in range(1, RUNS + 1):
            for action in ("model.registered", "model.approved", "model.promoted"):
                page.write(
                    Draft(by=by, action=action, subject=f"churn@{number}", digest=model(number))
                )
            for step in range(9):
                page.write(Draft(by=by, action="step.succeeded", subject=f"step {step}"))
    for number in range(1, RUNS + 1):
        record_graph(engine, rests_on(number))


def rests_on(number: int) -> Graph:
    nodes = [
        Node(model(number), "model", "lightgbm"),
        Node(digest(f"training set {number}"), "training set", "17,528 rows"),
        Node(digest(f"dataset {number}"), "dataset", "events: 100,465 rows"),
        Node(f"run-{number}", "run", f"run-{number}"),
        *(Node(digest(f"code {one}"), "code", f"module_{one}.py") for one in range(10)),
        *(Node(digest(f"file {one}"), "file", f"raw/{one}.csv") for one in range(30)),
    ]
    trained, learned, data, made_by = (node.key for node in nodes[:4])
    edges = [Edge(trained, learned, MADE_FROM), Edge(learned, data, MADE_FROM)]
    edges += [Edge(data, node.key, MADE_FROM) for node in nodes[4:]]
    edges += [Edge(made, made_by, MADE_BY) for made in (trained, learned, data)]
    return Graph.of(nodes, edges)


def logged(folder: Path) -> list[str]:
    """Fills the log of an endpoint; gives the ids that are in it, the latest last."""
    log, dice = LogFolder(folder / "predictions"), random.Random(folder.name)
    parts = max((PREDICTIONS // len(ENDPOINTS) - OPEN) // A_PART, 1)
    ids = list[str]()
    for number in range(parts, 0, -1):
        begun = END - number * timedelta(minutes=10)
        named = names_of(begun, A_PART, dice)
        target = log.parquet / f"date={begun.date()}" / f"endpoint={folder.name}"
        target.mkdir(parents=True, exist_ok=True)
        stem = segment_name(begun, "host", 7, f"{number:012x}").removesuffix(".jsonl")
        pq.write_table(
            table_of(folder.name, named, dice), target / f"{stem}.parquet", compression="zstd"
        )
        ids += [name for name, _ in named]
    log.segments.mkdir(parents=True)
    named = names_of(END, OPEN, dice)
    (log.segments / segment_name(END, "host", 7, "0" * 12)).write_bytes(open_segment(named))
    return ids + [name for name, _ in named]


def names_of(begun: datetime, count: int, dice: random.Random) -> list[tuple[str, datetime]]:
    """Ids and times of the predictions of ten minutes."""
    tag, named = salt_tag("production"), []
    for number in range(count):
        at = begun + timedelta(minutes=10) * (number / count)
        token = f"{tag}{int(at.timestamp()):08x}{dice.getrandbits(64):016x}{number:08x}"
        named.append((written(f"{dice.getrandbits(64):016x}", token), at))
    return named


def table_of(endpoint: str, named: list[tuple[str, datetime]], dice: random.Random) -> pa.Table:
    """As compaction writes it."""
    count, version = len(named), dice.randrange(1, RUNS + 1)
    numbers = [dice.random() for _ in range(count)]
    same = {
        "release": f"churn-{version}", "model": f"churn@{version}", "model_digest": model(version),
        "arm": "champion", "endpoint": endpoint, "status": 200, "request_rows": 1,
    }  # fmt: skip
    columns: dict[str, list[object]] = {
        "arrived_at": [at for _, at in named],
        "prediction_id": [name for name, _ in named],
        "unit": [name[:16] for name, _ in named],
        "entities": [f'{{"customer_id":{int(1e6 * one)}}}' for one in numbers],
        "features": [features(one) for one in numbers],
        "output": [[one] for one in numbers],
        "row_index": [0] * count,
    }
    columns |= {name: [value] * count for name, value in same.items()}
    return pa.table(
        [
            pa.array(columns[field.name], field.type)
            if field.name in columns
            else pa.array([0 if pa.types.is_integer(field.type) else None] * count, field.type)
            for field in SCHEMA
        ],
        schema=SCHEMA,
    )


def open_segment(named: list[tuple[str, datetime]]) -> bytes:
    encoder, text = Encoder("production"), bytearray()
    encoder.describe("churn-1", Names.of((), "churn@1", model(1)))
    for name, at in named:
        encoder.append(Answer(int(at.timestamp()) * 10**9, name, "churn-1", "champion"), text)
    return bytes(text)


def features(value: float) -> str:
    return "{" + ",".join(f'"{name}":{value * n}' for n, name in enumerate(FEATURES, 1)) + "}"


def model(number: int) -> str:
    return digest(f"model {number}")


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


if __name__ == "__main__":
    write("governance_trace", trace_rows())
