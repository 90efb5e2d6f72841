"""What follows from what was looked at: pending → firing → resolved, and who is told. Pure.

Looks that bring nothing change nothing: an alert that fires goes on until a look says that it is
over, its rule is gone, or its model serves no more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from msgspec.structs import replace

from penstock.monitoring.alerts.alert import Alert, Signal, Silence, Status, about, alert_id
from penstock.monitoring.alerts.conditions import holds
from penstock.monitoring_settings import AlertRule

GATHERING = timedelta(minutes=5)  # between two messages of one group
REMEMBERED = timedelta(days=7)  # of an alert that is over
AHEAD = timedelta(minutes=5)  # that another host's clock may be; what is later counts as now
ACTING = frozenset({"retrain", "hold", "rollback"})
DUE = "due"

Serving = Mapping[str, Collection[str]]  # endpoint ("": of none) -> models, name@version


class Transition(NamedTuple):
    """An entry of the ledger."""

    kind: Literal["fired", "resolved"]
    alert: Alert
    reason: str


class Group(NamedTuple):
    """What one message tells of: alerts of one severity, about one model."""

    severity: str
    name: str  # of the rules' group, or of the rule
    endpoint: str
    model: str


@dataclass(frozen=True)
class Telling:
    """One message."""

    group: Group
    firing: tuple[Alert, ...]  # news
    going_on: tuple[Alert, ...]  # told of again
    resolved: tuple[Alert, ...]
    left: int  # alerts of the group that fire still, told of here or before


@dataclass(frozen=True)
class Decision:
    """What is written, in one transaction."""

    alerts: tuple[Alert, ...] = ()  # that changed
    forgotten: tuple[str, ...] = ()
    transitions: tuple[Transition, ...] = ()
    tellings: tuple[Telling, ...] = ()
    actions: tuple[Alert, ...] = ()  # that something is to be done about


def decide(
    alerts: Mapping[str, Alert],
    signals: Iterable[Signal],
    rules: Mapping[str, AlertRule],
    silences: Sequence[Silence],
    serving: Serving,
    now: datetime,
) -> Decision:
    """`alerts` by id, `rules` by name; `serving`: what is looked at, where that is known."""
    after: dict[str, Alert | None] = {}
    present = (one for one in signals if not is_replaced(one.endpoint, one.model, serving))
    for one_id, (rule, signal) in _observed(present, rules).items():
        after[one_id] = _seen(alerts.get(one_id), one_id, rule, rules[rule], signal, now)
    for one_id, alert in alerts.items():
        after.setdefault(one_id, alert)
        after[one_id] = _ended(after[one_id], rules, serving, now)
    known = {one_id: alert for one_id, alert in after.items() if alert is not None}
    transitions = tuple(_transitions(alerts, known))
    heard = {
        one_id: alert
        for one_id, alert in known.items()
        if not any(silence.covers(alert, now) for silence in silences)
    }
    tellings = tuple(_tellings(known, heard, rules, now))
    actions = tuple(_to_act(heard, rules))
    known |= _after_telling(known, tellings, now)
    for alert in actions:
        known[alert.id] = replace(known[alert.id], acted=DUE)
    return Decision(
        alerts=tuple(a for one_id, a in known.items() if alerts.get(one_id) != a),
        forgotten=tuple(one_id for one_id, a in after.items() if a is None and one_id in alerts),
        transitions=transitions,
        tellings=tellings,
        actions=tuple(known[alert.id] for alert in actions),
    )


def _observed(
    signals: Iterable[Signal], rules: Mapping[str, AlertRule]
) -> dict[str, tuple[str, Signal]]:
    """By alert, the rule and the latest look that it is about."""
    found: dict[str, tuple[str, Signal]] = {}
    for signal in sorted(signals, key=lambda one: one.at):
        for name, rule in rules.items():
            if about(rule, signal):
                found[alert_id(name, signal)] = (name, signal)
    return found


def _seen(
    before: Alert | None, one_id: str, name: str, rule: AlertRule, signal: Signal, now: datetime
) -> Alert | None:
    """The alert after a look; None: there is none, or no more."""
    at = now if signal.at - now > AHEAD else signal.at
    if before is not None and (before.look == signal.look or at < before.seen):
        return before  # known, or older than what is
    firing = before is not None and before.status is Status.FIRING
    found = holds(rule, signal, firing=firing)
    if found is None:
        blind = signal.reason or signal.verdict
        return before and replace(before, look=signal.look, seen=at, blind=blind)
    if before is None:
        if not found:
            return None
        before = Alert(
            id=one_id,
            rule=name,
            status=Status.RESOLVED,
            since=at,
            last=signal,
            look=signal.look,
            seen=at,
        )
    seen = replace(before, last=signal, look=signal.look, seen=at, blind="")
    return _found(seen, rule, at, now) if found else _not_found(seen, rule, at, now)


def _found(alert: Alert, rule: AlertRule, at: datetime, now: datetime) -> Alert:
    if alert.status is Status.RESOLVED:  # it begins anew
        alert = replace(alert, status=Status.PENDING, since=at, bad=0, acted="", why="")
    alert = replace(alert, bad=alert.bad + 1, good=0, good_since=None)
    if alert.status is Status.FIRING or alert.bad < rule.looks or at - alert.since < rule.lasts:
        return alert
    unsaid = alert.unsaid + 1
    return replace(alert, status=Status.FIRING, fired_at=now, resolved_at=None, unsaid=unsaid)


def _not_found(alert: Alert, rule: AlertRule, at: datetime, now: datetime) -> Alert | None:
    """It is over when it was not found for as long as it took to fire."""
    if alert.status is Status.RESOLVED:
        return alert
    if alert.status is Status.PENDING:
        return replace(alert, status=Status.RESOLVED, bad=0) if alert.resolved_at else None
    since = alert.good_since or at
    alert = replace(alert, bad=0, good=alert.good + 1, good_since=since)
    if alert.good < rule.looks or at - since < rule.lasts:
        return alert
    return _over(alert, alert.last.reason or "it is not found any more", now)


def _over(alert: Alert, why: str, now: datetime) -> Alert:
    over = {"status": Status.RESOLVED, "resolved_at": now, "why": why}
    return replace(alert, **over, bad=0, good=0, good_since=None)


def _ended(
    alert: Alert | None,
    rules: Mapping[str, AlertRule],
    serving: Serving,
    now: datetime,
) -> Alert | None:
    """What ends without a look: by a change of the rules, or of what serves."""
    if alert is None:
        return None
    rule, over = rules.get(alert.rule), ""
    if rule is None or not about(rule, alert.last):
        over = f"no rule {alert.rule} watches it any more"
    elif is_replaced(alert.last.endpoint, alert.last.model, serving):
        over = f"{alert.last.model} is looked at no more: another version is"
    if over and alert.status is Status.FIRING:
        return _over(alert, over, now)
    if over and alert.status is Status.PENDING:
        return replace(alert, status=Status.RESOLVED) if alert.resolved_at else None
    known = alert.resolved_at if alert.status is Status.RESOLVED else now
    return alert if known is None or now - known < REMEMBERED else None


def is_replaced(endpoint: str, model: str, serving: Serving) -> bool:
    """Whether another version is looked at instead, and not nothing at all."""
    models, name = serving.get(endpoint, ()), model.rpartition("@")[0]
    if not name or model in models:
        return False
    return any(bool(endpoint) or one.rpartition("@")[0] == name for one in models)


def _transitions(before: Mapping[str, Alert], after: Mapping[str, Alert]) -> Iterable[Transition]:
    for one_id, alert in after.items():
        fired = one_id in before and before[one_id].status is Status.FIRING
        if alert.status is Status.FIRING and not fired:
            yield Transition("fired", alert, alert.last.reason)
        elif fired and alert.status is not Status.FIRING:
            yield Transition("resolved", alert, alert.why)


def _tellings(
    present: Mapping[str, Alert],
    heard: Mapping[str, Alert],
    rules: Mapping[str, AlertRule],
    now: datetime,
) -> Iterable[Telling]:
    """A message for each group that has something to say and was not heard of just now."""
    groups: dict[Group, list[Alert]] = defaultdict(list)
    for alert in present.values():
        groups[_group_of(alert, rules)].append(alert)
    for group, members in sorted(groups.items()):
        last = max((one.told_at for one in members if one.told_at), default=None)
        if last is not None and now - last < GATHERING:
            continue
        fires = [one for one in members if one.status is Status.FIRING and one.id in heard]
        news = tuple(one for one in fires if not one.told and _is_news(one, rules, now))
        again = tuple(one for one in fires if one.told and _is_due(one, rules, now))
        # Whoever was told that it fires is told that it is over, silenced or not.
        over = tuple(one for one in members if one.status is Status.RESOLVED and one.told)
        if news or again or over:
            left = sum(one.status is Status.FIRING for one in members)
            yield Telling(group, news, again, over, left)


def _group_of(alert: Alert, rules: Mapping[str, AlertRule]) -> Group:
    rule = rules.get(alert.rule)
    severity, name = (rule.severity, rule.group) if rule else ("ticket", "")
    return Group(severity, name or alert.rule, alert.last.endpoint, alert.last.model)


def _is_news(alert: Alert, rules: Mapping[str, AlertRule], now: datetime) -> bool:
    return alert.told_at is None or now - alert.told_at >= rules[alert.rule].quiet


def _is_due(alert: Alert, rules: Mapping[str, AlertRule], now: datetime) -> bool:
    return alert.told_at is not None and now - alert.told_at >= rules[alert.rule].repeat


def _after_telling(
    present: Mapping[str, Alert], tellings: Iterable[Telling], now: datetime
) -> dict[str, Alert]:
    """The alerts that people know the state of."""
    found: dict[str, Alert] = {}
    for one in tellings:
        for alert in (*one.firing, *one.going_on, *one.resolved):
            fires = alert.status is Status.FIRING
            found[alert.id] = replace(present[alert.id], told=fires, told_at=now, unsaid=0)
    return found


def _to_act(heard: Mapping[str, Alert], rules: Mapping[str, AlertRule]) -> Iterable[Alert]:
    for alert in heard.values():
        due = alert.status is Status.FIRING and alert.acted in ("", DUE)
        if due and rules[alert.rule].action in ACTING:
            yield alert
