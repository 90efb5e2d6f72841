"""How a served version fares: estimated without labels, realised once they have come.

Estimates are of the window. What is realised is of the *matured* predictions: those whose label's
horizon ended within the window, so that late labels do not make the slow cases invisible.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property

import numpy as np
from sqlalchemy import Engine

from penstock.errors import DataError
from penstock.monitoring import judging, served
from penstock.monitoring.reference import reference_of
from penstock.monitoring.report import Measure, Report, Verdict
from penstock.monitoring.retraining import decide
from penstock.monitoring.served import Answered, Asked, Matured
from penstock.monitoring.slices import sliced_rows
from penstock.monitoring_settings import PerformanceSettings
from penstock.project import Project
from penstock.registry.versions import Found
from penstock.serving.feedback import disagreeing
from penstock.serving.release import EndpointFolder
from penstock.state import outcomes
from penstock.stats.isotonic import calibration_error, calibrator, cross_fitted_error
from penstock.stats.lift import Undefined
from penstock.stats.outcomes_by_score import Outcomes
from penstock.stats.performance_estimation import Estimate, estimated, realised

KIND = "performance"
NOTHING = Outcomes(*(np.zeros(0) for _ in Outcomes._fields))
SAMPLE = 5  # ids that are named
UNUSABLE = "answers have no single number as output, or were erased"
EARLY = "labels were known before their prediction: left out; are the clocks right?"
UNKNOWN = "ids have a label and no prediction in the log: made up, of elsewhere, or deleted"
TWICE = "predictions were told different labels: the first counts, unless one says `replace`"


@dataclass(frozen=True)
class Look:
    """One look at one version of one endpoint."""

    project: Project
    engine: Engine
    endpoint: str
    found: Found  # the version
    since: datetime
    until: datetime
    now: datetime
    by: str = ""  # a column to slice by

    @property
    def model(self) -> str:
        return self.found.label

    @property
    def settings(self) -> PerformanceSettings:
        return self.project.settings.monitoring.performance

    @property
    def horizon(self) -> timedelta:
        own = self.settings.horizon
        return self.project.settings.training.gap if own is None else own

    @property
    def window(self) -> Asked:
        folder = EndpointFolder(self.project.endpoint(self.endpoint)).predictions
        threshold = self.project.settings.training.threshold
        return Asked(folder, self.endpoint, self.model, self.since, self.until, threshold)

    @property
    def cohort(self) -> Asked:
        """Whose labels became due within the window."""
        earlier = self.since - self.horizon, self.until - self.horizon
        return replace(self.window, since=earlier[0], until=earlier[1])

    @property
    def tolerance(self) -> timedelta:
        """By which clocks of hosts may be apart."""
        return self.project.settings.data.future_tolerance

    @cached_property
    def told(self) -> list[outcomes.Labelled]:
        """Labels that may be about the cohort, or about no prediction at all."""
        since = self.cohort.since - max(self.horizon, timedelta(days=1))
        span = int(since.timestamp()), int(self.now.timestamp()) + 1
        return outcomes.labels(self.engine, self.endpoint, *span)

    @property
    def generator(self) -> np.random.Generator:
        return np.random.default_rng(self.project.seed)


def performance(look: Look) -> Report:
    """All that can be told of a version, estimated and realised."""
    window = served.answered(look.window)
    return Report(
        kind=KIND,
        model=look.model,
        endpoint=look.endpoint,
        made_at=look.now,
        since=look.since,
        until=look.until,
        source="prediction log",
        rows=window.rows,
        measures=tuple(_measures(look, window)),
    )


def _measures(look: Look, window: Answered) -> Iterator[Measure]:
    cohort = served.matured(look.cohort, look.told, look.tolerance)
    try:
        reference = _held_out(look)
    except DataError as error:
        yield Measure("held_out", "", Verdict.ERROR, f"{error.message}; {error.hint}")
        reference = NOTHING
    yield from _answers(window)
    yield from _estimated(look, window, reference)
    yield from _labels(look, cohort)
    yield from _realised(look, cohort, reference)
    yield _retraining(look, cohort)
    if look.by:
        yield from _slices(look, window, cohort, reference)


def _held_out(look: Look) -> Outcomes:
    """What the version answered to held-out rows, and what came true."""
    scores = reference_of(look.project, look.found).scores
    if scores is None:
        raise DataError(
            f"the profile of {look.model} has no held-out answers",
            hint="`penstock run --rerun evaluate_model` makes a version that has them",
        )
    return Outcomes(*(np.array(getattr(scores, name), float) for name in Outcomes._fields))


def _answers(window: Answered) -> Iterator[Measure]:
    """Whether the outputs can be judged at all."""
    usable = float(window.scores.rows.sum())
    if window.rows:
        yield judging.constant(len(window.scores.score), usable)
        lost = window.rows - window.improbable - round(usable)
        yield judging.counted(
            "improbable_outputs", window.improbable, window.rows, "outputs are no probabilities"
        )
        yield judging.counted("unusable_outputs", lost, window.rows, UNUSABLE)


def _estimated(look: Look, window: Answered, reference: Outcomes) -> Iterator[Measure]:
    rows, settings = float(window.scores.rows.sum()), look.settings
    if reason := _unjudged(rows, f"no prediction of {look.model} in the window", reference):
        yield from (judging.untold(f"estimated_{name}", reason) for name in settings.metrics)
        return
    seen = cross_fitted_error(reference, look.generator)
    raw = calibration_error(reference, reference.score)
    yield judging.calibrated("calibration_error", seen, reference.total, raw.error)
    found = estimated(
        window.scores, reference, settings.metrics, look.window.threshold, look.generator
    )
    yield from judging.judged("estimated", found, rows, settings)
    expected = calibrator(reference).expected(window.scores)
    yield judging.rate("estimated_positive_rate", expected, reference, settings)


def _unjudged(rows: float, nothing: str, reference: Outcomes) -> str:
    """Why nothing can be compared; empty where it can."""
    if not rows:
        return nothing
    return "" if reference.total else "there are no held-out rows to compare with"


def _labels(look: Look, cohort: Matured) -> Iterator[Measure]:
    """What is wrong with the labels."""
    if cohort.rows:
        yield judging.covered(round(cohort.outcomes.total), cohort.rows, look.settings)
    total = len(look.told)
    lost = served.unknown(look.window.folder, look.endpoint, look.told) if total else []
    folder = EndpointFolder(look.project.endpoint(look.endpoint)).feedback
    twice = sorted({thing.subject for thing in disagreeing(folder)})
    for name, count, what, sample in (
        ("labels_before_prediction", cohort.early, EARLY, []),
        ("labels_of_no_class", cohort.no_class, "labels are neither 0 nor 1: left out", []),
        ("labels_of_no_prediction", len(lost), UNKNOWN, lost),
        ("labels_disagreeing", len(twice), TWICE, twice),
    ):
        yield judging.counted(name, count, total, what, tuple(sample[:SAMPLE]))


def _realised(look: Look, cohort: Matured, reference: Outcomes) -> Iterator[Measure]:
    known, settings = cohort.outcomes, look.settings
    nothing = f"no label of {look.model} became due in the window"
    if cohort.rows:
        nothing = f"none of {cohort.rows:,} matured predictions has a label"
    if reason := _unjudged(known.total, nothing, reference):
        yield from (judging.untold(f"realised_{name}", reason) for name in settings.metrics)
        return
    metrics, threshold = settings.metrics, look.window.threshold
    truth = realised(known, reference, metrics, threshold, look.generator)
    yield from judging.judged("realised", truth, known.total, settings)
    yield judging.rate("realised_positive_rate", known, reference, settings)
    if known.total >= settings.least_rows:
        seen = calibration_error(known, calibrator(reference)(known.score))
        yield judging.calibrated("realised_calibration_error", seen, known.total, None)
        guess = estimated(known.scores, reference, metrics, threshold, look.generator)
        yield from judging.trusted(guess, truth, known.total, settings)


def _retraining(look: Look, cohort: Matured) -> Measure:
    decision = decide(cohort.outcomes, look.settings)
    if decision.gain is None or decision.pays is None:
        return judging.untold("retraining_gain", decision.reason, cohort.outcomes.total)
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


def _slices(
    look: Look, window: Answered, cohort: Matured, reference: Outcomes
) -> Iterator[Measure]:
    """Of the first of the metrics, the worst slice first: realised if there are labels."""
    if cohort.outcomes.total >= look.settings.least_rows:
        rows = served.with_labels(look.cohort, look.told, look.tolerance).filter(served.KNOWN)
        parts = {n: served.outcomes_of(part, look.window) for n, part in sliced_rows(rows, look.by)}
        yield from _judged_slices(look, "realised", parts, cohort.outcomes)
    elif reference.total and window.scores.rows.sum():
        rows = look.window.rows().filter(f"{served.USABLE} AND {served.PROBABILITY}")
        meaning = calibrator(reference)
        parts = {
            name: meaning.expected(served.scores_of(part, look.window))
            for name, part in sliced_rows(rows, look.by)
        }
        yield from _judged_slices(look, "estimated", parts, meaning.expected(window.scores))
    else:
        yield judging.untold("worst_slice", "there is nothing to slice", subject=look.by)


def _judged_slices(
    look: Look, how: str, parts: Mapping[str, Outcomes], whole: Outcomes
) -> Iterator[Measure]:
    metric, threshold = look.settings.metrics[0], look.window.threshold
    found: dict[str, tuple[float, Estimate | Undefined]] = {}
    for name, part in parts.items():
        one = realised(part, whole, (metric,), threshold, look.generator)
        found[name] = (part.total, one[metric])
    measures = judging.sliced(how, metric, look.by, found, look.settings)
    yield judging.worst_of(measures, look.by)
    yield from measures
