"""How a served version fares: estimated without labels, realised once they have come."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from penstock.monitoring import judging, served
from penstock.monitoring.coverage import covered
from penstock.monitoring.evidence import Evidence
from penstock.monitoring.judging_slices import Slice, judged_slices, worst_of
from penstock.monitoring.report import Measure, Report, Verdict
from penstock.monitoring.retraining import decide
from penstock.monitoring.served import Answered
from penstock.monitoring.slices import sliced_rows
from penstock.stats.isotonic import calibration_error, calibrator, cross_fitted_error
from penstock.stats.lift import Undefined
from penstock.stats.outcomes_by_score import Outcomes, Scores, together
from penstock.stats.performance_estimation import Estimate, estimated, realised, widened

if TYPE_CHECKING:
    from duckdb import DuckDBPyRelation

    from penstock.monitoring.looking import Look

SAMPLE = 5  # ids that are named
UNUSABLE = "answers have no single number as output"
IMPROBABLE = "outputs are no probabilities"
EARLY = "labels were known before their prediction: left out; are the clocks right?"
NO_CLASS = "labels are neither 0 nor 1: left out"
UNKNOWN = "ids have a label and no prediction in the log: made up, of elsewhere, or deleted"
TWICE = "predictions were told different labels: the first counts, unless one says `replace`"


def performance(look: Look) -> Report:
    """All that can be told of a version, estimated and realised.

    What is told with doubt counts in k of n windows; what was counted is so at once.
    """
    evidence = Evidence(look)
    told = look.counting_windows("performance", list(_told(evidence)))
    return look.report("performance", [*_counted(evidence), *told], evidence.window.rows)


def _counted(evidence: Evidence) -> Iterator[Measure]:
    look = evidence.look
    yield from look.unseen("performance")
    if evidence.due:
        yield from covered(evidence.due, look.engine, look.endpoint, "matured predictions")
    yield from _answers(evidence.window)
    yield from _labels(evidence)


def _told(evidence: Evidence) -> Iterator[Measure]:
    yield from _estimated(evidence)
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
    yield judging.calibrated("calibration_error", seen, reference, raw.error)
    found = estimated(scores, reference, settings.metrics, evidence.threshold, evidence.generator)
    alike = evidence.look.independent
    yield from judging.judged("estimated", widened(found, alike), rows, settings)
    expected = calibrator(reference).expected(scores)
    yield judging.rate("estimated_positive_rate", expected, reference, settings, alike)


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
    alike = evidence.independent
    yield from judging.judged("realised", widened(truth, alike), known.total, settings)
    yield judging.rate("realised_positive_rate", known, reference, settings, alike)
    if known.total >= settings.least_rows:
        seen = calibration_error(known, calibrator(reference)(known.score))
        yield judging.calibrated("realised_calibration_error", seen, known, None, alike)
        guess = estimated(known.scores, reference, metrics, threshold, evidence.generator)
        yield from judging.trusted(widened(guess, alike), truth, known.total, settings)


def _retraining(evidence: Evidence) -> Measure:
    known = evidence.cohort.outcomes
    decision = decide(known, evidence.settings, evidence.independent)
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
    column, settings, metric = evidence.look.by, evidence.settings, evidence.settings.metrics[0]
    if evidence.cohort.outcomes.total >= settings.least_rows:
        how, slices = "realised", _realised_slices(evidence, metric)
    else:
        how, slices = "estimated", _estimated_slices(evidence, metric)
    measures = judged_slices(how, metric, column, slices, settings)
    yield worst_of(measures, column)
    yield from measures


def _realised_slices(evidence: Evidence, metric: str) -> dict[str, Slice]:
    """Each against what its own scores promised."""

    def outcomes(labelled: DuckDBPyRelation) -> dict[str, Outcomes]:
        rows = sliced_rows(labelled.filter(served.KNOWN), evidence.look.by)
        return {name: served.outcomes_of(part, evidence.threshold) for name, part in rows}

    found = dict[str, Slice]()
    for name, known in (evidence.of_labelled(outcomes) or {}).items():
        asked = (evidence.reference, (metric,), evidence.threshold, evidence.generator)
        truth, promise = realised(known, *asked)[metric], _expected(evidence, metric, known.scores)
        found[name] = known.total, _against(truth, promise, evidence.independent, same=True)
    return found


def _estimated_slices(evidence: Evidence, metric: str) -> dict[str, Slice]:
    """Each against all other rows."""
    if not evidence.window.scores.rows.sum():
        return {}

    def by_slice(answers: DuckDBPyRelation) -> dict[str, Scores]:
        rows = sliced_rows(answers.filter(served.PROBABILITY), evidence.look.by)
        return {name: served.scores_of(part, evidence.threshold) for name, part in rows}

    scores, found = evidence.of_answers(by_slice), dict[str, Slice]()
    for name, own in scores.items():
        here = _expected(evidence, metric, own)
        rest = _rest(evidence, metric, [one for other, one in scores.items() if other != name])
        compared = _against(here, rest, evidence.look.independent, same=False)
        found[name] = float(own.rows.sum()), compared
    return found


def _rest(evidence: Evidence, metric: str, others: Sequence[Scores]) -> Estimate | Undefined:
    rows = sum(float(one.rows.sum()) for one in others)
    if rows < evidence.settings.least_rows:
        return Undefined(f"only {rows:,.0f} rows are in other slices: too few to compare it with")
    return _expected(evidence, metric, together(others))


def _expected(evidence: Evidence, metric: str, scores: Scores) -> Estimate | Undefined:
    if (rows := float(scores.rows.sum())) < evidence.settings.least_rows:
        return Undefined(judging.few(rows, evidence.settings))
    asked = (evidence.reference, (metric,), evidence.threshold, evidence.generator)
    return estimated(scores, *asked)[metric]


def _against(
    one: Estimate | Undefined, other: Estimate | Undefined, independent: float, *, same: bool
) -> Estimate | Undefined:
    """The first beside the second. Of the `same` rows, the doubt about the second is all there is;
    of others, what both owe to one calibrator makes it rather too large."""
    if isinstance(one, Undefined) or isinstance(other, Undefined):
        return one if isinstance(one, Undefined) else other
    error = other.error if same else math.hypot(one.error, other.error)
    return Estimate(one.value, other.value, one.error, error).widened(independent)
