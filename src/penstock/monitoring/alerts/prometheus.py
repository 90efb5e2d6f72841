"""The rules of a project as a file for Prometheus. Pure.

Where Prometheus and Alertmanager watch already, they need no other loop for that: the gateways'
metrics, and those of `penstock alerts check --watch`, are what these rules read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from penstock.monitoring_settings import AlertRule
from penstock.setting_types import duration_text
from penstock.settings import Settings

WINDOW = "5m"  # of the gateways' counters
MISSED = 3  # looks in a row
STUCK = timedelta(hours=6)  # a live rollout in one status
WAITING = timedelta(minutes=15)  # a message in the queue
MEASURE, FOUND = "penstock_monitor_measure", "penstock_monitor_found"
LOOK = "penstock_monitor_last_look_timestamp_seconds"
ERRORS = (
    f"sum by (endpoint) (rate(penstock_errors_total{{%s}}[{WINDOW}])) / "
    f"sum by (endpoint) (rate(penstock_requests_total{{%s}}[{WINDOW}]))"
)
LATENCY = (
    "1000 * histogram_quantile(0.95, sum by (endpoint, le) "
    f"(rate(penstock_request_duration_seconds_bucket{{%s}}[{WINDOW}])))"
)
# The metric as rollouts know it, in the label that Alertmanager's webhook reads.
SERVICE = {"endpoint.error_rate": "error_rate", "endpoint.latency_p95_ms": "latency_p95"}


def rules_document(settings: Settings) -> dict[str, Any]:
    """What `promtool check rules` reads."""
    own = [
        _rule(name, rule, settings)
        for name, rule in settings.alerts.items()
        if rule.enabled and rule.metric != "monitoring.silent"
    ]
    return {
        "groups": [
            {"name": "penstock", "rules": own},
            {"name": "penstock-itself", "rules": list(_of_itself(settings))},
        ]
    }


def alert_name(rule: str) -> str:
    """The name of a rule, as Prometheus's are written.

    >>> alert_name("feature_drift")
    'PenstockFeatureDrift'
    """
    return "Penstock" + "".join(part[:1].upper() + part[1:] for part in re.split(r"[_-]+", rule))


def _rule(name: str, rule: AlertRule, settings: Settings) -> dict[str, Any]:
    labels = {"severity": rule.severity, "owner": rule.owner or settings.project.owner}
    if rule.metric in SERVICE:
        labels |= {
            "penstock_endpoint": "{{ $labels.endpoint }}",
            "penstock_metric": SERVICE[rule.metric],
        }
        what = f"{rule.metric} of {{{{ $labels.endpoint }}}} is {{{{ $value | humanize }}}}"
    else:
        what = "{{ $labels.measure }}({{ $labels.subject }}) of {{ $labels.model }}"
        what += " is beyond its bounds: {{ $value | humanize }}"
    annotations = {"summary": what}
    if rule.runbook:
        annotations["runbook_url"] = rule.runbook
    return {
        "alert": alert_name(name),
        "expr": _expression(rule),
        "for": _lasts(rule, settings),
        "labels": labels,
        "annotations": annotations,
    }


def _expression(rule: AlertRule) -> str:
    if rule.metric in SERVICE:
        endpoint = _matcher("endpoint", rule.endpoint)
        value = (ERRORS if rule.metric == "endpoint.error_rate" else LATENCY).replace(
            "%s", endpoint
        )
        return f"{value} {rule.when or '> 0'}"
    given = {"measure": rule.metric, "subject": rule.subject, "endpoint": rule.endpoint}
    where = ", ".join(filter(None, (_matcher(label, glob) for label, glob in given.items())))
    if rule.when is None:
        return f"{FOUND}{{{where}}} == 1"
    return f"{MEASURE}{{{where}}} {rule.when}"


def _matcher(label: str, glob: str) -> str:
    """A glob as a matcher; empty for one that matches all.

    >>> _matcher("subject", "*"), _matcher("measure", "drift"), _matcher("measure", "estimated_*")
    ('', 'measure="drift"', 'measure=~"estimated_.*"')
    """
    if glob == "*":
        return ""
    if not re.search(r"[*?]", glob):
        return f'{label}="{quoted(glob)}"'
    pattern = re.escape(glob).replace(r"\*", ".*").replace(r"\?", ".")
    return f'{label}=~"{quoted(pattern)}"'


def quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _lasts(rule: AlertRule, settings: Settings) -> str:
    """Prometheus counts no looks: as long as they take."""
    if rule.metric in SERVICE:
        return _span(rule.lasts)
    return _span(max(rule.lasts, (rule.looks - 1) * settings.monitoring.every))


def _span(value: timedelta) -> str:
    """In whole seconds or larger units: Prometheus knows no fractions."""
    return duration_text(timedelta(seconds=seconds(value)))


def _of_itself(settings: Settings) -> Iterator[dict[str, Any]]:
    """The dead man's switch: of Penstock's own loops, and of Prometheus and Alertmanager."""
    silent, late = settings.alerts["monitoring_silent"], MISSED * settings.monitoring.every
    if silent.enabled:
        yield _own_rule(
            "MonitoringSilent",
            f"time() - max({LOOK}) > {seconds(late)}",
            silent.severity,
            "nobody has looked at what is served for {{ $value | humanizeDuration }}",
            settings,
        )
        yield _own_rule(
            "MonitoringAbsent",
            f"absent({LOOK})",
            silent.severity,
            "nothing tells when anybody looked at what is served: penstock alerts check --watch",
            settings,
            late,
        )
    yield _own_rule(
        "RolloutStuck",
        f"time() - penstock_rollout_since_timestamp_seconds > {seconds(STUCK)}",
        "ticket",
        "{{ $labels.rollout }} is {{ $labels.status }} for {{ $value | humanizeDuration }}",
        settings,
    )
    yield _own_rule(
        "MessagesWaiting",
        f"time() - penstock_messages_oldest_timestamp_seconds > {seconds(WAITING)}",
        "ticket",
        "messages for {{ $labels.channel }} wait for {{ $value | humanizeDuration }}",
        settings,
    )
    yield _own_rule(
        "Watchdog",
        "vector(1)",
        "none",
        "always fires: whoever stops hearing of it knows that alerts do not arrive any more",
        settings,
    )


def _own_rule(
    name: str,
    expression: str,
    severity: str,
    summary: str,
    settings: Settings,
    lasts: timedelta = timedelta(0),
) -> dict[str, Any]:
    return {
        "alert": f"Penstock{name}",
        "expr": expression,
        "for": _span(lasts),
        "labels": {"severity": severity, "owner": settings.project.owner},
        "annotations": {"summary": summary},
    }


def seconds(span: timedelta) -> int:
    return round(span.total_seconds())
