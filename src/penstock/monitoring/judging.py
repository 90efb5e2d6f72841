"""What estimates and counts of a model's performance mean: measures with a verdict. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from penstock.gates.metrics import SMALLER_IS_BETTER
from penstock.monitoring.report import Measure, Verdict
from penstock.monitoring_settings import PerformanceSettings
from penstock.stats.isotonic import BINS, CalibrationError
from penstock.stats.lift import Undefined
from penstock.stats.normal import quantile
from penstock.stats.outcomes_by_score import Outcomes, condensed
from penstock.stats.performance_estimation import Estimate
from penstock.stats.proportions import wilson

MOVED = 0.1  # of a rate, that matters
ALPHA = 0.05  # of false alarms, over all that is judged together


def judged(
    how: str,
    found: Mapping[str, Estimate | Undefined],
    rows: float,
    settings: PerformanceSettings,
) -> list[Measure]:
    """One measure a metric, against the held-out rows. `how` is estimated or realised.

    Found where it is worse by more than the margin, beyond the doubt of both samples; each metric
    is given its part of the error that is allowed for all together (Bonferroni).
    """
    return [
        _judged(how, name, one, rows, settings, 1 - ALPHA / len(found))
        for name, one in found.items()
    ]


def _judged(
    how: str,
    name: str,
    one: Estimate | Undefined,
    rows: float,
    settings: PerformanceSettings,
    confidence: float,
) -> Measure:
    if reason := why_untold(one, rows, settings):
        return untold(f"{how}_{name}", reason, rows)
    assert isinstance(one, Estimate)
    sign = -1.0 if name in SMALLER_IS_BETTER else 1.0
    low, high = one.difference(confidence)
    margin = settings.margin * abs(one.reference)
    best, worst = (low, high) if sign < 0 else (high, low)
    worse = sign * best < -margin
    change = one.value - one.reference
    said = f"{one.value:.4f} against {one.reference:.4f} held out: {change:+.4f}"
    said += f" ({min(best, worst):+.4f} to {max(best, worst):+.4f})"
    bound = f"{margin:.4f} worse is allowed"
    return Measure(
        name=f"{how}_{name}",
        subject="",
        verdict=Verdict.FOUND if worse else Verdict.FINE,
        reason=f"{said}, {bound}",
        value=one.value,
        before=one.reference,
        interval=one.interval(),
        rows=round(rows),
        details={"difference": [low, high], "margin": margin},
    )


def why_untold(one: Estimate | Undefined, rows: float, settings: PerformanceSettings) -> str:
    if rows < settings.least_rows:
        return few(rows, settings)
    return one.reason if isinstance(one, Undefined) else ""


def untold(name: str, reason: str, rows: float = 0, subject: str = "") -> Measure:
    """What could not be told, and why."""
    return Measure(name, subject, Verdict.INSUFFICIENT, reason, rows=round(rows))


def trusted(
    estimates: Mapping[str, Estimate | Undefined],
    known: Mapping[str, Estimate | Undefined],
    rows: float,
    settings: PerformanceSettings,
) -> list[Measure]:
    """Whether estimates of the rows whose labels have come were right: one measure a metric.

    A difference beyond chance and margin means that the same scores lead to something else now.
    """
    found = []
    for name, estimate in estimates.items():
        truth = known[name]
        if isinstance(estimate, Undefined) or isinstance(truth, Undefined):
            continue
        low, high = estimate.interval(1 - ALPHA / len(estimates))
        half, off = (high - low) / 2, estimate.value - truth.value
        wrong = abs(off) > max(half, settings.margin * abs(truth.value))
        found.append(
            Measure(
                name="estimation_error",
                subject=name,
                verdict=Verdict.FOUND if wrong else Verdict.FINE,
                reason=f"estimated {estimate.value:.4f} ({low:.4f} to {high:.4f}), realised "
                f"{truth.value:.4f}",
                value=off,
                interval=(off - half, off + half),
                rows=round(rows),
                details={"estimated": estimate.value, "realised": truth.value},
            )
        )
    return found


def calibrated(
    name: str,
    seen: CalibrationError,
    known: Outcomes,
    before: float | None = None,
    independent: float = 1.0,
) -> Measure:
    """A calibration error: by how much predicted probabilities miss the observed share.

    `known` are the rows it was seen in, of which a share tells something new.
    """
    beyond = seen.error > 2 * seen.chance and seen.error > 0.02
    return Measure(
        name=name,
        subject="",
        verdict=Verdict.FOUND if beyond else Verdict.FINE,
        reason=f"probabilities are off by {seen.error:.4f} on average; {seen.chance:.4f} by chance "
        "alone",
        value=seen.error,
        before=before,
        rows=round(known.total),
        details={"chance": seen.chance, "curve": curve_of(known, independent)},
    )


def curve_of(known: Outcomes, independent: float = 1.0) -> list[list[float]]:
    """What came true by score, in groups of equal share: score, share of positives, its interval.

    >>> import numpy as np
    >>> curve_of(Outcomes(np.array([0.2, 0.8]), np.array([1.0, 4]), np.array([4.0, 1])))
    [[0.2, 0.2, 0.0362, 0.6245], [0.8, 0.8, 0.3755, 0.9638]]
    """
    groups = condensed(known, threshold=0.0, groups=BINS)
    found = []
    for score, positives, rows in zip(groups.score, groups.positives, groups.rows, strict=True):
        low, high = wilson(positives * independent, rows * independent)
        points = (score, positives / rows, low, high)
        found.append([round(float(one), 4) for one in points])
    return found


def constant(distinct: int, rows: float) -> Measure:
    """Whether the model still tells rows apart."""
    same = distinct == 1 and rows > 1
    return Measure(
        name="distinct_scores",
        subject="",
        verdict=Verdict.FOUND if same else Verdict.FINE,
        reason=f"all {rows:,.0f} scores are the same" if same else f"{distinct:,} distinct scores",
        value=float(distinct),
        rows=round(rows),
    )


def counted(name: str, count: int, of: int, what: str, sample: tuple[str, ...] = ()) -> Measure:
    """Rows that should not be: found where there is one."""
    details: dict[str, Any] = {"sample": list(sample)} if sample else {}
    return Measure(
        name=name,
        subject="",
        verdict=Verdict.FOUND if count else Verdict.FINE,
        reason=f"{count:,} {what}",
        value=float(count),
        rows=of,
        details=details,
    )


def covered(labelled: int, matured: int, settings: PerformanceSettings) -> Measure:
    """The share of the matured predictions that have labels."""
    share = labelled / matured
    low = share < settings.coverage
    wanted = f"at least {settings.coverage:.0%} are expected"
    return Measure(
        name="label_coverage",
        subject="",
        verdict=Verdict.FOUND if low else Verdict.FINE,
        reason=f"{labelled:,} of {matured:,} matured predictions have labels ({share:.1%})"
        + (f"; {wanted}: what is realised may be of the easy ones alone" if low else ""),
        value=share,
        rows=matured,
    )


def rate(
    name: str,
    sample: Outcomes,
    reference: Outcomes,
    settings: PerformanceSettings,
    independent: float,
) -> Measure:
    """The share of positives against that of the held-out rows, whichever way it moves."""
    if sample.total < settings.least_rows:
        return untold(name, few(sample.total, settings), sample.total)
    size, before = sample.total * independent, reference.rate
    low, high = wilson(sample.rate * size, size)
    variance = sample.rate * (1 - sample.rate) / size + before * (1 - before) / reference.total
    error = math.sqrt(variance)
    apart = abs(sample.rate - before) > quantile(1 - ALPHA / 2) * error
    moved = apart and abs(sample.rate - before) > MOVED * before
    return Measure(
        name=name,
        subject="",
        verdict=Verdict.FOUND if moved else Verdict.FINE,
        reason=f"{sample.rate:.2%} ({low:.2%} to {high:.2%}) against {before:.2%} held out",
        value=sample.rate,
        before=before,
        interval=(low, high),
        rows=round(sample.total),
    )


def few(rows: float, settings: PerformanceSettings) -> str:
    return f"{rows:,.0f} rows; {settings.least_rows:,} are needed to tell"
