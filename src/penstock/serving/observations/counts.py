"""Counts of one endpoint's answers by release, arm and epoch, made from rows of the prediction log.

A row counts once it is in the log. Refused requests (HTTP 4xx) are the client's affair: they are
counted, but are no errors of the arm. Predictions are counted in bins that all models share,
features in those of the reference that was stored with the model.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec
import numpy

from penstock.serving.observations.pairs import PairCounts
from penstock.serving.prediction_log.rows import ALONE, Row
from penstock.stats.histograms import bins_of
from penstock.stats.score_bins import score_bins

NEVER = 1 << 62  # µs


class ArmKey(NamedTuple):
    """What counts are kept for."""

    release: str
    arm: str
    epoch: str = ""  # of the routing table: rollout/stage


class Counts(msgspec.Struct, omit_defaults=True):
    """Sums over some time. Adding two gives the counts of both times."""

    requests: int = 0
    rows: int = 0
    refused: int = 0  # HTTP 4xx
    errors: dict[str, int] = msgspec.field(default_factory=dict)  # HTTP 5xx, by class
    statuses: dict[int, int] = msgspec.field(default_factory=dict)
    latency: dict[int, int] = msgspec.field(default_factory=dict)  # µs, of answers, in bins
    latency_us: int = 0  # their sum
    model: dict[int, int] = msgspec.field(default_factory=dict)  # µs in the model
    predictions: dict[int, int] = msgspec.field(default_factory=dict)  # in `score_bins`
    prediction_sum: float = 0.0
    prediction_squares: float = 0.0
    features: dict[str, dict[int, int]] = msgspec.field(default_factory=dict)  # -1: missing
    slow: int = 0  # answers that took longer than the table's `slow_us`
    # Of them all, those of requests that are units of their own; the other units are counted by
    # their first events.
    own_requests: int = 0
    own_errors: int = 0
    own_slow: int = 0
    cpu_us: int = 0  # that the release's replicas used
    memory_bytes: int = 0  # of all its replicas of a gateway, at most
    pairs: PairCounts | None = None  # of a shadow: its answers beside the primary's

    def add(self, other: Counts) -> None:
        for name in SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.memory_bytes = max(self.memory_bytes, other.memory_bytes)
        if other.pairs is not None:
            self.pairs = self.pairs or PairCounts()
            self.pairs.add(other.pairs)
        for name in ("errors", "statuses", "latency", "model", "predictions"):
            _add(getattr(self, name), getattr(other, name))
        for feature, histogram in other.features.items():
            _add(self.features.setdefault(feature, {}), histogram)


SUMS = (
    "requests", "rows", "refused", "latency_us", "prediction_sum", "prediction_squares", "slow",
    "own_requests", "own_errors", "own_slow", "cpu_us",
)  # fmt: skip


def counts_of(document: Mapping[str, Any]) -> Counts:
    """Counts as the state database keeps them."""
    return msgspec.convert(document, Counts, str_keys=True)


NOTHING_IS_SLOW: Mapping[str, int] = {}
References = Mapping[str, Mapping[str, Any]]  # release -> feature -> inner edges, ascending


def counted(
    rows: Iterable[Row],
    references: References,
    names: Mapping[str, Any],
    slow_us: Mapping[str, int] = NOTHING_IS_SLOW,
) -> dict[ArmKey, Counts]:
    """The counts of some rows; `names` gives the features of each release, in order.

    `slow_us` gives for each epoch how long an answer may take, in µs.
    """
    rows = list(rows)
    keys = [(row.release, row.arm, row.epoch) for row in rows]
    found = {}
    for key in map(ArmKey._make, dict.fromkeys(keys)):
        of_arm = [row for row, its in zip(rows, keys, strict=True) if its == key]
        counts, answered = _counted(of_arm, slow_us)
        if key.release in references and answered:
            _count_features(counts, answered, references[key.release], names[key.release])
        found[key] = counts
    return found


def _counted(rows: list[Row], slow_us: Mapping[str, int]) -> tuple[Counts, list[Row]]:
    """All but features of one arm's rows; and those rows that are answers."""
    answered = [row for row in rows if row.status < 400]
    failed = [row for row in rows if row.status >= 500]
    slow = [row for row in answered if is_slow(row, slow_us)] if slow_us else []
    counts = Counts(
        requests=len(rows),
        rows=sum([row.rows for row in rows]),
        refused=len(rows) - len(answered) - len(failed),
        errors=dict(Counter([row.error for row in failed])),
        statuses=dict(Counter([row.status for row in rows])),
        latency=_histogram([row.total_us for row in answered]),
        latency_us=sum([row.total_us for row in answered]),
        model=_histogram([row.model_us for row in answered]),
        slow=len(slow),
        own_requests=_own(rows),
        own_errors=_own(failed),
        own_slow=_own(slow),
    )
    _count_predictions(counts, answered)
    return counts, answered


def _own(rows: list[Row]) -> int:
    return [row.counts_for for row in rows].count(ALONE)


def _histogram(values: list[int]) -> dict[int, int]:
    return _tally(bins_of(numpy.array(values, dtype=float)))


def is_slow(row: Row, slow_us: Mapping[str, int]) -> bool:
    """Whether an answer took longer than its epoch's table allows."""
    return row.total_us > slow_us.get(row.epoch, NEVER)


def _count_predictions(counts: Counts, rows: list[Row]) -> None:
    """The last of a row's outputs: the positive class, where there are several."""
    answers = [(row.width, row.outputs) for row in rows if row.outputs is not None]
    if not answers:
        return
    parts = []
    for width in {width for width, _ in answers}:
        raw = b"".join([outputs for its, outputs in answers if its == width])
        parts.append(numpy.frombuffer(raw, float).reshape(-1, width)[:, -1])
    values = numpy.concatenate(parts)
    _add(counts.predictions, _tally(score_bins(values)))
    values = values[numpy.isfinite(values)]
    counts.prediction_sum += float(values.sum())
    counts.prediction_squares += float((values * values).sum())


def _count_features(
    counts: Counts, rows: list[Row], reference: Mapping[str, Any], names: tuple[str, ...]
) -> None:
    columns = numpy.ascontiguousarray(_together(rows, len(names)).T)
    missing = numpy.isnan(columns).sum(axis=1).tolist()
    for place, name in enumerate(names):
        edges = reference.get(name)
        if edges is None:
            continue
        bins = numpy.bincount(numpy.searchsorted(edges, columns[place], side="right"))
        found = dict(enumerate(bins.tolist()))
        if missing[place]:  # they were sorted behind the last edge
            found[len(edges)] -= missing[place]
            found[-1] = missing[place]
        found = {number: count for number, count in found.items() if count}
        _add(counts.features.setdefault(name, {}), found)


def _together(rows: list[Row], width: int) -> Any:
    """The features of all rows below each other, (rows, width); NaN for what is no number."""
    raw = b"".join([row.matrix for row in rows if row.matrix is not None])
    others = [row.columns for row in rows if row.columns is not None]
    parts = [numpy.column_stack([_numbers(values) for values in columns]) for columns in others]
    return numpy.concatenate([numpy.frombuffer(raw, float).reshape(-1, width), *parts])


def _numbers(values: Any) -> Any:
    return numpy.array(
        [float(v) if isinstance(v, int | float) else math.nan for v in values], dtype=float
    )


def _tally(bins: Any) -> dict[int, int]:
    numbers, counts = numpy.unique(bins, return_counts=True)
    return dict(zip(numbers.tolist(), counts.tolist(), strict=True))


def _add(total: dict[Any, int], more: Mapping[Any, int]) -> None:
    for name, count in more.items():
        total[name] = total.get(name, 0) + count
