"""What a look at a model says: measures, each with a verdict and its reason.

Whoever looks (data, features, predictions, performance, skew, freshness) returns a `Report`;
alerts and triggers read the measures and know nothing of how they came about.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

DRIFT, DRIFTED_SHARE = "drift", "drifted_share"  # names of measures that others read


class Verdict(StrEnum):
    """What was found. Nothing looked at is never "nothing found"."""

    FINE = "fine"  # looked at, and within bounds
    FOUND = "found"  # looked at, and beyond them
    INSUFFICIENT = "insufficient"  # could not be told: too little data, and the reason says which
    ERROR = "error"  # what is needed could not be read


@dataclass(frozen=True)
class Measure:
    """One number and what it means. `name` says what is measured, `subject` of what."""

    name: str  # "drift", "null_share", "estimated_auc_roc", "event_age_s", …
    subject: str  # a feature, column, view, metric or slice; empty: the whole
    verdict: Verdict
    reason: str  # with the numbers behind the verdict
    value: float | None = None  # None: it could not be computed
    before: float | None = None  # the same in the reference
    interval: tuple[float, float] | None = None  # of the value, 95 %
    rows: int = 0  # that were looked at
    details: dict[str, Any] = field(default_factory=dict)  # plain JSON: p_value, effect, k_of_n, …


@dataclass(frozen=True)
class Report:
    """One look at one model version."""

    kind: str  # data, features, predictions, performance, skew, freshness
    model: str  # name@version
    endpoint: str  # empty: not of what is served
    made_at: datetime  # UTC
    since: datetime | None  # the window that was looked at, in UTC; None: all there is
    until: datetime | None  # exclusive
    source: str  # prediction log, gateway observations, dataset, …
    rows: int
    measures: tuple[Measure, ...]

    @property
    def found(self) -> tuple[Measure, ...]:
        return tuple(one for one in self.measures if one.verdict is Verdict.FOUND)
