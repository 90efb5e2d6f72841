"""Whether a rule's condition holds for a measure. Pure."""

from __future__ import annotations

import math

from penstock.gates.thresholds import HOLDS
from penstock.monitoring.alerts.alert import Signal
from penstock.monitoring.report import Verdict
from penstock.monitoring_settings import AlertRule
from penstock.setting_types import Rule

UNTOLD = frozenset({Verdict.INSUFFICIENT, Verdict.ERROR})


def holds(rule: AlertRule, signal: Signal, *, firing: bool) -> bool | None:
    """None: it cannot be told, which is not fine.

    Where a measure has an interval, an alert begins when all of it is beyond the threshold, and
    goes on for as long as the value itself is: chance begins none, and does not end one.
    """
    if signal.verdict in UNTOLD:
        return None
    if rule.when is None:
        return signal.verdict is Verdict.FOUND
    if signal.value is None or not math.isfinite(signal.value):
        return None
    beyond = _beyond(rule.when, signal.value)
    if signal.interval is None or firing:
        return beyond
    return beyond and all(_beyond(rule.when, end) for end in signal.interval)


def _beyond(threshold: Rule, value: float) -> bool:
    return bool(HOLDS[threshold.op](value, threshold.value))
