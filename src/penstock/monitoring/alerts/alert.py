"""What was looked at, and what became of it. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import msgspec

from penstock.monitoring.report import Report, Verdict
from penstock.monitoring_settings import AlertRule


def matches(name: str, glob: str) -> bool:
    """Of a glob, * and ? alone mean more than themselves: names of features may have brackets.

    >>> matches("usage[7d]", "usage[7d]"), matches("usage", "us*"), matches("a", "[ab]")
    (True, True, False)
    """
    return fnmatchcase(name, glob.replace("[", "[[]"))


class Signal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One measure of one look."""

    metric: str
    subject: str = ""  # feature, column, view or slice
    endpoint: str = ""
    model: str = ""  # name@version
    look: str  # which look: the same one counts once
    at: datetime  # UTC
    verdict: Verdict
    reason: str = ""
    value: float | None = None
    before: float | None = None
    interval: tuple[float, float] | None = None
    rows: int = 0
    details: dict[str, Any] = {}


class Status(StrEnum):
    PENDING = "pending"  # found, but not yet for as long as its rule asks
    FIRING = "firing"
    RESOLVED = "resolved"  # kept for a while: what comes back at once is not news


class Alert(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one rule has to say of one thing."""

    id: str  # the same each time it fires
    rule: str
    status: Status
    since: datetime  # of the first look that found it, this time
    last: Signal  # that could tell
    look: str  # the last one, whether it could or not
    seen: datetime  # when that was
    blind: str = ""  # why the last look could not tell
    bad: int = 0  # looks in a row that found it
    good: int = 0  # looks in a row that found it no more
    good_since: datetime | None = None
    fired_at: datetime | None = None
    resolved_at: datetime | None = None
    why: str = ""  # it is resolved
    told: bool = False  # people know that it fires, this time
    told_at: datetime | None = None  # the last message about it
    unsaid: int = 0  # times that it fired without a message, since the last one
    acted: str = ""  # what was done about it, this time

    @property
    def name(self) -> str:
        """For people: feature_drift(tenure) of churn@3 on production."""
        one = self.last
        subject = f"({one.subject})" if one.subject else ""
        of = f" of {one.model}" if one.model else ""
        return f"{self.rule}{subject}{of}{f' on {one.endpoint}' if one.endpoint else ''}"


class Silence(NamedTuple):
    """Of some alerts people hear nothing for a while, and nothing is done about them."""

    id: str
    alerts: str  # a rule's name, or the beginning of an alert's id; * and ? as in file names
    subject: str
    endpoint: str
    until: datetime
    by: str = ""
    reason: str = ""

    def covers(self, one: Alert, now: datetime) -> bool:
        named = matches(one.rule, self.alerts) or one.id.startswith(self.alerts)
        subject = matches(one.last.subject, self.subject)
        endpoint = matches(one.last.endpoint, self.endpoint)
        return now < self.until and named and subject and endpoint


def signals_of(report: Report) -> Iterator[Signal]:
    """The measures of a report."""
    look = f"{report.kind}/{report.model}/{report.endpoint}/{report.made_at.isoformat()}"
    for one in report.measures:
        yield Signal(
            metric=one.name,
            subject=one.subject,
            endpoint=report.endpoint,
            model=report.model,
            look=look,
            at=report.made_at,
            verdict=one.verdict,
            reason=one.reason,
            value=one.value,
            before=one.before,
            interval=one.interval,
            rows=one.rows or report.rows,
            details=one.details,
        )


def about(rule: AlertRule, signal: Signal) -> bool:
    """Whether a rule watches it."""
    named = matches(signal.metric, rule.metric) and matches(signal.subject, rule.subject)
    return rule.enabled and named and matches(signal.endpoint, rule.endpoint)


def alert_id(rule: str, signal: Signal) -> str:
    """The fingerprint: 16 characters, the same for the same rule about the same thing."""
    parts = (rule, signal.endpoint, signal.model, signal.metric, signal.subject)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
