"""What a score means as a probability: isotonic calibration, and how wrong scores are by it.

The calibrated probability never falls as the score rises, and is otherwise free (Zadrozny and Elkan
2002, Transforming classifier scores into accurate multiclass probability estimates, KDD).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from penstock.stats.outcomes_by_score import Floats, Outcomes, Scores

FOLDS = 5
BINS = 10


class Calibrator(NamedTuple):
    """Score → probability: straight lines between these points, level beyond them."""

    score: Floats  # shape (k,), ascending
    probability: Floats  # shape (k,), never falling

    def __call__(self, score: Floats) -> Floats:
        return np.interp(score, self.score, self.probability)

    def expected(self, scores: Scores) -> Outcomes:
        """What should come of rows, by their scores."""
        positives = self(scores.score) * scores.rows
        return Outcomes(scores.score, positives, scores.rows - positives)


class CalibrationError(NamedTuple):
    """Mean distance between predicted and observed share of positives, over bins of equal size."""

    error: float
    chance: float  # what the bins' sizes alone bring about, were every probability right


def calibrator(known: Outcomes) -> Calibrator:
    """Fitted on rows whose outcome is known; scores that no row has do not count.

    >>> known = Outcomes(np.array([0.1, 0.6, 0.9]), np.array([1, 0, 4.0]), np.array([3, 4, 0.0]))
    >>> calibrator(known).probability.tolist()
    [0.125, 0.125, 1.0]
    """
    from scipy.optimize import isotonic_regression

    there = known.rows > 0
    rows = known.rows[there]
    found = isotonic_regression(known.positives[there] / rows, weights=rows)
    return Calibrator(known.score[there], found.x)


def calibration_error(
    outcomes: Outcomes, probability: Floats, bins: int = BINS
) -> CalibrationError:
    """Of the probabilities (k,) of the outcomes' scores, which rise with them."""
    rows = outcomes.rows
    middle = np.cumsum(rows) - rows / 2
    place = np.minimum((middle / rows.sum() * bins).astype(int), bins - 1)

    def binned(values: Floats) -> Floats:
        return np.bincount(place, weights=values, minlength=bins)

    expected = binned(probability * rows)
    spread = np.sqrt(binned(probability * (1 - probability) * rows))
    apart = np.abs(expected - binned(outcomes.positives)).sum()
    by_chance = math.sqrt(2 / math.pi) * spread.sum()  # E|Z| of each bin
    return CalibrationError(float(apart / rows.sum()), float(by_chance / rows.sum()))


def cross_fitted_error(
    known: Outcomes, generator: np.random.Generator, folds: int = FOLDS
) -> CalibrationError:
    """The error of a calibrator on rows that it was not fitted on: each fold's by the others'."""
    parts = _folds(known, generator, folds)
    probability = np.zeros(len(known.score))
    for one in parts:
        others = Outcomes(
            known.score, known.positives - one.positives, known.negatives - one.negatives
        )
        probability += calibrator(others)(known.score) * one.rows
    return calibration_error(known, probability / np.maximum(known.rows, 1e-300))


def _folds(known: Outcomes, generator: np.random.Generator, folds: int) -> list[Outcomes]:
    """The rows dealt out at random."""
    shares = np.full(folds, 1 / folds)
    positives = generator.multinomial(known.positives.astype(np.int64), shares)
    negatives = generator.multinomial(known.negatives.astype(np.int64), shares)
    return [
        Outcomes(known.score, positives[:, fold].astype(float), negatives[:, fold].astype(float))
        for fold in range(folds)
    ]
