"""Blue-green: green is asked some requests beside blue, then gets all units at once. Pure.

Before the switch (stage 0) green has no traffic; blue is watched, so that green can be compared
with what was before. After it (stage 1) blue runs on and takes everything back in an instant.
"""

from __future__ import annotations

from typing import Final

from penstock.rollout.judge.verdicts import Judgement, Verdict
from penstock.rollout.scene import Look, Scene
from penstock.rollout.strategies import canary

PROMOTES: Final = True

BEFORE_THE_SWITCH = 0


def look(scene: Scene) -> Look:
    return _smoke(scene) if scene.state.stage == BEFORE_THE_SWITCH else canary.look(scene)


def _smoke(scene: Scene) -> Look:
    asked, said = scene.settings.blue_green.smoke_requests, scene.seen.smoke
    if not asked:
        return Look(passes="no smoke tests are asked for")
    if said is None or (said.requests < asked and not said.failures):
        return Look(verdicts=(_verdict(Judgement.INSUFFICIENT, f"{asked} requests to be sent"),))
    if said.failures:
        reason = f"{said.failures} of {said.requests} smoke tests failed: {said.reason}"
        ends = scene.roll_back(reason, quarantine=True)
        return Look(verdicts=(_verdict(Judgement.FAIL, reason),), ends=ends)
    reason = f"{said.requests} smoke tests were answered as they should be"
    return Look(verdicts=(_verdict(Judgement.PASS, reason),), passes=reason)


def _verdict(judgement: Judgement, reason: str) -> Verdict:
    return Verdict(metric="smoke", judgement=judgement, reason=reason, numbers={})
