"""Which part of the rows a model serves worst. Pure.

Slices differ in how hard they are, and none was held out. With labels a slice is judged against
what its own scores promised: where that promise is broken, the model has gone wrong there, however
well it does elsewhere. Without labels it is judged against what is estimated of all other rows.
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

# The rows of a slice, and its metric: `reference` is what it is judged against.
Slice = tuple[float, Estimate | Undefined]
AGAINST = {
    "realised": "its scores promised",
    "estimated": "of the other rows is estimated",
}


def judged_slices(
    how: str,
    metric: str,
    column: str,
    slices: Mapping[str, Slice],
    settings: PerformanceSettings,
) -> list[Measure]:
    """One measure a slice, the worst first. `how` is realised or estimated.

    Found where it is worse by more than the margin, beyond doubt; each slice that can be told is
    given its part of the error that is allowed for all of them (Bonferroni).
    """
    sign = -1.0 if metric in SMALLER_IS_BETTER else 1.0
    why = {name: why_untold(one, rows, settings) for name, (rows, one) in slices.items()}
    confidence = 1 - ALPHA / max(sum(not reason for reason in why.values()), 1)
    told, others = list[Measure](), list[Measure]()
    for name, (rows, one) in slices.items():
        subject = f"{column}={name}"
        if isinstance(one, Undefined) or why[name]:
            others.append(untold(f"{how}_{metric}", why[name], rows, subject))
            continue
        low, high = one.difference(confidence)
        best, change = (high if sign > 0 else low), one.value - one.reference
        worse = sign * best < -settings.margin * abs(one.reference)
        told.append(
            Measure(
                name=f"{how}_{metric}",
                subject=subject,
                verdict=Verdict.FOUND if worse else Verdict.FINE,
                reason=f"{one.value:.4f}; {AGAINST[how]} {one.reference:.4f}: {change:+.4f} "
                f"({low:+.4f} to {high:+.4f})",
                value=one.value,
                before=one.reference,
                interval=one.interval(),
                rows=round(rows),
                details={"difference": [low, high], "confidence": confidence},
            )
        )
    return sorted(told, key=lambda one: sign * _change(one)) + others


def worst_of(slices: Sequence[Measure], column: str) -> Measure:
    """Names the worst slice, and how many could not be told; `slices` have it first."""
    told = [one for one in slices if one.value is not None]
    if not told:
        return untold("worst_slice", _why_none(slices, column), subject=column)
    reason, few = told[0].reason, len(slices) - len(told)
    reason += f"; of {len(slices)} slices" if len(slices) > 1 else "; there is no other slice"
    if few:
        rows = sum(one.rows for one in slices if one.value is None)
        reason += f", {few} of which cannot be told ({rows:,} rows)"
    return replace(told[0], name="worst_slice", reason=reason, details={"metric": told[0].name})


def _change(measure: Measure) -> float:
    return (measure.value or 0.0) - (measure.before or 0.0)


def _why_none(slices: Sequence[Measure], column: str) -> str:
    if not slices:
        return "there are no rows to slice"
    largest = max(slices, key=lambda one: one.rows)
    return f"none of {len(slices)} slices by {column} can be told; of the largest: {largest.reason}"
