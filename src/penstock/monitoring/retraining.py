"""Whether it pays to train again: decided on what the labels of late predictions say. Pure."""

from __future__ import annotations

from typing import NamedTuple

from penstock.monitoring_settings import PerformanceSettings
from penstock.stats.lift import Undefined
from penstock.stats.outcomes_by_score import Outcomes
from penstock.stats.recalibration import Recalibration, recalibration


class Decision(NamedTuple):
    """Whether retraining pays, and why. None: it cannot be told."""

    pays: bool | None
    reason: str
    gain: Recalibration | None = None


def decide(matured: Outcomes, settings: PerformanceSettings) -> Decision:
    """`matured` are labelled predictions of the present model, by its scores.

    It pays when what a new model should save of the log-loss at least is, with 95 % confidence,
    worth the trouble: `retraining_gain`.
    """
    if matured.total < settings.least_rows:
        seen = f"{matured.total:,.0f} labelled predictions"
        return Decision(None, f"{seen}; {settings.least_rows:,} are needed to tell")
    found = recalibration(matured)
    if isinstance(found, Undefined):
        return Decision(None, found.reason)
    low, high = found.interval(0.90)  # one-sided 95 %
    expected = float(matured.score @ matured.rows) / matured.total
    worth = settings.retraining_gain * found.loss
    verdict = "retraining pays" if low > worth else "retraining does not pay yet"
    return Decision(
        low > worth,
        f"{verdict}: of {found.rows:,} labelled predictions {expected:.1%} were expected to be "
        f"positive and {matured.rate:.1%} were; rightly taken, their scores would save "
        f"{found.gain:.4f} ({low:.4f} to {high:.4f}) of a log-loss of {found.loss:.4f}, "
        f"and {worth:.4f} is worth it",
        found,
    )
