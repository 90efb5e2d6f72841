"""What comes after a run that a trigger started: shadow, then canary, by policy. Pure.

Nothing is remembered here: what was done is seen from the rollouts that there are, so that whoever
was killed on the way, or comes second, finds it done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# How a rollout of each strategy ends when it went well, see `penstock.rollout.events.Outcome`.
WENT_WELL = {"shadow": "reported", "canary": "promoted"}


@dataclass(frozen=True)
class Ran:
    """A rollout of the version."""

    id: str
    strategy: str
    outcome: str = ""  # empty: it goes on
    reason: str = ""


@dataclass(frozen=True)
class Scene:
    """How a version stands at the endpoint that it is to serve."""

    version: str  # name@version
    tested: bool  # behind the staging endpoint, by the run that made it
    champion: str  # name@version; empty: nothing is served
    newer: str = ""  # a version that a trigger made since
    quarantine: str = ""  # why no rollout may take it; empty: it is not there
    missing: tuple[str, ...] = ()  # approvals that the endpoint's policy asks for
    live: str = ""  # the id of a rollout that goes on there, of whatever version
    rollouts: tuple[Ran, ...] = ()  # of this version there, oldest first, whoever started them


@dataclass(frozen=True)
class Start:
    strategy: str
    reason: str


@dataclass(frozen=True)
class Wait:
    reason: str


@dataclass(frozen=True)
class Done:
    reason: str


Action = Start | Wait | Done


def next_action(scene: Scene, policy: Sequence[str]) -> Action:
    """What a version needs next. `policy`: the strategies that follow, in order."""
    if not policy:
        return Done("[triggers] follow is empty: a person starts its rollout")
    for strategy in policy:
        ran = next((one for one in reversed(scene.rollouts) if one.strategy == strategy), None)
        if ran is None:
            return _begin(scene, strategy)
        if not ran.outcome:
            return Wait(f"{ran.id} ({strategy}) goes on")
        if ran.outcome != WENT_WELL[strategy]:
            why = f": {ran.reason}" if ran.reason else ""
            return Done(f"{ran.id} ({strategy}) ended: {ran.outcome}{why}")
    return Done(f"it went through {', '.join(policy)}")


def _begin(scene: Scene, strategy: str) -> Action:
    if scene.newer:
        return Done(f"{scene.newer} was made since")
    if scene.quarantine:
        return Done(f"it is in quarantine: {scene.quarantine}")
    if scene.champion == scene.version:
        return Done("it is the champion")
    if not scene.tested:
        return Wait("the staging endpoint was not tested with it")
    if not scene.champion:
        return Wait("nothing is served yet: a person starts the first version")
    if scene.missing:
        return Wait(f"approvals: {'; '.join(scene.missing)}")
    if scene.live:
        return Wait(f"the rollout {scene.live} goes on")
    before = f" after {scene.rollouts[-1].id}" if scene.rollouts else ""
    return Start(strategy, f"{strategy} of {scene.version}{before}, against {scene.champion}")
