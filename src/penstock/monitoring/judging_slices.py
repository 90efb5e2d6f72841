"""Which part of the rows a model serves worst. Pure.

Slices differ in how hard they are, and none was held out: so a slice is judged against what its own
scores promised. Where that promise is broken, the model has gone wrong there, however well it does
elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from penstock.gates.metrics import SMALLER_IS_BETTER
from penstock.monitoring.judging import ALPHA, untold, why_untold
from penstock.monitoring.report import Measure, Verdict
from penstock.monitoring_settings import PerformanceSettings
from penstock.stats.lift import Undefined
from penstock.stats.performance_estimation import Estimate

# The rows of a slice, and its metric: as realised against as estimated, or only the latter.
Slice = tuple[float, Estimate | Undefined]


def realised_slices(
    metric: str, column: str, slices: Mapping[str, Slice], settings: PerformanceSettings
) -> list[Measure]:
    """One measure a slice, the worst first; `reference` of each is what was estimated.

    Found where it is worse by more than the margin, beyond doubt; each slice is given its part of
    the error that is allowed for all of them (Bonferroni).
    """
    sign = -1.0 if metric in SMALLER_IS_BETTER else 1.0
    confidence = 1 - ALPHA / max(len(slices), 1)
    found = []
    for name, (rows, one) in slices.items():
        subject = f"{column}={name}"
        if isinstance(one, Undefined) or rows < settings.least_rows:
            reason = why_untold(one, rows, settings)
            found.append(untold(f"realised_{metric}", reason, rows, subject))
            continue
        low, high = one.difference(confidence)
        best = high if sign > 0 else low
        change = one.value - one.reference
        found.append(
            Measure(
                name=f"realised_{metric}",
                subject=subject,
                verdict=Verdict.FOUND
                if sign * best < -settings.margin * abs(one.reference)
                else Verdict.FINE,
                reason=f"{one.value:.4f}; its scores promised {one.reference:.4f}: {change:+.4f} "
                f"({low:+.4f} to {high:+.4f})",
                value=one.value,
                before=one.reference,
                interval=one.interval(),
                rows=round(rows),
                details={"difference": [low, high], "slices": len(slices)},
            )
        )
    return sorted(found, key=lambda one: sign * ((one.value or 0.0) - (one.before or 0.0)))


def estimated_slices(
    metric: str, column: str, slices: Mapping[str, Slice], settings: PerformanceSettings
) -> list[Measure]:
    """One measure a slice, the worst first, for people to read: without labels none is judged."""
    sign = -1.0 if metric in SMALLER_IS_BETTER else 1.0
    found = []
    for name, (rows, one) in slices.items():
        subject = f"{column}={name}"
        if isinstance(one, Undefined) or rows < settings.least_rows:
            reason = why_untold(one, rows, settings)
            found.append(untold(f"estimated_{metric}", reason, rows, subject))
            continue
        low, high = one.interval()
        found.append(
            Measure(
                name=f"estimated_{metric}",
                subject=subject,
                verdict=Verdict.FINE,
                reason=f"{one.value:.4f} ({low:.4f} to {high:.4f}); labels will tell whether it is",
                value=one.value,
                interval=(low, high),
                rows=round(rows),
            )
        )
    return sorted(found, key=lambda one: (one.value is None, sign * (one.value or 0.0)))


def worst_of(slices: Sequence[Measure], column: str) -> Measure:
    """Names the worst slice; `slices` have it first."""
    told = [one for one in slices if one.value is not None]
    if not told:
        return untold("worst_slice", "no slice has enough rows", subject=column)
    return replace(told[0], name="worst_slice", details={"metric": told[0].name})
