"""Alertmanager's webhook (version 4): an alert may propose a rollback, or trigger one.

An alert is about a rollout when its labels name the endpoint, and a metric that a rollout watches:

    labels: {penstock_endpoint: production, penstock_metric: error_rate}

Whatever the metric, it is written into the rollout's story and told to people. Where the plan has
`on_alert = "rollback"` and the metric is the error rate or a latency, it rolls back; it never
moves anything forward. Alerts are repeated: one of the same fingerprint and start counts once.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from penstock.errors import RolloutError
from penstock.rollout import events as e
from penstock.rollout import service
from penstock.rollout.memory import Remembered
from penstock.rollout.routing import candidate_share
from penstock.rollout.states import GOING_BACK
from penstock.rollout_settings import ERROR_RATE, LATENCY
from penstock.serving.http_server.messages import RequestError
from penstock.state import rollouts

ENDPOINT, METRIC = "penstock_endpoint", "penstock_metric"
MOST = 1_000  # alerts in one notification
MOST_NOTED = 20  # alerts in a rollout's story; further ones can only roll back
SHOWN = 500  # characters of a summary


class Alert(msgspec.Struct):
    """One alert of a notification; what else it has is not looked at."""

    status: str
    labels: dict[str, str]
    starts_at: datetime = msgspec.field(name="startsAt")
    fingerprint: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    annotations: dict[str, str] = msgspec.field(default_factory=dict)


class Webhook(msgspec.Struct):
    """A notification as Alertmanager sends it."""

    alerts: list[Alert]
    version: Literal["4"] = "4"


def received(desk: service.Desk, told: Webhook) -> dict[str, Any]:
    """What came of each alert: rolled back, proposed, known, resolved, or why nothing.

    Raises `RequestError` for too many.
    """
    if len(told.alerts) > MOST:
        message = f"{len(told.alerts)} alerts in one notification; at most {MOST} are taken"
        raise RequestError(413, f"{message}: set max_alerts of the receiver", "alerts")
    return {"alerts": [{"fingerprint": a.fingerprint, **_received(desk, a)} for a in told.alerts]}


def _received(desk: service.Desk, alert: Alert) -> dict[str, str]:
    if alert.status != "firing":
        return {"result": "resolved"}  # what was rolled back stays so
    endpoint, metric = alert.labels.get(ENDPOINT, ""), alert.labels.get(METRIC, "")
    if not endpoint or not metric:
        return {"result": "ignored", "reason": f"the labels {ENDPOINT} and {METRIC} say nothing"}
    live = rollouts.live(desk.engine, endpoint)
    if not live:
        return {"result": "ignored", "reason": f"no rollout of {endpoint} goes on"}
    one = desk.memory.load(live[0].id)
    name = f"{alert.fingerprint}@{alert.starts_at.isoformat()}"
    acts = _acts(one, metric)
    # Known, and not acted on: whoever wrote it down was killed before the next entry.
    if service.is_noted(one, name) and (not acts or one.state.status in GOING_BACK):
        return {"result": "known", "rollout": one.state.id}
    noted = sum(isinstance(event, e.Alerted) for event in one.events)
    if noted >= MOST_NOTED and not acts:
        return {"result": "ignored", "reason": f"{noted} alerts of this rollout are known already"}
    summary = alert.annotations.get("summary") or alert.labels.get("alertname", "an alert")
    reason = f"{summary[:SHOWN]} ({metric})"
    try:
        service.note_alert(desk, one.state.id, name, reason, rolls_back=acts)
    except RolloutError as error:
        return {"result": "ignored", "reason": error.message}
    return {"result": "rolled back" if acts else "proposed", "rollout": one.state.id}


def _acts(one: Remembered, metric: str) -> bool:
    """Whether it rolls back: a candidate that nobody is sent to cannot be what is wrong."""
    plan = one.state.spec.settings
    trusted = metric == ERROR_RATE or LATENCY.fullmatch(metric) is not None
    serves = candidate_share(plan, one.state.stage) > 0
    return plan.on_alert == "rollback" and trusted and serves
