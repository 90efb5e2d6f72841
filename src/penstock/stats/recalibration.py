"""What could be won by taking a model's scores for what they turned out to mean.

A logistic regression of the outcome on the score's logit (Cox 1958, Two further applications of a
model for binary regression, Biometrika 45): intercept 0 and slope 1 where scores are right. The
log-loss that it saves is what a new model should save at least, without ranking any better.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from penstock.stats.lift import Undefined
from penstock.stats.normal import quantile
from penstock.stats.outcomes_by_score import Floats, Outcomes

EDGE = 1e-6  # scores of 0 and 1 have no logit
STEPS = 50
PARAMETERS = 2


class Recalibration(NamedTuple):
    """Outcome ~ intercept + slope · logit(score), and what it would save."""

    intercept: float
    slope: float
    loss: float  # log-loss of the scores as they are, nats a row
    gain: float  # of it that would be saved on new rows
    error: float  # standard error of the gain
    rows: int

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Of the gain."""
        half = quantile((1 + confidence) / 2) * self.error
        return self.gain - half, self.gain + half


def recalibration(known: Outcomes) -> Recalibration | Undefined:
    """Of rows whose outcome is known. The gain is less by what two parameters save by chance."""
    positives, negatives, rows = known.positives, known.negatives, known.total
    if min(positives.sum(), negatives.sum()) <= 0:
        return Undefined(f"all {rows:,.0f} rows are of one class" if rows else "there are no rows")
    score = np.clip(known.score, EDGE, 1 - EDGE)
    intercept, slope = _fitted(np.log(score / (1 - score)), known)
    again = _probability(intercept + slope * np.log(score / (1 - score)))
    saved_positive = np.log(again) - np.log(score)
    saved_negative = np.log1p(-again) - np.log1p(-score)
    gain = float(positives @ saved_positive + negatives @ saved_negative) / rows
    square = float(positives @ saved_positive**2 + negatives @ saved_negative**2) / rows
    loss = -float(positives @ np.log(score) + negatives @ np.log1p(-score)) / rows
    return Recalibration(
        intercept,
        slope,
        loss,
        gain - PARAMETERS / rows,
        math.sqrt(max(square - gain * gain, 0.0) / rows),
        round(rows),
    )


def _fitted(logit: Floats, known: Outcomes) -> tuple[float, float]:
    """Newton's method; of a score that is constant the intercept alone."""
    weights = known.rows
    constant = np.ptp(logit[weights > 0]) < 1e-9
    design = np.stack([np.ones_like(logit), np.zeros_like(logit) if constant else logit])
    found = np.array([0.0, 1.0])
    offset = logit if constant else np.zeros_like(logit)
    for _ in range(STEPS):
        probability = _probability(found @ design + offset)
        slope = design @ (known.positives - weights * probability)
        curve = (design * (weights * probability * (1 - probability))) @ design.T
        step = np.linalg.solve(curve + 1e-9 * np.eye(PARAMETERS) * weights.sum(), slope)
        found = found + np.clip(step, -2.0, 2.0)
        if np.abs(step).max() < 1e-9:
            break
    return float(found[0]), float(found[1])


def _probability(logit: Floats) -> Floats:
    return np.clip(1 / (1 + np.exp(-np.clip(logit, -30, 30))), EDGE, 1 - EDGE)
