"""Where alerts and silences are remembered: entries of the ledger, and a table that is their fold.

What waits for a second look stands in the table alone: it has not happened yet.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec.structs import replace
from sqlalchemy import Engine

from penstock.audit.entries import Draft, Entry
from penstock.audit.ledger import Actor, Ledger, Page, actor_of
from penstock.errors import UsageError
from penstock.monitoring.alerts.alert import Alert, Silence
from penstock.monitoring.alerts.decision import Decision, Transition
from penstock.state import alerts as table

FIRED, RESOLVED, ACTED = "alert.fired", "alert.resolved", "alert.acted"
SILENCED, UNSILENCED = "alert.silenced", "alert.unsilenced"
MONITOR = Actor("monitor")
LONGEST = timedelta(days=30)  # of a silence


def read(engine: Engine) -> dict[str, Alert]:
    """All alerts that are not forgotten, by id."""
    with engine.connect() as connection:
        return _alerts(table.read(connection))


def silences(engine: Engine, now: datetime) -> list[Silence]:
    """Those that hold, the first to end first."""
    entries = Ledger(engine).entries_of((SILENCED, UNSILENCED))
    return silences_of(entries, now)


def silences_of(entries: Iterable[Entry], now: datetime) -> list[Silence]:
    """The fold of their entries."""
    found: dict[str, Silence] = {}
    for entry in entries:
        told = entry.details
        if entry.action == SILENCED:
            found[told["id"]] = Silence(
                id=told["id"],
                alerts=entry.subject,
                subject=told["subject"],
                endpoint=told["endpoint"],
                until=datetime.fromisoformat(told["until"]),
                by=entry.actor,
                reason=entry.reason,
            )
        elif entry.action == UNSILENCED:
            found.pop(entry.subject, None)
    return sorted((one for one in found.values() if now < one.until), key=lambda one: one.until)


def firing_of(entries: Iterable[Entry]) -> set[str]:
    """Ids of the alerts that fire, as the ledger tells it: what the table must say too."""
    found: set[str] = set()
    for entry in entries:
        (found.add if entry.action == FIRED else found.discard)(entry.subject)
    return found


def silence(
    engine: Engine,
    alerts: str,
    *,
    subject: str,
    endpoint: str,
    lasts: timedelta,
    reason: str,
    now: datetime,
) -> Silence:
    """From now on, for so long. Raises `UsageError` for more than 30 days, or without a reason."""
    if not timedelta(0) < lasts <= LONGEST:
        raise UsageError(
            f"a silence of {lasts} is not one of at most {LONGEST.days} days",
            hint="a rule that is never wanted is switched off: [alerts.NAME] enabled = false",
        )
    if not reason.strip():
        raise UsageError("a silence needs a reason", hint="--reason 'mended in #812'")
    made = Silence(secrets.token_hex(3), alerts, subject, endpoint, now + lasts, reason=reason)
    details = {"id": made.id, "subject": subject, "endpoint": endpoint}
    details["until"] = made.until.isoformat()
    by = actor_of(None)
    Ledger(engine).write(
        Draft(by=by, action=SILENCED, subject=alerts, reason=reason, details=details)
    )
    return made._replace(by=by.id)


def unsilence(engine: Engine, id_: str, reason: str, now: datetime) -> Silence:
    """Ends a silence by its id, or a beginning of it. Raises `UsageError` where none is so."""
    found = [one for one in silences(engine, now) if one.id.startswith(id_)]
    if len(found) != 1:
        known = ", ".join(one.id for one in silences(engine, now)) or "none"
        raise UsageError(f"no single silence is called {id_!r}", hint=f"there is {known}")
    draft = Draft(by=actor_of(None), action=UNSILENCED, subject=found[0].id, reason=reason)
    Ledger(engine).write(draft)
    return found[0]


def decide_on(
    engine: Engine,
    deciding: Callable[[Mapping[str, Alert], Sequence[Silence]], Decision],
    now: datetime,
    also: Callable[[Page, Decision], None],
) -> Decision:
    """Reads, decides, and writes what follows in one transaction: of two who look at once, the
    second sees what the first decided. `also` writes what must be written with it.
    """
    with Ledger(engine).page() as page:
        known = _alerts(table.read(page.connection))
        quiet = silences_of(page.entries((SILENCED, UNSILENCED)), now)
        decision = deciding(known, quiet)
        for one in decision.transitions:
            page.write(_draft(one))
        table.write(page.connection, map(_document, decision.alerts), now)
        table.forget(page.connection, decision.forgotten)
        also(page, decision)
    return decision


def acted(engine: Engine, alert: Alert, action: str, outcome: str, now: datetime) -> None:
    """Writes down what was done about an alert."""
    details = {"action": action, "alert": alert.name}
    draft = Draft(by=MONITOR, action=ACTED, subject=alert.id, outcome=outcome, details=details)
    with Ledger(engine).page() as page:
        page.write(draft)
        settle(page, [alert], {alert.id: outcome}, now)


def settle(page: Page, alerts: Iterable[Alert], done: Mapping[str, str], now: datetime) -> None:
    """What was done about some alerts, by id, is not done again this time."""
    known = _alerts(table.read(page.connection))
    after = [
        replace(known[one.id], acted=done[one.id])
        for one in alerts
        if one.id in known and one.id in done
    ]
    table.write(page.connection, map(_document, after), now)


def _draft(one: Transition) -> Draft:
    seen = one.alert.last
    told: dict[str, Any] = {
        "rule": one.alert.rule,
        "metric": seen.metric,
        "subject": seen.subject,
        "endpoint": seen.endpoint,
        "model": seen.model,
        "value": seen.value,
        "before": seen.before,
        "rows": seen.rows,
        "look": seen.look,
        "since": one.alert.since.isoformat(),
    }
    return Draft(
        by=MONITOR,
        action=FIRED if one.kind == "fired" else RESOLVED,
        subject=one.alert.id,
        reason=one.reason,
        details=told,
    )


def _alerts(documents: Iterable[dict[str, Any]]) -> dict[str, Alert]:
    found = (msgspec.convert(document, Alert) for document in documents)
    return {one.id: one for one in found}


def _document(alert: Alert) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.to_builtins(alert)
    return document
