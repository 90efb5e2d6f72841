"""The real state machine and the real judge as the pilot of simulated rollouts.

Asking them of every rollout in every minute would take hours. So the e-values of all rollouts are
computed at once, with the functions that the judge uses too, and the machine is asked only where a
verdict may have turned. It decides.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from penstock.rollout.events import Created
from penstock.rollout.evidence import ArmEvidence, GatewayView, Observed, StageEvidence
from penstock.rollout.machine import apply, decide, replay
from penstock.rollout.simulation.fleet import Bools, Fate, Fleet
from penstock.rollout.simulation.screen import Screen
from penstock.rollout.simulation.traffic import BASELINE, CANDIDATE, ERROR, SLOW
from penstock.rollout.spec import RolloutSpec, Version
from penstock.rollout.states import Rollout, Status
from penstock.rollout_settings import DRIFT, ApprovalSettings, RolloutSettings

START = datetime(2026, 1, 1, tzinfo=UTC)
_FATES = {
    Status.HELD: Fate.HELD,
    Status.RETURNING: Fate.HELD,
    Status.ROLLING_BACK: Fate.ROLLED_BACK,
    Status.PROMOTING: Fate.PROMOTED,
}
_PREDICTED = np.ones(20) / 20  # both arms alike, over the bins of a probability


class MachinePilot:
    """Asks `penstock.rollout.machine.decide`, without people: nobody approves or resumes."""

    def __init__(self, settings: RolloutSettings, *, every: int = 0, seed: int = 0) -> None:
        """`every`: ask in each so many minutes, whatever the screen says; 0: rely on it."""
        self._settings = settings.model_copy(update={"approvals": ApprovalSettings(required=0)})
        self._drifts = settings.guardrail(DRIFT) is not None
        self._every, self._generator = every, np.random.default_rng(seed)
        self._states: list[Rollout] = []
        self.asked = 0  # how often the machine was

    def look(self, fleet: Fleet, minute: int, fresh: Bools) -> None:
        if not self._states:
            self._states = [_begun(self._settings)] * fleet.rollouts
            self._screen = Screen(self._settings, fleet)
        due = self._screen.due(fleet, minute, fresh)
        if self._every and minute % self._every == 0:
            due = fleet.running
        for which in due.nonzero()[0]:
            self._ask(fleet, int(which), minute)

    def reason(self, which: int) -> str:
        """Of what last happened to a rollout."""
        return self._states[which].reason

    def _ask(self, fleet: Fleet, which: int, minute: int) -> None:
        self.asked += 1
        now = START + timedelta(minutes=minute + 1)
        before = state = self._states[which]
        seen = self._observed(fleet, which, before, now)
        while state.status not in _FATES:
            events = decide(state, seen, now).events
            for event in events:
                state = apply(state, event)
            # The next stage begins without evidence, in the next minute.
            if not events or (state.stage > before.stage and state.status is Status.BAKING):
                break
        self._states[which] = state
        if state.status in _FATES:
            fleet.end(which, _FATES[state.status], minute)
        elif state.stage > before.stage:
            fleet.move(which, state.stage, minute)
            self._screen.moved(which)

    def _observed(self, fleet: Fleet, which: int, state: Rollout, now: datetime) -> Observed:
        """What gateways in good health would have told."""
        began = state.stage_began or now
        stages = tuple(
            StageEvidence(
                stage=stage,
                weight=float(weight),
                seconds=(now - began if stage == state.stage else plan.bake).total_seconds(),
                candidate=self._arm(fleet, which, stage, CANDIDATE),
                baseline=self._arm(fleet, which, stage, BASELINE),
                last_seen=now,
            )
            for stage, (weight, plan) in enumerate(
                zip(fleet.weights, self._settings.stages, strict=True)
            )
            if stage <= state.stage
        )
        return Observed(stages=stages, gateways=(_gateway(now),), table_revision=1)

    def _arm(self, fleet: Fleet, which: int, stage: int, arm: int) -> ArmEvidence:
        requests = int(fleet.requests[which, stage, arm])
        bad, units = fleet.bad[which, stage, arm], fleet.units[which, stage, arm]
        predictions = dict[int, int]()
        if self._drifts and requests:
            # Afresh for each look: what looks share is of no matter to a guardrail that holds.
            drawn = self._generator.multinomial(requests, _PREDICTED)
            predictions = {place: int(number) for place, number in enumerate(drawn) if number}
        return ArmEvidence(
            requests=requests,
            errors=int(bad[ERROR]),
            slow=int(bad[SLOW]),
            error_units=int(units[ERROR]),
            slow_units=int(units[SLOW]),
            predictions=predictions,
        )


def _begun(settings: RolloutSettings) -> Rollout:
    """A rollout whose first stage bakes from the start."""
    baseline = Version(release="old", model="simulated@1", digest="1" * 64)
    candidate = Version(release="new", model="simulated@2", digest="2" * 64)
    spec = RolloutSpec(
        settings=settings,
        candidate=candidate,
        baseline=baseline,
        created_at=START,
        created_by="simulation",
    )
    created = Created(
        at=START, actor="simulation", id="ro-simulated", endpoint="simulated", spec=spec
    )
    state = replay([created])
    while state.status is not Status.BAKING:
        events = decide(
            state, Observed(gateways=(_gateway(START),), table_revision=1), START
        ).events
        assert events, f"the simulation is stuck at {state.status}"
        for event in events:
            state = apply(state, event)
    return state


def _gateway(now: datetime) -> GatewayView:
    return GatewayView(name="simulated", revision=1, seen_at=now)
