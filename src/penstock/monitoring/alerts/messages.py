"""What people are told, and the command to type. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from penstock.monitoring.alerts.alert import Alert, Signal
from penstock.monitoring.alerts.decision import Group, Telling
from penstock.monitoring_settings import SERVICE_MEASURES, AlertRule
from penstock.notifications.channels import FAILURE, INFO, RESOLVED, SUCCESS, WARNING, Message

NAMED = 3  # alerts in a title
LISTED = 10  # in a body: a storm is one message that can be read
LEVELS = {"page": FAILURE, "ticket": WARNING, "info": INFO}


class Known(NamedTuple):
    """What else is known of the model that a message is about."""

    project: str
    owner: str
    digest: str = ""
    data: str = ""  # the version of the upstream data that it learned from
    performance: str = ""  # as it is estimated now, and as it was
    rollout: str = ""  # that goes on at the endpoint


def message_of(
    telling: Telling, known: Known, rules: Mapping[str, AlertRule], now: datetime
) -> Message:
    """One message for all that a group has to say."""
    first = (*telling.firing, *telling.going_on, *telling.resolved)[0]
    rule = rules.get(first.rule)
    lines = [
        f"Model: {_model(telling.group, known)}" if telling.group.model else "",
        f"Endpoint: {telling.group.endpoint}" if telling.group.endpoint else "",
        f"Data it learned from: {known.data}" if known.data else "",
        f"Estimated performance: {known.performance}" if known.performance else "",
        *_listed("Fires", telling.firing),
        *_listed("Goes on", telling.going_on),
        *_listed("Is over", telling.resolved),
        f"Severity: {telling.group.severity}",
        f"Owner: {(rule and rule.owner) or known.owner}",
        f"Runbook: {rule.runbook}" if rule and rule.runbook else "",
        *_to_do(telling, known, rules),
    ]
    thread = hashlib.sha256("\0".join(telling.group).encode()).hexdigest()[:32]
    return Message(
        title=f"[{telling.group.endpoint or known.project}] {_headline(telling)}",
        body="\n".join(filter(None, lines)),
        level=_level(telling),
        key=f"alerts/{thread}/{now.isoformat()}",
        thread=thread,
    )


def command_for(alert: Alert, action: str, rollout: str) -> str:
    """What somebody would type next."""
    seen = alert.last
    if seen.metric in SERVICE_MEASURES:
        return (
            f"penstock rollout rollback {rollout} --reason '…'"
            if rollout
            else f"penstock endpoints show {seen.endpoint}"
        )
    if seen.metric == "pipeline.failed":
        return "penstock runs show last"
    if seen.metric.startswith("monitoring."):
        return "penstock monitor all"
    return "penstock triggers list" if action == "retrain" else "penstock run"


def number(value: float) -> str:
    """Four digits, never as a power of ten where people would not write one."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def change(signal: Signal) -> str:
    """drift 0.31, before 0.02, 12,000 rows."""
    parts = [signal.metric if signal.value is None else f"{signal.metric} {number(signal.value)}"]
    if signal.before is not None:
        parts.append(f"before {number(signal.before)}")
    if signal.rows:
        parts.append(f"{signal.rows:,} rows")
    return ", ".join(parts)


def _headline(telling: Telling) -> str:
    news = telling.firing or telling.going_on
    told, verb = (news, "fires") if news else (telling.resolved, "is over")
    if not telling.firing and news:
        verb = "goes on"
    model = f"{telling.group.model}: " if telling.group.model else ""
    names = [f"{one.rule}({one.last.subject})" if one.last.subject else one.rule for one in told]
    if len(names) == 1:
        return f"{model}{names[0]} {verb}"
    shown = ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")
    plural = {"fires": "alerts fire", "goes on": "alerts go on", "is over": "alerts are over"}
    return f"{model}{len(names)} {plural[verb]}: {shown}"


def _model(group: Group, known: Known) -> str:
    return f"{group.model}, digest {known.digest[:12]}" if known.digest else group.model


def _listed(heading: str, alerts: Sequence[Alert]) -> list[str]:
    """The worst first, as far as one reads."""
    worst = sorted(alerts, key=lambda one: -abs(one.last.value or 0.0))
    lines = [f"  {_line(one)}" for one in worst[:LISTED]]
    if len(worst) > LISTED:
        lines.append(f"  and {len(worst) - LISTED} more: penstock alerts list")
    return [f"{heading}:", *lines] if lines else []


def _line(one: Alert) -> str:
    subject = f"({one.last.subject})" if one.last.subject else ""
    often = f"; {one.unsaid} times since it was last told of" if one.unsaid > 1 else ""
    why = one.why or one.last.reason
    since = f"{one.since:%Y-%m-%d %H:%M} UTC"
    return f"{one.rule}{subject} since {since}: {change(one.last)}: {why}{often}"


def _to_do(telling: Telling, known: Known, rules: Mapping[str, AlertRule]) -> list[str]:
    """The commands, each once, and how to have peace meanwhile."""
    alerts = (*telling.firing, *telling.going_on)
    found: dict[str, None] = {}
    for one in alerts:
        action = rules[one.rule].action
        if action != "none":
            found[command_for(one, action, known.rollout)] = None
    done = {rules[one.rule].action for one in alerts} & {"retrain", "hold", "rollback"}
    lines = [f"Done by itself: {', '.join(sorted(done))}"] if done else []
    lines += [f"To do: {command}" for command in found]
    if alerts:
        lines.append(
            f"For peace meanwhile: penstock alerts silence {alerts[0].rule} --for 4h --reason '…'"
        )
    return lines


def _level(telling: Telling) -> str:
    if telling.firing or telling.going_on:
        return LEVELS[telling.group.severity]
    woke = telling.group.severity == "page" and not telling.left
    return RESOLVED if woke else SUCCESS
