"""Many simulated rollouts of one plan at once, on a virtual clock: how often does the judge err?

`simulate` runs a canary's plan against a `World` and says how each rollout ended. A `Pilot` moves
the rollouts; `penstock.rollout.simulation.pilot` is the real state machine with the real judge. All
is seeded, and nothing is read or written.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from penstock.rollout.simulation.traffic import CANDIDATE, Floats, Ints, Minute, Traffic, World
from penstock.rollout_settings import RolloutSettings

Bools = NDArray[np.bool_]
# What counts as an event of the e-process: a unit's first bad answer in the rollout, as it should
# be; its first one in each stage; or every bad answer, as if requests were independent.
CountOnce = Literal["rollout", "stage", "request"]


class Fate(IntEnum):
    """How a simulated rollout ended."""

    RUNNING = 0  # not at all, in the time that was simulated
    PROMOTED = 1
    ROLLED_BACK = 2
    HELD = 3  # a person would have to decide


@dataclass
class Fleet:
    """All rollouts of a simulation: where each stands, and what was counted of it."""

    settings: RolloutSettings
    world: World
    rollouts: int
    stage: Ints = field(init=False)  # (rollouts,)
    began: Ints = field(init=False)  # the minute in which the stage did
    fate: Ints = field(init=False)
    ended: Ints = field(init=False)  # the minute
    requests: Ints = field(init=False)  # (rollouts, stages, arms)
    bad: Ints = field(init=False)  # (rollouts, stages, arms, metrics)
    units: Ints = field(init=False)  # as `bad`: units at their first bad answer

    def __post_init__(self) -> None:
        shape = (self.rollouts, len(self.settings.stages), 2)
        self.stage, self.began, self.fate, self.ended = (
            np.zeros(self.rollouts, dtype=np.int64) for _ in range(4)
        )
        self.requests = np.zeros(shape, dtype=np.int64)
        self.bad, self.units = (np.zeros((*shape, 2), dtype=np.int64) for _ in range(2))

    @property
    def running(self) -> Bools:
        still: Bools = self.fate == Fate.RUNNING
        return still

    @property
    def weights(self) -> Floats:
        """The candidate's share by stage."""
        share = 1 - self.settings.holdback
        return np.array([stage.weight * share for stage in self.settings.stages])

    def of_stage(self, name: Literal["bake", "longest"]) -> Floats:
        """Minutes by stage."""
        return np.array([getattr(s, name).total_seconds() / 60 for s in self.settings.stages])

    def end(self, which: Ints | int, fate: Fate, minute: int) -> None:
        self.fate[which], self.ended[which] = fate, minute

    def move(self, which: Ints | int, stage: Ints | int, minute: int) -> None:
        """Lets rollouts begin a stage in the next minute."""
        self.stage[which], self.began[which] = stage, minute + 1


class Pilot(Protocol):
    """Who decides."""

    def look(self, fleet: Fleet, minute: int, fresh: Bools) -> None:
        """Moves and ends rollouts, at the end of that minute. `fresh`: where something bad came."""


@dataclass(frozen=True)
class Simulation:
    """How the rollouts ended."""

    fate: Ints
    minutes: Ints  # until the end
    candidate_requests: Ints  # answered by the candidate until then
    stage: Ints  # reached

    def __len__(self) -> int:
        return len(self.fate)

    def count(self, fate: Fate) -> int:
        return int((self.fate == fate).sum())

    def share(self, fate: Fate) -> float:
        return self.count(fate) / len(self)

    def median_requests(self, fate: Fate) -> float:
        """Requests that the candidate answered in the rollouts that ended so; NaN: none did."""
        chosen = self.candidate_requests[self.fate == fate]
        return float(np.median(chosen)) if len(chosen) else math.nan


def simulate(
    settings: RolloutSettings,
    world: World,
    pilot: Pilot,
    *,
    rollouts: int,
    seed: int,
    count_once: CountOnce = "rollout",
) -> Simulation:
    """Runs the canary of `settings` until all have ended or their longest time is over."""
    fleet = Fleet(settings, world, rollouts)
    traffic = Traffic(world, rollouts, np.random.default_rng(seed))
    counter = _Counter(fleet, count_once)
    for minute in range(int(fleet.of_stage("longest").sum()) + len(settings.stages) + 1):
        if not fleet.running.any():
            break
        ratios = np.where(
            (fleet.stage >= world.worse_from)[:, None],
            [world.error_ratio, world.slow_ratio],
            1.0,
        )
        seen = traffic.minute(minute, fleet.weights[fleet.stage], ratios)
        pilot.look(fleet, minute, counter.add(seen))
    return Simulation(
        fleet.fate, fleet.ended, fleet.requests[:, :, CANDIDATE].sum(axis=1), fleet.stage
    )


class _Counter:
    """Adds minutes to the counts of a fleet, each unit once."""

    def __init__(self, fleet: Fleet, once: CountOnce) -> None:
        self._fleet, self._once = fleet, once
        users = fleet.world.users if fleet.world.units == "users" else 0
        # Users who had a bad answer, and the stage + 1 in which they last had one.
        self._known = np.zeros((2, fleet.rollouts * users), dtype=np.int8)

    def add(self, seen: Minute) -> Bools:
        """Where a unit was counted, that stands (rollouts,)."""
        fleet = self._fleet
        where = fleet.running.nonzero()[0]
        stage = fleet.stage[where]
        units = seen.bad if self._once == "request" or not seen.users else self._first(seen)
        fleet.requests[where, stage] += seen.requests[where]
        fleet.bad[where, stage] += seen.bad[where]
        fleet.units[where, stage] += units[where]
        fresh: Bools = seen.bad.any(axis=(1, 2)) & fleet.running
        return fresh

    def _first(self, seen: Minute) -> Ints:
        fleet = self._fleet
        units = np.zeros((fleet.rollouts * 2, 2), dtype=np.int64)
        for metric, (users, arms) in enumerate(zip(seen.users, seen.arms, strict=True)):
            distinct, places = np.unique(users, return_index=True)
            rollout = distinct // fleet.world.users
            known = self._known[metric, distinct]
            stage = fleet.stage[rollout] + 1
            new = known == 0 if self._once == "rollout" else known != stage
            self._known[metric, distinct] = stage
            arm = arms[places]
            units[:, metric] = np.bincount(
                rollout[new] * 2 + arm[new], minlength=2 * fleet.rollouts
            )
        return units.reshape(fleet.rollouts, 2, 2)
