"""Paired bootstrap of the difference between two models scored on the same rows.

A resample of n rows is a multinomial vector of weights, so every metric is computed from weights:
one sort serves all resamples. (Efron and Tibshirani 1993, An Introduction to the Bootstrap, ch. 13:
percentile intervals.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float64]
WeightedMetric = Callable[[Weights], float]


@dataclass(frozen=True)
class Interval:
    estimate: float  # on the rows as they are
    low: float
    high: float
    resamples: int


def paired_difference(
    challenger: WeightedMetric,
    champion: WeightedMetric,
    rows: int,
    *,
    resamples: int,
    confidence: float,
    seed: int,
) -> Interval:
    """Percentile interval of challenger − champion.

    Resamples in which a metric is undefined (one class only) are left out of the interval.
    """
    generator = np.random.default_rng(seed)
    ones = np.ones(rows)
    share = np.full(rows, 1 / rows)
    found = np.empty(resamples)
    for index in range(resamples):
        weights = generator.multinomial(rows, share).astype(np.float64)
        found[index] = challenger(weights) - champion(weights)
    found = found[np.isfinite(found)]
    tail = (1 - confidence) / 2
    low, high = np.quantile(found, [tail, 1 - tail]) if len(found) else (np.nan, np.nan)
    return Interval(challenger(ones) - champion(ones), float(low), float(high), len(found))


def weighted_metric(
    name: str, label: NDArray[np.int8], probability: NDArray[np.float64], threshold: float
) -> WeightedMetric:
    """A metric of fixed labels and probabilities, shape (n,), as a function of row weights (n,)."""
    if name == "auc_roc":
        return _weighted_auc(label, probability)
    if name == "average_precision":
        return _weighted_average_precision(label, probability)
    if name in {"log_loss", "brier"}:
        losses = _losses(name, label, probability)
        return lambda weights: float(np.average(losses, weights=weights))
    return _weighted_from_counts(name, label, probability >= threshold)


def _weighted_auc(label: NDArray[np.int8], probability: NDArray[np.float64]) -> WeightedMetric:
    """Mann-Whitney: P(positive above negative) + ½ P(tie)."""
    order, starts = _tie_groups(probability)
    positive = label[order] == 1

    def auc(weights: Weights) -> float:
        ordered = weights[order]
        positives = np.add.reduceat(np.where(positive, ordered, 0.0), starts)
        negatives = np.add.reduceat(np.where(positive, 0.0, ordered), starts)
        below = np.cumsum(negatives) - negatives
        pairs = positives.sum() * negatives.sum()
        return float(positives @ (below + negatives / 2) / pairs) if pairs else float("nan")

    return auc


def _weighted_average_precision(
    label: NDArray[np.int8], probability: NDArray[np.float64]
) -> WeightedMetric:
    """Σ (recallₖ − recallₖ₋₁)·precisionₖ over thresholds from the top."""
    order, starts = _tie_groups(-probability)
    positive = label[order] == 1

    def average_precision(weights: Weights) -> float:
        ordered = weights[order]
        hits = np.add.reduceat(np.where(positive, ordered, 0.0), starts)
        chosen = np.cumsum(np.add.reduceat(ordered, starts))
        total = hits.sum()
        if not total:
            return float("nan")
        precision = np.divide(np.cumsum(hits), chosen, out=np.zeros_like(hits), where=chosen > 0)
        return float(hits @ precision / total)

    return average_precision


def _weighted_from_counts(
    name: str, label: NDArray[np.int8], chosen: NDArray[np.bool_]
) -> WeightedMetric:
    actual = label == 1

    def metric(weights: Weights) -> float:
        hits = float(weights[chosen & actual].sum())
        predicted, positives = float(weights[chosen].sum()), float(weights[actual].sum())
        right = hits + float(weights[~chosen & ~actual].sum())
        ratios = {
            "precision": (hits, predicted),
            "recall": (hits, positives),
            "f1": (2 * hits, predicted + positives),
            "accuracy": (right, float(weights.sum())),
        }
        above, below = ratios[name]
        return above / below if below else 0.0

    return metric


def _losses(
    name: str, label: NDArray[np.int8], probability: NDArray[np.float64]
) -> NDArray[np.float64]:
    if name == "brier":
        return (probability - label) ** 2
    clipped = np.clip(probability, 1e-15, 1 - 1e-15)
    return -np.where(label == 1, np.log(clipped), np.log1p(-clipped))


def _tie_groups(values: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Ascending order, and where each group of equal values begins in it."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    return order, np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
