"""How a served version fares: estimated without labels, realised once they have come."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from penstock.monitoring import judging, served
from penstock.monitoring.evidence import Evidence
from penstock.monitoring.judging_slices import (
    Slice,
    estimated_slices,
    realised_slices,
    worst_of,
)
from penstock.monitoring.report import Measure, Report, Verdict
from penstock.monitoring.retraining import decide
from penstock.monitoring.served import Answered
from penstock.monitoring.slices import sliced_rows
from penstock.stats.isotonic import calibration_error, calibrator, cross_fitted_error
from penstock.stats.lift import Undefined
from penstock.stats.outcomes_by_score import Outcomes, Scores
from penstock.stats.performance_estimation import Estimate, estimated, realised

if TYPE_CHECKING:
    from penstock.monitoring.looking import Look

SAMPLE = 5  # ids that are named
UNUSABLE = "answers have no single number as output"
IMPROBABLE = "outputs are no probabilities"
EARLY = "labels were known before their prediction: left out; are the clocks right?"
NO_CLASS = "labels are neither 0 nor 1: left out"
UNKNOWN = "ids have a label and no prediction in the log: made up, of elsewhere, or deleted"
TWICE = "predictions were told different labels: the first counts, unless one says `replace`"


def performance(look: Look) -> Report:
    """All that can be told of a version, estimated and realised."""
    evidence = Evidence(look)
    return look.report("performance", list(_measures(evidence)), evidence.window.rows)


def _measures(evidence: Evidence) -> Iterator[Measure]:
    yield from _answers(evidence.window)
    yield from _estimated(evidence)
    yield from _labels(evidence)
    yield from _realised(evidence)
    yield _retraining(evidence)
    if evidence.look.by:
        yield from _slices(evidence)


def _answers(window: Answered) -> Iterator[Measure]:
    """Whether the outputs can be judged at all."""
    if window.rows:
        yield judging.constant(len(window.scores.score), float(window.scores.rows.sum()))
        yield judging.counted("unusable_outputs", window.unusable, window.rows, UNUSABLE)
        yield judging.counted("improbable_outputs", window.improbable, window.rows, IMPROBABLE)


def _estimated(evidence: Evidence) -> Iterator[Measure]:
    scores, reference, settings = evidence.window.scores, evidence.reference, evidence.settings
    rows = float(scores.rows.sum())
    if not rows:
        nothing = f"no prediction of {evidence.model} in the window"
        yield from (judging.untold(f"estimated_{name}", nothing) for name in settings.metrics)
        return
    raw = calibration_error(reference, reference.score)
    seen = cross_fitted_error(reference, evidence.generator)
    yield judging.calibrated("calibration_error", seen, reference.total, raw.error)
    found = estimated(scores, reference, settings.metrics, evidence.threshold, evidence.generator)
    yield from judging.judged("estimated", found, rows, settings)
    expected = calibrator(reference).expected(scores)
    yield judging.rate("estimated_positive_rate", expected, reference, settings)


def _labels(evidence: Evidence) -> Iterator[Measure]:
    """Whether there are enough, and what is wrong with them."""
    cohort, total = evidence.cohort, len(evidence.told)
    if cohort.rows:
        labelled = round(cohort.outcomes.total)
        yield judging.covered(labelled, cohort.rows, evidence.settings)
    for name, count, what, sample in (
        ("labels_before_prediction", cohort.early, EARLY, []),
        ("labels_of_no_class", cohort.no_class, NO_CLASS, []),
        ("labels_of_no_prediction", len(evidence.unknown), UNKNOWN, evidence.unknown),
        ("labels_disagreeing", len(evidence.disagreeing), TWICE, evidence.disagreeing),
    ):
        if total:
            yield judging.counted(name, count, total, what, tuple(sample[:SAMPLE]))


def _realised(evidence: Evidence) -> Iterator[Measure]:
    known, settings, metrics = (
        evidence.cohort.outcomes,
        evidence.settings,
        evidence.settings.metrics,
    )
    if not known.total:
        nothing = f"no prediction of {evidence.model} matured in the window"
        if evidence.cohort.rows:
            nothing = f"none of {evidence.cohort.rows:,} matured predictions has a label"
        yield from (judging.untold(f"realised_{name}", nothing) for name in metrics)
        return
    reference, threshold = evidence.reference, evidence.threshold
    truth = realised(known, reference, metrics, threshold, evidence.generator)
    yield from judging.judged("realised", truth, known.total, settings)
    yield judging.rate("realised_positive_rate", known, reference, settings)
    if known.total >= settings.least_rows:
        seen = calibration_error(known, calibrator(reference)(known.score))
        yield judging.calibrated("realised_calibration_error", seen, known.total, None)
        guess = estimated(known.scores, reference, metrics, threshold, evidence.generator)
        yield from judging.trusted(guess, truth, known.total, settings)


def _retraining(evidence: Evidence) -> Measure:
    known = evidence.cohort.outcomes
    decision = decide(known, evidence.settings)
    if decision.gain is None:
        return judging.untold("retraining_gain", decision.reason, known.total)
    return Measure(
        name="retraining_gain",
        subject="log_loss",
        verdict=Verdict.FOUND if decision.pays else Verdict.FINE,
        reason=decision.reason,
        value=decision.gain.gain,
        interval=decision.gain.interval(),
        rows=decision.gain.rows,
        details={"intercept": decision.gain.intercept, "slope": decision.gain.slope},
    )


def _slices(evidence: Evidence) -> Iterator[Measure]:
    """Of the first of the metrics, the worst slice first: realised if there are labels."""
    column, settings, threshold = evidence.look.by, evidence.settings, evidence.threshold
    metric, labelled = settings.metrics[0], evidence.labelled
    if labelled and evidence.cohort.outcomes.total >= settings.least_rows:
        rows = sliced_rows(labelled.filter(served.KNOWN), column)
        known = {name: served.outcomes_of(part, threshold) for name, part in rows}
        promised = {name: _promised(evidence, metric, one) for name, one in known.items()}
        measures = realised_slices(metric, column, promised, settings)
    elif evidence.window.scores.rows.sum():
        rows = sliced_rows(evidence.answers.filter(served.PROBABILITY), column)
        scores = {name: served.scores_of(part, threshold) for name, part in rows}
        expected = {name: _expected(evidence, metric, one) for name, one in scores.items()}
        measures = estimated_slices(metric, column, expected, settings)
    else:
        measures = []
    yield worst_of(measures, column)
    yield from measures


def _expected(evidence: Evidence, metric: str, scores: Scores) -> Slice:
    asked = (evidence.reference, (metric,), evidence.threshold, evidence.generator)
    return float(scores.rows.sum()), estimated(scores, *asked)[metric]


def _promised(evidence: Evidence, metric: str, known: Outcomes) -> Slice:
    """What was realised, against what the same scores promised."""
    asked = (evidence.reference, (metric,), evidence.threshold, evidence.generator)
    truth, promise = realised(known, *asked)[metric], _expected(evidence, metric, known.scores)[1]
    if isinstance(truth, Undefined) or isinstance(promise, Undefined):
        return known.total, truth if isinstance(truth, Undefined) else promise
    return known.total, Estimate(truth.value, promise.value, truth.error, promise.error)
