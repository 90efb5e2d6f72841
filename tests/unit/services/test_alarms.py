"""What `penstock up` says of alerts: those that fire and are not silent, the newest first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from penstock.cli.services_view import alarms_line
from penstock.monitoring.alerts.alert import Alert, Signal, Silence, Status
from penstock.monitoring.report import Verdict
from penstock.monitoring_settings import AlertRule
from penstock.services.alarms import Alarms, alarms

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
RULES = {
    "drift": AlertRule(metric="drift"),
    "errors": AlertRule(metric="endpoint.error_rate", severity="page"),
}


def alert(rule: str, subject: str, minutes: int, status: Status = Status.FIRING) -> Alert:
    since = NOON - timedelta(minutes=minutes)
    seen = Signal(metric="drift", subject=subject, look="1", at=since, verdict=Verdict.FOUND)
    return Alert(
        id=f"{rule}-{subject}",
        rule=rule,
        status=status,
        since=since,
        last=seen,
        look="1",
        seen=since,
        fired_at=since,
    )


def test_those_that_fire_are_counted_by_severity_and_the_newest_is_named() -> None:
    found = alarms(
        [
            alert("drift", "tenure", 30),
            alert("errors", "", 5),
            alert("gone", "x", 50),  # its rule is there no more
            alert("drift", "age", 1),
            alert("drift", "city", 1, Status.PENDING),
        ],
        [Silence("s", "drift", "age", "*", NOON + timedelta(hours=1))],
        RULES,
        NOON,
    )
    assert found.counts == {"page": 1, "ticket": 2}
    assert alarms_line(found, NOON) == (
        "3 alerts fire (1 silent): 1 page, 2 ticket; the newest, for 5 min: errors\n"
        "  → penstock alerts list"
    )
    assert alarms_line(Alarms(), NOON) == "no alert fires"
