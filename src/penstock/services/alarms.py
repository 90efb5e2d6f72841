"""What fires, in short: for those who watch the services."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import get_args

import msgspec

from penstock.monitoring.alerts.alert import Alert, Silence, Status
from penstock.monitoring_settings import AlertRule

SEVERITIES: tuple[str, ...] = get_args(AlertRule.model_fields["severity"].annotation)


class Alarm(msgspec.Struct, frozen=True):
    """An alert that fires and is not silent."""

    id: str
    name: str  # drift(tenure) of churn@3 on production
    severity: str
    since: datetime


class Alarms(msgspec.Struct, frozen=True):
    """All of them, the newest first."""

    firing: tuple[Alarm, ...] = ()
    silent: int = 0  # that fire, and of which nobody wants to hear for a while

    @property
    def counts(self) -> dict[str, int]:
        """By severity, the worst first."""
        found = Counter(one.severity for one in self.firing)
        return {name: found[name] for name in SEVERITIES if found[name]}


def alarms(
    alerts: Iterable[Alert],
    silences: Sequence[Silence],
    rules: Mapping[str, AlertRule],
    now: datetime,
) -> Alarms:
    """Those of alerts as they stand."""
    firing = [one for one in alerts if one.status is Status.FIRING]
    heard = [one for one in firing if not any(quiet.covers(one, now) for quiet in silences)]
    found = [
        Alarm(
            one.id,
            one.name,
            rules.get(one.rule, AlertRule(metric=one.last.metric)).severity,
            one.fired_at or one.since,
        )
        for one in heard
    ]
    newest = sorted(found, key=lambda one: one.since, reverse=True)
    return Alarms(tuple(newest), len(firing) - len(heard))
