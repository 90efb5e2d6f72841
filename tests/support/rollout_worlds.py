"""A rollout with a clock of its own: gateways, evidence and people are what a test says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from penstock.rollout import events as e
from penstock.rollout.evidence import (
    ArmEvidence,
    GatewayView,
    Observed,
    StageEvidence,
)
from penstock.rollout.machine import apply, decide
from penstock.rollout.routing import candidate_share, desired_table
from penstock.rollout.scene import Decision
from penstock.rollout.spec import RolloutSpec, Version
from penstock.rollout.states import Rollout, begun, replay
from penstock.rollout_settings import RolloutSettings
from penstock.serving.release import ReleaseSpec
from penstock.serving.routing.table import RoutingTable

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
CANDIDATE = Version(release="r2", model="churn@2", digest="d2" * 32)
BASELINE = Version(release="r1", model="churn@1", digest="d1" * 32)
SPREAD = {0: 5, 5: 30, 10: 40, 15: 20, 20: 5}  # of predictions over bins, in percent


def settings_of(**given: Any) -> RolloutSettings:
    """Without approvals, unless a test asks for them."""
    return RolloutSettings.model_validate({"approvals": {"required": 0}} | given)


def created(settings: RolloutSettings, **given: Any) -> e.Created:
    spec = {
        "settings": settings,
        "candidate": CANDIDATE,
        "baseline": BASELINE,
        "created_at": NOON,
        "created_by": "ann",
    }
    return e.Created(
        at=NOON, actor="ann", id="ro-1", endpoint="production", spec=RolloutSpec(**(spec | given))
    )


def release(version: Version) -> ReleaseSpec:
    return ReleaseSpec(
        id=version.release,
        endpoint="production",
        model=version.model,
        digest=version.digest,
        path="/models",
        replicas=1,
    )


RELEASES = {version.release: release(version) for version in (CANDIDATE, BASELINE)}


@dataclass(frozen=True)
class Traffic:
    """What each stage sees, at once. Rates are those of the candidate and of the baseline."""

    requests: int = 200_000  # of both arms together
    errors: tuple[float, float] = (0.0, 0.0)
    slow: tuple[float, float] = (0.0, 0.0)
    shift: int = 0  # bins that the candidate's predictions are moved by

    def arms(self, weight: float) -> tuple[ArmEvidence, ArmEvidence]:
        """The candidate's and the baseline's, with requests that are units of their own."""
        requests = (round(self.requests * weight), round(self.requests * (1 - weight)))
        bins = ({number + self.shift: share for number, share in SPREAD.items()}, SPREAD)
        return (self._arm(requests[0], 0, bins[0]), self._arm(requests[1], 1, bins[1]))

    def _arm(self, requests: int, which: int, spread: dict[int, int]) -> ArmEvidence:
        errors, slow = round(requests * self.errors[which]), round(requests * self.slow[which])
        return ArmEvidence(
            requests=requests,
            errors=errors,
            error_units=errors,
            slow=slow,
            slow_units=slow,
            predictions={n: requests * share // 100 for n, share in spread.items() if requests},
        )


GOOD = Traffic()  # no error in 20,000 requests and more: surely below 0.1 %
BAD = Traffic(errors=(0.1, 0.001))
SLOW = Traffic(slow=(0.5, 0.01))
THIN = Traffic(requests=200)  # says nothing either way
DRIFTED = Traffic(shift=1)
OUTAGE = Traffic(errors=(0.5, 0.5))
NOTHING = Traffic(requests=0)


class World:
    """Everything outside the machine, and a controller that appends and publishes."""

    def __init__(self, settings: RolloutSettings, traffic: Traffic = GOOD, **given: Any) -> None:
        first = created(settings, **given)
        self.state: Rollout = begun(first)
        self.events: list[e.Event] = [first]
        self.now = NOON
        self.traffic = traffic
        self.revision = 7
        self.table: RoutingTable | None = None
        self.tables: list[RoutingTable] = []
        self.follows = True  # whether gateways take over new tables
        self.served = 7  # the revision that they serve
        self.also: dict[str, Any] = {}  # more of what is observed
        self.decision = Decision()

    def tick(self, step: timedelta = timedelta(0)) -> list[str]:
        """Some time goes by, and one decision is made; the names of what was appended."""
        self.now += step
        self._publish()
        self.decision = decide(self.state, self.observed(), self.now)
        for event in self.decision.events:
            self.append(event)
        self._publish()
        return [type(event).__name__ for event in self.decision.events]

    def settle(self) -> None:
        """Decides until nothing follows at this moment."""
        for _ in range(30):
            if not self.tick():
                return
        raise AssertionError(f"it does not come to rest: {self.names[-6:]}")

    def run(self, duration: timedelta, step: timedelta = MINUTE) -> None:
        """Looks every `step`."""
        until = self.now + duration
        self.settle()
        while self.now < until:
            self.now = min(self.now + step, until)
            self.settle()

    def until(self, status: str, within: timedelta = 30 * DAY, step: timedelta = HOUR) -> None:
        deadline = self.now + within
        self.settle()
        while self.state.status != status:
            assert self.now < deadline, f"{self.state.status}: {self.decision.reason}"
            self.now += step
            self.settle()

    def append(self, event: e.Event) -> None:
        self.state = apply(self.state, event)
        self.events.append(event)

    def asked(self, operation: Callable[..., e.Event], actor: str = "ann", **given: Any) -> None:
        """A person does something."""
        self.append(operation(self.state, actor=actor, at=self.now, **given))
        self._publish()

    def observed(self) -> Observed:
        gateway = GatewayView(name="g1", revision=self.served, seen_at=self.now)
        seen: dict[str, Any] = {
            "stages": self._stages(),
            "gateways": (gateway,),
            "table_revision": self.revision,
        }
        return Observed(**(seen | self.also))

    def replayed(self) -> Rollout:
        return replay(
            e.event_of(e.action_of(event), event.model_dump(mode="json")) for event in self.events
        )

    @property
    def names(self) -> list[str]:
        return [type(event).__name__ for event in self.events]

    def _stages(self) -> tuple[StageEvidence, ...]:
        settings, began = self.state.spec.settings, self.state.stage_began or self.now
        found = []
        for number in range(self.state.stage + 1):
            weight = candidate_share(settings, number)
            candidate, baseline = self.traffic.arms(weight)
            found.append(
                StageEvidence(
                    stage=number,
                    weight=weight,
                    seconds=(self.now - began).total_seconds(),
                    candidate=candidate,
                    baseline=baseline,
                    last_seen=self.now if self.traffic.requests else None,
                )
            )
        return tuple(found)

    def _publish(self) -> None:
        wanted = desired_table(self.state, RELEASES, self.table)
        if wanted is not None and wanted != self.table:
            self.table = wanted
            self.tables.append(wanted)
            self.revision += 1
        if self.follows:
            self.served = self.revision
