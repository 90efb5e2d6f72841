"""Rows counted by a model's score and by what came of them: all that a metric needs to know.

Counts add, whatever their number; those that are expected, and not known, may be fractions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.stats.bootstrap import WeightedMetric, weighted_metric

Floats = NDArray[np.float64]
GROUPS = 256


class Scores(NamedTuple):
    """Rows whose outcome is not known; both of shape (k,), scores ascending."""

    score: Floats
    rows: Floats


class Outcomes(NamedTuple):
    """Rows whose outcome is known, or expected; all of shape (k,), scores ascending."""

    score: Floats
    positives: Floats
    negatives: Floats

    @property
    def rows(self) -> Floats:
        return self.positives + self.negatives

    @property
    def total(self) -> float:
        return float(self.rows.sum())

    @property
    def rate(self) -> float:
        """The share of positives; NaN without rows."""
        return float(self.positives.sum()) / self.total if self.total else float("nan")

    @property
    def scores(self) -> Scores:
        return Scores(self.score, self.rows)

    @property
    def weights(self) -> Floats:
        """Of the rows that `metric` has: the positives of each score, then the negatives."""
        return np.concatenate([self.positives, self.negatives])


def counted(score: Floats, label: NDArray[np.int8]) -> Outcomes:
    """Rows (n,) by score.

    >>> counted(np.array([0.7, 0.2, 0.7]), np.array([1, 0, 0], dtype=np.int8)).positives.tolist()
    [0.0, 1.0]
    """
    distinct, place = np.unique(score, return_inverse=True)
    size = len(distinct)
    positives, negatives = (_sums(place, label == value, size) for value in (1, 0))
    return Outcomes(distinct, positives, negatives)


def condensed(outcomes: Outcomes, threshold: float, groups: int = GROUPS) -> Outcomes:
    """Neighbouring scores drawn together into some groups of equal share, on either side of the
    threshold, each at the mean of its scores; as they are where they are few."""
    rows, side = outcomes.rows, outcomes.score >= threshold
    if len(rows) <= groups:
        return outcomes
    share = ((np.cumsum(rows) - rows / 2) / rows.sum() * groups).astype(int)
    place = np.unique(share * 2 + side, return_inverse=True)[1]
    columns = (outcomes.score * rows, outcomes.positives, outcomes.negatives)
    weighted, positives, negatives = (_sums(place, one, place.max() + 1) for one in columns)
    return Outcomes(weighted / (positives + negatives), positives, negatives)


def added(parts: Sequence[Outcomes]) -> Outcomes:
    """The rows of all parts, by score."""
    score, place = np.unique(np.concatenate([one.score for one in parts]), return_inverse=True)
    columns = ([one.positives for one in parts], [one.negatives for one in parts])
    positives, negatives = (_sums(place, np.concatenate(one), len(score)) for one in columns)
    return Outcomes(score, positives, negatives)


def together(parts: Sequence[Scores]) -> Scores:
    """The rows of all parts, by score."""
    score, place = np.unique(np.concatenate([one.score for one in parts]), return_inverse=True)
    return Scores(score, _sums(place, np.concatenate([one.rows for one in parts]), len(score)))


def _sums(place: NDArray[np.intp], values: NDArray[Any], size: int) -> Floats:
    """Of the values at each place."""
    found: Floats = np.bincount(place, weights=values, minlength=size).astype(np.float64)
    return found


def metric(name: str, score: Floats, threshold: float) -> WeightedMetric:
    """A metric at these scores (k,), as a function of `Outcomes.weights`; NaN where undefined."""
    size = len(score)
    label = np.concatenate([np.ones(size, np.int8), np.zeros(size, np.int8)])
    return weighted_metric(name, label, np.concatenate([score, score]), threshold)


def undefined(name: str, outcomes: Outcomes, threshold: float) -> str:
    """Why these rows have no such metric; empty where they have one."""
    positives, negatives = float(outcomes.positives.sum()), float(outcomes.negatives.sum())
    if positives + negatives <= 0:
        return "there are no rows"
    one_class = positives <= 0 or negatives <= 0
    if one_class and name == "auc_roc":
        return f"all {positives + negatives:,.0f} rows are of one class"
    if positives <= 0 and name in ("average_precision", "recall", "f1"):
        return f"none of {negatives:,.0f} rows is positive"
    if name == "precision" and not outcomes.rows[outcomes.score >= threshold].sum():
        return f"no score reaches the threshold of {threshold:g}"
    return ""
