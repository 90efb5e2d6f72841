"""What Prometheus reads of monitoring, made from the state database when it asks.

By its naming conventions: base units, `_total` for what only grows. Not one of these is counted in
a process, so that whoever exposes them may be restarted.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Engine

from penstock.audit.ledger import Ledger
from penstock.clock import utc_now
from penstock.monitoring.alerts import memory
from penstock.monitoring.alerts.acting import RETRAINING
from penstock.monitoring.alerts.alert import Status
from penstock.monitoring.alerts.sources import gather
from penstock.monitoring.history import latest
from penstock.monitoring.report import Report, Verdict
from penstock.monitoring_settings import SERVICE_MEASURES, AlertRule
from penstock.project import Project
from penstock.state import heartbeats, outbox, rollouts

LABELS = ("endpoint", "model", "measure", "subject")
RULE = ("rule", "severity", "endpoint", "model")


class Exposition(Collector):
    """A collector for prometheus_client."""

    def __init__(
        self, project: Project, engine: Engine, now: Callable[[], datetime] = utc_now
    ) -> None:
        self._project, self._engine, self._now = project, engine, now

    def describe(self) -> Iterator[Metric]:
        """Nothing in advance: to register it asks no database."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """For prometheus_client. What cannot be told is left out: it is not nothing found."""
        reports = latest(self._engine)
        yield from self._measures(reports)
        yield from self._looks(reports)
        yield from self._alerts()
        yield from self._messages()
        yield self._rollouts()

    def _measures(self, reports: Sequence[Report]) -> Iterator[Metric]:
        value = GaugeMetricFamily(
            "penstock_monitor_measure", "What a look measured last.", labels=LABELS
        )
        found = GaugeMetricFamily(
            "penstock_monitor_found", "1 where it is beyond its bounds.", labels=LABELS
        )
        for one in gather(self._project, self._engine, reports, self._now()).signals:
            labels = (one.endpoint, one.model, one.metric, one.subject)
            if one.metric in SERVICE_MEASURES:
                continue  # the gateways tell of it themselves
            if one.value is not None:
                value.add_metric(labels, one.value)
            if one.verdict in (Verdict.FINE, Verdict.FOUND):
                found.add_metric(labels, float(one.verdict is Verdict.FOUND))
        yield from (value, found)

    def _looks(self, reports: Sequence[Report]) -> Iterator[Metric]:
        looks = GaugeMetricFamily(
            "penstock_monitor_last_look_timestamp_seconds",
            "When somebody looked last.",
            labels=("kind", "endpoint", "model"),
        )
        last = {(one.kind, one.endpoint, one.model): one.made_at for one in reports}
        if at := heartbeats.last(self._engine, heartbeats.MONITOR):
            last["all", "", ""] = at
        for labels, at in last.items():
            looks.add_metric(labels, at.timestamp())
        check = GaugeMetricFamily(
            "penstock_alerts_last_check_timestamp_seconds", "When the rules were checked last."
        )
        if at := heartbeats.last(self._engine, heartbeats.ALERTS):
            check.add_metric((), at.timestamp())
        yield from (looks, check)

    def _alerts(self) -> Iterator[Metric]:
        firing = GaugeMetricFamily("penstock_alerts_firing", "Alerts that fire.", labels=RULE)
        rules, count = self._project.settings.alerts, Counter[tuple[str, ...]]()
        for alert in memory.read(self._engine).values():
            if alert.status is Status.FIRING:
                rule = rules.get(alert.rule, AlertRule(metric=alert.last.metric))
                scope = (alert.last.endpoint, alert.last.model)
                count[alert.rule, rule.severity, *scope] += 1
        for labels, number in sorted(count.items()):
            firing.add_metric(labels, number)
        asked = CounterMetricFamily(
            "penstock_retrainings_requested",
            "Retrainings that alerts asked for.",
            labels=("model",),
        )
        entries = Ledger(self._engine).entries(RETRAINING)
        for model, number in sorted(Counter(one.subject for one in entries).items()):
            asked.add_metric((model,), number)
        yield from (firing, asked)

    def _messages(self) -> Iterator[Metric]:
        waiting = GaugeMetricFamily(
            "penstock_messages_waiting", "Messages not delivered yet.", labels=("channel",)
        )
        oldest = GaugeMetricFamily(
            "penstock_messages_oldest_timestamp_seconds",
            "When the oldest of them was queued.",
            labels=("channel",),
        )
        for one in outbox.waiting(self._engine):
            waiting.add_metric((one.channel,), one.messages)
            oldest.add_metric((one.channel,), one.oldest.timestamp())
        yield from (waiting, oldest)

    def _rollouts(self) -> Metric:
        since = GaugeMetricFamily(
            "penstock_rollout_since_timestamp_seconds",
            "When a live rollout came to its status.",
            labels=("endpoint", "rollout", "status"),
        )
        for one in rollouts.live(self._engine):
            labels = (one.endpoint, one.id, one.status)
            since.add_metric(labels, one.updated_at.timestamp())
        return since


@contextlib.contextmanager
def served(exposition: Collector, host: str, port: int) -> Iterator[str]:
    """Serves `/metrics` from a thread of its own, as long as the block; gives its URL."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(exposition)
    server, thread = start_http_server(port, host, registry)
    try:
        yield f"http://{host}:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
