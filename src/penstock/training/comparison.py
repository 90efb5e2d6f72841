"""Runs of an experiment side by side: what differs, and which is best by each metric. Pure."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

Direction = Literal["higher", "lower"]

HIGHER = {
    *("auc", "roc", "pr", "precision", "recall", "f1", "accuracy", "acc", "r2", "lift", "gain"),
    *("throughput", "qps", "ndcg", "map", "mrr", "kappa", "mcc", "gini", "ks"),
}
LOWER = {
    *("loss", "logloss", "brier", "error", "errors", "rmse", "mse", "mae", "mape", "deviance"),
    *("perplexity", "latency", "seconds", "ms", "duration", "ece", "bytes"),
}
# What a run rests on, by the tags that Penstock gives it.
ORIGINS = {
    "dataset": "penstock.dataset",
    "training set": "penstock.training_set",
    "definitions": "penstock.definitions",
    "code": "penstock.code",
    "model": "penstock.model",
}
DIGITS = 12  # of a digest, where people read it


@dataclass(frozen=True)
class ExperimentRun:
    """A run as its tracking server tells of it."""

    id: str
    name: str
    status: str  # FINISHED, FAILED, RUNNING, …
    started: datetime | None  # UTC
    seconds: float | None
    params: Mapping[str, str]
    metrics: Mapping[str, float]  # the last value of each
    tags: Mapping[str, str]

    @property
    def short(self) -> str:
        return self.id[:8]


@dataclass(frozen=True)
class Row:
    kind: Literal["origin", "param", "metric"]
    name: str
    values: tuple[str | float | None, ...]  # by run; None: the run has none
    differs: bool
    direction: Direction | None = None  # of a metric, where it is known
    best: tuple[int, ...] = ()  # the runs, by place, that are best; none where all are equal


@dataclass(frozen=True)
class Comparison:
    runs: tuple[ExperimentRun, ...]
    rows: tuple[Row, ...]

    def differing(self) -> Comparison:
        return Comparison(self.runs, tuple(row for row in self.rows if row.differs))


def compare(
    runs: Sequence[ExperimentRun], directions: Mapping[str, Direction] | None = None
) -> Comparison:
    """All parameters, metrics and origins of some runs; `directions` are those that are said."""
    rows: list[Row] = [
        _row("origin", name, [run.tags.get(tag) or None for run in runs])
        for name, tag in ORIGINS.items()
        if any(run.tags.get(tag) for run in runs)
    ]
    params = sorted({name for run in runs for name in run.params})
    rows += [_row("param", name, [run.params.get(name) for run in runs]) for name in params]
    for name in sorted({name for run in runs for name in run.metrics}):
        values = [run.metrics.get(name) for run in runs]
        rows.append(_metric(name, values, direction_of(name, directions or {})))
    return Comparison(tuple(runs), tuple(rows))


def direction_of(metric: str, said: Mapping[str, Direction]) -> Direction | None:
    """Whether more of a metric is better: as is said of it, else by the words of its name.

    `validation_auc_roc` is what is said of `auc_roc`. None where neither tells, or both words do.
    """
    for name, direction in said.items():
        if metric == name or metric.endswith(f"_{name}"):
            return direction
    words = set(re.split(r"[^a-z0-9]+", metric.lower()))
    higher, lower = bool(words & HIGHER), bool(words & LOWER)
    if higher == lower:
        return None
    return "higher" if higher else "lower"


def as_markdown(found: Comparison) -> str:
    """A table: differing rows are marked with ≠, the best values are bold."""
    heads = ["", "", *(_escaped(_head(run)) for run in found.runs)]
    lines = [_line(heads), _line(["---"] * len(heads))]
    for row in found.rows:
        cells = [_escaped(shown(value, row.kind)) for value in row.values]
        cells = [f"**{cell}**" if i in row.best else cell for i, cell in enumerate(cells)]
        lines.append(_line(["≠" if row.differs else "", _escaped(row.name), *cells]))
    return "\n".join(lines)


def as_csv(found: Comparison) -> str:
    """A row for each parameter and metric, a column for each run, full precision."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["kind", "name", *(run.id for run in found.runs), "differs", "best"])
    for row in found.rows:
        values = ["" if value is None else value for value in row.values]
        best = " ".join(found.runs[i].id for i in row.best)
        writer.writerow([row.kind, row.name, *values, str(row.differs).lower(), best])
    return text.getvalue()


def as_json(found: Comparison) -> dict[str, Any]:
    """Plain JSON values; a metric that is no finite number is a word, as JSON has none for it."""
    return {
        "runs": [run_as_json(run) for run in found.runs],
        "rows": [
            {
                "kind": row.kind,
                "name": row.name,
                "values": {
                    run.id: _plain(value) for run, value in zip(found.runs, row.values, strict=True)
                },
                "differs": row.differs,
                "direction": row.direction,
                "best": [found.runs[i].id for i in row.best],
            }
            for row in found.rows
        ],
    }


def run_as_json(run: ExperimentRun) -> dict[str, Any]:
    return {
        "id": run.id,
        "name": run.name,
        "status": run.status,
        "started": run.started.isoformat() if run.started else None,
        "seconds": run.seconds,
        "params": dict(run.params),
        "metrics": {name: _plain(value) for name, value in run.metrics.items()},
        "origins": {name: run.tags[tag] for name, tag in ORIGINS.items() if run.tags.get(tag)},
    }


def shown(value: str | float | None, kind: str = "param") -> str:
    """As people read it: six digits of a number, twelve of a digest."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return value[:DIGITS] if kind == "origin" else value


def _row(kind: Literal["origin", "param"], name: str, values: Sequence[str | None]) -> Row:
    return Row(kind, name, tuple(values), len(set(values)) > 1)


def _metric(name: str, values: Sequence[float | None], direction: Direction | None) -> Row:
    known = [value for value in values if value is not None and not math.isnan(value)]
    differs = len(known) < len(values) or len(set(known)) > 1
    best: tuple[int, ...] = ()
    if direction and len(set(known)) > 1:
        pick: Callable[[list[float]], float] = max if direction == "higher" else min
        best = tuple(i for i, value in enumerate(values) if value == pick(known))
    return Row("metric", name, tuple(values), differs, direction, best)


def _head(run: ExperimentRun) -> str:
    return f"{run.short} {run.name}".strip()


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")


def _plain(value: str | float | None) -> str | float | None:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
