"""Performance without labels, and with them: metrics of a sample against those of a reference.

Confidence-based performance estimation: of n rows with a calibrated probability p, n·p are expected
to be positive, which gives the expected confusion counts, and from them any metric (NannyML, "How
it works: confidence-based performance estimation"). It holds while the meaning of a score holds: it
sees a change of the inputs, not a change of what they lead to. That one shows when labels come.

Intervals come of a bootstrap: the reference is drawn again, the calibrator fitted again, and labels
are drawn from it; so they are of what will be realised, not only of its expectation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from penstock.stats.isotonic import calibrator
from penstock.stats.lift import Undefined
from penstock.stats.normal import quantile
from penstock.stats.outcomes_by_score import Floats, Outcomes, Scores, metric, undefined

RESAMPLES = 200
Draw = Callable[[np.random.Generator], tuple[Floats, Floats]]  # weights: sample, reference


class Estimate(NamedTuple):
    """A metric of a sample, and of the reference."""

    value: float
    reference: float
    error: float  # standard error of the value
    difference_error: float  # of value − reference

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        half = quantile((1 + confidence) / 2) * self.error
        return self.value - half, self.value + half

    def difference(self, confidence: float = 0.95) -> tuple[float, float]:
        """Interval of value − reference."""
        half = quantile((1 + confidence) / 2) * self.difference_error
        middle = self.value - self.reference
        return middle - half, middle + half


Estimates = dict[str, Estimate | Undefined]


def estimated(
    sample: Scores,
    reference: Outcomes,
    metrics: Iterable[str],
    threshold: float,
    generator: np.random.Generator,
) -> Estimates:
    """Of rows without labels. The reference are rows that the model was not trained on."""

    def draw(generator: np.random.Generator) -> tuple[Floats, Floats]:
        again = drawn(reference, generator)
        probability = calibrator(again)(sample.score)
        positives = generator.binomial(sample.rows.astype(np.int64), probability)
        return np.concatenate([positives, sample.rows - positives]), again.weights

    expected = calibrator(reference).expected(sample)
    return _measured(expected, reference, metrics, threshold, draw, generator)


def realised(
    sample: Outcomes,
    reference: Outcomes,
    metrics: Iterable[str],
    threshold: float,
    generator: np.random.Generator,
) -> Estimates:
    """Of rows with labels."""

    def draw(generator: np.random.Generator) -> tuple[Floats, Floats]:
        return drawn(sample, generator).weights, drawn(reference, generator).weights

    return _measured(sample, reference, metrics, threshold, draw, generator)


def drawn(known: Outcomes, generator: np.random.Generator) -> Outcomes:
    """As many rows, drawn again with replacement."""
    weights, total = known.weights, round(known.total)
    again = generator.multinomial(total, weights / weights.sum()).astype(np.float64)
    size = len(known.score)
    return Outcomes(known.score, again[:size], again[size:])


def _measured(
    sample: Outcomes,
    reference: Outcomes,
    metrics: Iterable[str],
    threshold: float,
    draw: Draw,
    generator: np.random.Generator,
) -> Estimates:
    found: Estimates = {}
    asked = list[str]()
    for name in metrics:
        reason = undefined(name, sample, threshold)
        if not reason and (missing := undefined(name, reference, threshold)):
            reason = f"the reference has none: {missing}"
        if reason:
            found[name] = Undefined(reason)
        else:
            asked.append(name)
    if not asked:
        return found
    draws = [draw(generator) for _ in range(RESAMPLES)]
    for name in asked:
        of_sample = metric(name, sample.score, threshold)
        of_reference = metric(name, reference.score, threshold)
        values = np.array([[of_sample(one), of_reference(other)] for one, other in draws])
        found[name] = Estimate(
            of_sample(sample.weights),
            of_reference(reference.weights),
            float(np.nanstd(values[:, 0])),
            float(np.nanstd(values[:, 0] - values[:, 1])),
        )
    return found
