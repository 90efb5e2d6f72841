"""Carries out what rules ask for. Everything here may be done twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Engine

from penstock.audit.entries import Draft
from penstock.audit.ledger import Page
from penstock.errors import PenstockError
from penstock.monitoring.alerts import memory
from penstock.monitoring.alerts.alert import Alert
from penstock.monitoring_settings import AlertRule
from penstock.project import Project
from penstock.rollout import alerts as of_rollouts
from penstock.rollout import service
from penstock.rollout_settings import ERROR_RATE
from penstock.state import rollouts

RETRAINING = "retraining.requested"  # what triggers read: its subject is the model's name
METRICS = {"endpoint.error_rate": ERROR_RATE, "endpoint.latency_p95_ms": "latency_p95"}


def request_retraining(
    page: Page, alerts: Iterable[Alert], rules: Mapping[str, AlertRule], name: str
) -> dict[str, str]:
    """One request a model, however many alerts ask for it; gives what was done, by alert.

    `name`: the project's model, of which alerts without one speak.
    """
    asking: dict[str, list[Alert]] = defaultdict(list)
    for one in alerts:
        if rules[one.rule].action == "retrain":
            asking[one.last.model.rpartition("@")[0] or name].append(one)
    done: dict[str, str] = {}
    for model, because in asking.items():
        details: dict[str, Any] = {
            "cause": "alert",
            "alert": because[0].id,
            "alerts": [one.id for one in because],
            "model": because[0].last.model,
            "measures": [
                {
                    "metric": one.last.metric,
                    "subject": one.last.subject,
                    "value": one.last.value,
                    "before": one.last.before,
                }
                for one in because
            ],
        }
        reason = f"{because[0].name}: {because[0].last.reason}"
        draft = Draft(
            by=memory.MONITOR, action=RETRAINING, subject=model, reason=reason, details=details
        )
        entry = page.write(draft)
        done |= {one.id: f"retraining requested: entry {entry.sequence}" for one in because}
    return done


def act(
    project: Project,
    engine: Engine,
    alerts: Iterable[Alert],
    rules: Mapping[str, AlertRule],
    now: datetime,
) -> dict[str, str]:
    """Holds or rolls back, and writes down what came of it; gives that, by alert."""
    done: dict[str, str] = {}
    for one in alerts:
        action = rules[one.rule].action
        if action not in ("hold", "rollback"):
            continue
        desk = service.Desk.of(project, engine, memory.MONITOR)
        outcome = _held(desk, one) if action == "hold" else _rolled_back(desk, one)
        memory.acted(engine, one, action, outcome, now)
        done[one.id] = outcome
    return done


def live_rollout(engine: Engine, endpoint: str) -> str:
    """The id of the rollout that goes on at an endpoint; empty: there is none."""
    found = rollouts.live(engine, endpoint) if endpoint else []
    return found[0].id if found else ""


def _held(desk: service.Desk, one: Alert) -> str:
    """Pauses the live rollout: its guardrails still roll back."""
    rollout = live_rollout(desk.engine, one.last.endpoint)
    if not rollout:
        return "nothing to hold: no rollout goes on"
    try:
        service.operate(desk, rollout, "pause", reason=f"{one.name}: {one.last.reason}")
    except PenstockError as error:
        return f"{rollout} is not held: {error.message}"
    return f"{rollout} is held"


def _rolled_back(desk: service.Desk, one: Alert) -> str:
    """As an alert of Alertmanager is treated: where the plan lets it; forward never."""
    began = one.fired_at or one.since
    told = of_rollouts.Alert(
        status="firing",
        labels={
            of_rollouts.ENDPOINT: one.last.endpoint,
            of_rollouts.METRIC: METRICS[one.last.metric],
        },
        starts_at=began,
        fingerprint=one.id,
        annotations={"summary": f"{one.name}: {one.last.reason}"},
    )
    (said,) = of_rollouts.received(desk, of_rollouts.Webhook(alerts=[told]))["alerts"]
    return ": ".join(filter(None, (said["result"], said.get("rollout"), said.get("reason"))))
