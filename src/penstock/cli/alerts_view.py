"""Alerts on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from penstock.cli.output import moment, table

if TYPE_CHECKING:
    from penstock.audit.entries import Entry
    from penstock.monitoring.alerts.alert import Alert, Silence
    from penstock.monitoring.alerts.check import Checked
    from penstock.state.outbox import Waiting

MARKS = {"firing": "✗", "pending": "…", "resolved": "✓"}
HEADS = ("", "id", "rule", "subject", "of", "since", "what")


def print_all(
    alerts: Sequence[Alert],
    silences: Sequence[Silence],
    waiting: Sequence[Waiting],
    now: datetime,
) -> None:
    """All that stands, what is silent, and what could not be sent yet."""
    print(table(HEADS, [_row(one, silences, now) for one in alerts]) if alerts else "no alert")
    for silence in silences:
        of = "".join(
            f" {name}={value}"
            for name, value in (("subject", silence.subject), ("endpoint", silence.endpoint))
            if value != "*"
        )
        until = f"until {moment(silence.until)} by {silence.by}: {silence.reason}"
        print(f"silence {silence.id}: {silence.alerts}{of} {until}")
    for one in waiting:
        since = f"since {moment(one.oldest)}: {one.error or 'to be sent by the next check'}"
        print(f"{one.messages} messages wait for {one.channel} {since}")


def print_one(alert: Alert, story: Sequence[Entry]) -> None:
    """An alert, and what the ledger says of it."""
    from penstock.monitoring.alerts.messages import change

    rows = {
        "alert": f"{alert.id} {alert.name}",
        "status": f"{MARKS[alert.status]} {alert.status} since {moment(alert.since)}",
        "measure": change(alert.last),
        "reason": alert.why or alert.last.reason,
        "blind": alert.blind,
        "told": moment(alert.told_at),
        "done": alert.acted,
    }
    for name, value in rows.items():
        if value:
            print(f"{name:<9} {value}")
    for entry in story:
        said = entry.reason or entry.outcome
        print(f"{moment(entry.at)}  {entry.action.removeprefix('alert.')}: {said}")


def print_check(found: Checked) -> None:
    """What came of a check."""
    decision = found.decision
    for one in decision.transitions:
        mark = MARKS["firing" if one.kind == "fired" else "resolved"]
        print(f"{mark} {one.alert.id} {one.alert.name} {one.kind}: {one.reason}")
    for alert, outcome in found.done.items():
        print(f"  {alert}: {outcome}")
    told = f"{len(decision.tellings)} messages" if decision.tellings else "nobody is told"
    print(f"{found.signals} measures, {len(decision.transitions)} changes, {told}")


def plain(alert: Alert) -> dict[str, Any]:
    """As JSON."""
    import msgspec

    return {"name": alert.name, **msgspec.to_builtins(alert)}


def plain_check(found: Checked) -> dict[str, Any]:
    """As JSON."""
    return {
        "measures": found.signals,
        "transitions": [
            {"kind": one.kind, "reason": one.reason, "alert": plain(one.alert)}
            for one in found.decision.transitions
        ],
        "messages": len(found.decision.tellings),
        "done": dict(found.done),
        "sent": found.sent,
    }


def _row(one: Alert, silences: Sequence[Silence], now: datetime) -> tuple[str, ...]:
    from penstock.monitoring.alerts.messages import change

    quiet = " (silent)" if any(silence.covers(one, now) for silence in silences) else ""
    blind = f"; not told since: {one.blind}" if one.blind else ""
    of = " on ".join(filter(None, (one.last.model, one.last.endpoint)))
    what = f"{change(one.last)}{blind}{quiet}"
    return MARKS[one.status], one.id[:8], one.rule, one.last.subject, of, moment(one.since), what
