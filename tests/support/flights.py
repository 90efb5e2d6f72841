"""Rollouts whose gateways are played: what those write to the state database is written here, on a
clock that is set by hand. The database, the controller and all that it decides are real.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import msgspec
from rollout_worlds import GOOD as HEALTHY
from rollout_worlds import Traffic
from shops import BASELINE, PRODUCTION, Shop
from sqlalchemy import Engine

from penstock.rollout.controller import Controller
from penstock.rollout.evidence import ArmEvidence
from penstock.rollout.states import Rollout
from penstock.serving import endpoint as endpoints
from penstock.serving.observations.counts import Counts
from penstock.serving.routing.routes import Router
from penstock.serving.routing.table import CHAMPION, RoutingTable, serving_only
from penstock.state import leadership, observations, rollouts, routes
from penstock.state.observations import Summed

SECOND = timedelta(seconds=1)
STEP = 10 * SECOND  # between two looks of a controller
URL = "http://127.0.0.1:1"  # of a gateway that nobody asks

# Short, yet longer than a look: no stage passes for want of a clock.
PLAN: dict[str, Any] = {
    "unit": {"header": ""},
    "stages": [
        {"weight": 0.25, "bake": "30s", "max": "30m", "error_rate": 0.05},
        {"weight": 1.0, "bake": "30s", "max": "30m", "error_rate": 0.05},
    ],
    "lease": "30s",
    "ramp_timeout": "10m",
    "watch": "30s",
    "retain": "30s",
}
BLUE_GREEN: dict[str, Any] = PLAN | {
    "strategy": "blue_green",
    "blue_green": {
        "smoke_requests": 0, "before": "30s", "watch": "30s", "max": "30m", "retain": "30s"
    },
}  # fmt: skip


@dataclass
class Clock:
    moment: datetime

    def __call__(self) -> datetime:
        return self.moment


@dataclass
class Gateways:
    """Of an endpoint: they follow every table, and report what the traffic is like."""

    engine: Engine
    clock: Callable[[], datetime]
    traffic: Traffic
    names: tuple[str, ...] = ("g1",)
    silent: bool = False  # they live, and write no observations

    def report(self) -> None:
        now = self.clock()
        published = routes.published(self.engine, PRODUCTION)
        assert published is not None
        for name in self.names:
            said = routes.Gateway(PRODUCTION, name, URL, "live", published.revision, "", now)
            routes.say(self.engine, said)
        table = RoutingTable.model_validate(published.document)
        # Beyond its lease, a table is evidence of nothing.
        holds = Router(table, published.lease_until).holds(now.timestamp())
        if table.epoch and holds and not self.silent:
            since = int(published.written_at.timestamp())
            observations.write(self.engine, [], self._sums(table, since, int(now.timestamp())))

    def _sums(self, table: RoutingTable, since: int, until: int) -> Iterator[Summed]:
        served, weights = table.served(), table.weights()
        arm = next((name for name in weights if name != CHAMPION), "")
        candidate, baseline = self.traffic.arms(weights[arm] if arm else 1.0)
        seen = {arm: candidate, CHAMPION: baseline} if arm else {CHAMPION: candidate}
        for name, evidence in seen.items():
            for gateway in self.names:
                yield Summed(
                    PRODUCTION, table.epoch, served[name], name, gateway, since, until,
                    msgspec.to_builtins(counts_from(evidence)),
                )  # fmt: skip


def counts_from(arm: ArmEvidence) -> Counts:
    """As a gateway counts it, of requests that are units of their own."""
    return Counts(
        requests=arm.requests,
        errors={"model": arm.errors} if arm.errors else {},
        slow=arm.slow,
        predictions=arm.predictions,
        own_requests=arm.requests,
        own_errors=arm.errors,
        own_slow=arm.slow,
    )


@dataclass
class Flight:
    """A rollout that was started in a shop."""

    shop: Shop
    rollout: str
    traffic: Traffic = HEALTHY
    skew: timedelta = timedelta(0)  # by which the controller's clock is ahead of the gateways'
    clock: Clock = field(init=False)
    gateways: Gateways = field(init=False)
    controller: Controller = field(init=False)

    def __post_init__(self) -> None:
        self.clock = Clock(self.earliest())
        self.gateways = Gateways(self.shop.engine, self.clock, self.traffic)
        self.controller = self.another()

    def earliest(self) -> datetime:
        """From when a controller may go on: when the leader is known to be dead."""
        leader = leadership.leader(self.shop.engine)
        updated = self.state.updated
        return max(updated, leader.until) if leader else updated

    def another(self) -> Controller:
        now = lambda: self.clock() + self.skew  # noqa: E731
        return Controller(self.shop.project, self.shop.engine, now)

    @property
    def state(self) -> Rollout:
        return self.shop.state(self.rollout)

    @property
    def settled(self) -> bool:
        """Whether it has ended, and all that follows was done."""
        return not rollouts.live(self.shop.engine)

    def look(self, step: timedelta = STEP) -> Rollout:
        """Gateways report, the controller looks, and some time goes by."""
        self.gateways.report()
        self.controller.tick()
        self.clock.moment += step
        return self.state

    def until(self, *statuses: str, looks: int = 200, step: timedelta = STEP) -> Rollout:
        """By default, until all is done."""
        for _ in range(looks):
            state = self.look(step)
            if state.status in statuses or (not statuses and self.settled):
                return state
        raise AssertionError(f"{state.status}: {self.shop.why(self.rollout)}")

    def told(self) -> list[tuple[str, dict[str, Any]]]:
        """What happened, without when."""
        events = self.shop.remembered(self.rollout).events
        return [(type(one).__name__, one.model_dump(exclude={"at"})) for one in events]


def begun(shop: Shop, version: int, traffic: Traffic = HEALTHY, **plan: Any) -> Flight:
    """The baseline is served, and a rollout of another version was asked for."""
    if routes.published(shop.engine, PRODUCTION) is None:
        place = endpoints.place_of(shop.project, PRODUCTION)
        endpoints.publish(place, serving_only(shop.spec(BASELINE)))
    return Flight(shop, shop.start(version, **(PLAN | plan)), traffic)
