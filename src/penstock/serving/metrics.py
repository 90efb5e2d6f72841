"""`GET /metrics`: what Prometheus reads. Made from the observations when it asks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from penstock.serving.dispatch import Mirrored
from penstock.serving.http_server.connection import Server
from penstock.serving.live import Live
from penstock.serving.observations.counts import Counts
from penstock.serving.observations.writer import Observer
from penstock.serving.prediction_log.writer import LogWriter
from penstock.serving.shared_metrics import SharedMetrics
from penstock.stats.histograms import upper_edge

BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LABELS = ("endpoint", "release", "arm")


class Metrics:
    """A collector of this gateway process; `exposition` tells of all that share its port."""

    def __init__(
        self,
        live: Live,
        observer: Observer,
        mirrored: Mirrored,
        log: LogWriter,
        server: Server,
        shared: SharedMetrics | None = None,
    ) -> None:
        self._live = live
        self._observer = observer
        self._mirrored = mirrored
        self._log = log
        self._server = server
        self._shared = shared
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def exposition(self) -> tuple[bytes, bytes]:
        """The text, and its content type."""
        text = self.own()
        if self._shared is not None:
            text = self._shared.of_all(text)
        return text, CONTENT_TYPE_LATEST.encode()

    def own(self) -> bytes:
        """The text of this process alone."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """For prometheus_client."""
        yield from self._of_arms()
        yield from self._of_releases()
        yield from self._of_the_gateway()

    def _of_arms(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "penstock_requests", "Answered requests.", labels=(*LABELS, "status")
        )
        errors = CounterMetricFamily(
            "penstock_errors",
            "Requests that ended with an error of ours.",
            labels=(*LABELS, "error"),
        )
        rows = CounterMetricFamily("penstock_rows", "Rows in answered requests.", labels=LABELS)
        latency = HistogramMetricFamily(
            "penstock_request_duration_seconds", "From arrival to answer.", labels=LABELS
        )
        for key, counts in self._observer.totals().items():
            labels = (self._live.endpoint, key.release, key.arm)
            for status, count in sorted(counts.statuses.items()):
                requests.add_metric((*labels, str(status)), count)
            for error, count in sorted(counts.errors.items()):
                errors.add_metric((*labels, error), count)
            rows.add_metric(labels, counts.rows)
            latency.add_metric(labels, *_buckets(counts))
        yield from (requests, errors, rows, latency)

    def _of_releases(self) -> Iterator[Metric]:
        ready = GaugeMetricFamily(
            "penstock_replicas_ready", "Replicas that could answer.", labels=LABELS[:2]
        )
        restarts = CounterMetricFamily(
            "penstock_replica_restarts", "Replicas that died or hung.", labels=LABELS[:2]
        )
        waiting = GaugeMetricFamily(
            "penstock_open_requests", "Requests on their way to replicas.", labels=LABELS[:2]
        )
        weight = GaugeMetricFamily("penstock_arm_weight_ratio", "Share of units.", labels=LABELS)
        for name, release in self._live.releases.items():
            labels = (self._live.endpoint, name)
            ready.add_metric(labels, len(release.pool.ready))
            restarts.add_metric(labels, release.pool.restarts)
            waiting.add_metric(labels, release.pool.open)
        if self._live.router:
            table = self._live.router.table
            arms = {"champion": table.champion, **{arm.name: arm.release for arm in table.arms}}
            for arm, share in table.weights().items():
                weight.add_metric((self._live.endpoint, arms[arm], arm), share)
        yield from (ready, restarts, waiting, weight)

    def _of_the_gateway(self) -> Iterator[Metric]:
        labels = (self._live.endpoint,)
        gauges: dict[str, tuple[str, Any]] = {
            "penstock_routing_revision": ("Of the routing table.", self._live.revision),
            "penstock_connections": ("Open connections.", len(self._server.connections)),
            "penstock_log_healthy": ("1 while predictions can be logged.", self._log.healthy),
            "penstock_log_pending_rows": ("Rows that are not on disk yet.", self._log.pending),
        }
        counters = {
            "penstock_mirrored_requests": ("Copies sent to a shadow.", self._mirrored.sent),
            "penstock_mirror_dropped": ("Copies given up under load.", self._mirrored.dropped),
            "penstock_first_events_dropped": (
                "First events of units that no rollout counts.",
                self._observer.first_events.dropped,
            ),
            "penstock_slow_requests": (
                "Requests never whole in time.",
                self._server.timed_out,
            ),
        }
        for name, (text, value) in gauges.items():
            gauge = GaugeMetricFamily(name, text, labels=LABELS[:1])
            gauge.add_metric(labels, float(value))
            yield gauge
        for name, (text, value) in counters.items():
            counter = CounterMetricFamily(name, text, labels=LABELS[:1])
            counter.add_metric(labels, float(value))
            yield counter


def _buckets(counts: Counts) -> tuple[list[tuple[str, float]], float]:
    """Cumulative counts at the edges that are exposed, and the sum in seconds."""
    found: list[tuple[str, float]] = []
    for edge in BUCKETS:
        below = sum(n for place, n in counts.latency.items() if upper_edge(place) <= edge * 1e6)
        found.append((repr(edge), below))
    found.append(("+Inf", sum(counts.latency.values())))
    return found, counts.latency_us / 1e6
