"""What Prometheus reads of the loop that looks, and of the services beside it on this machine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from penstock.errors import PenstockError
from penstock.monitoring.exposition import Exposition
from penstock.project import Project
from penstock.services.standing import Office

log = logging.getLogger(__name__)
UP = ("running", "elsewhere")


class LoopMetrics(Collector):
    """A collector for prometheus_client; `connect` opens the state database, and may raise."""

    def __init__(self, project: Project, connect: Callable[[], Engine]) -> None:
        self._project, self._connect = project, connect

    def describe(self) -> Iterator[Metric]:
        """Nothing in advance: to register it asks no database."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """For prometheus_client. While the state database is away, of the services alone."""
        yield from self._services()
        try:
            yield from list(Exposition(self._project, self._connect()).collect())
        except (SQLAlchemyError, PenstockError) as error:
            log.error("the state database is away: %s", str(error).splitlines()[0])

    def _services(self) -> Iterator[Metric]:
        """Where `penstock up` keeps them."""
        standing = Office(self._project).standing()
        up = GaugeMetricFamily("penstock_service_up", "1 where it is at work.", labels=("service",))
        restarts = CounterMetricFamily(
            "penstock_service_restarts", "Times it was started again.", labels=("service",)
        )
        for one in standing.services:
            up.add_metric((one.name,), float(one.state in UP))
            restarts.add_metric((one.name,), one.restarts)
        due = GaugeMetricFamily(
            "penstock_schedule_next_run_timestamp_seconds", "When the next run is due."
        )
        if standing.next_run:
            due.add_metric((), standing.next_run.timestamp())
        yield from (up, restarts, due)
