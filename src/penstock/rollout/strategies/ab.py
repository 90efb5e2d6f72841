"""A/B: two arms side by side, judged at a few looks on users; guardrails all the time. Pure."""

from __future__ import annotations

from typing import Final

from penstock.rollout import events as e
from penstock.rollout.judge.ab import AbJudgement, AbOutcome
from penstock.rollout.judge.ab_decision import judge_ab
from penstock.rollout.plans import ab_plan
from penstock.rollout.scene import ACTOR, Look, Scene, all_pass, condemned, questioned

PROMOTES: Final = True

INVALID = "sample_ratio"


def look(scene: Scene) -> Look:
    rails = scene.guardrails()
    found = _judged(scene)
    verdicts = (*rails, *found.verdicts) if found else rails
    outcome, reason = _outcome(scene, found)
    won = outcome is AbOutcome.SUCCESS
    return Look(
        verdicts=verdicts,
        ends=condemned(scene, rails) or _end(scene, outcome, reason) or questioned(scene, rails),
        passes=reason if won and all_pass(rails) else "",
        early=True,  # a look that finds a gain ends the test
        notes=_notes(scene, found),
        # Labels and revenue come late; what is missing is a fault when a look had to wait for it.
        patience=scene.settings.ab.duration / scene.settings.ab.looks,
    )


def _judged(scene: Scene) -> AbJudgement | None:
    """None: nothing is to be judged any more, or there is nothing to judge by."""
    evidence, state = scene.seen.ab, scene.state
    if evidence is None or state.concluded is not AbOutcome.RUNNING:
        return None
    remembered = evidence.model_copy(update={"looks": state.looks})
    return judge_ab(remembered, ab_plan(scene.settings))


def _outcome(scene: Scene, found: AbJudgement | None) -> tuple[AbOutcome, str]:
    if found is None:
        return scene.state.concluded, scene.state.reason
    return found.outcome, found.reason


def _notes(scene: Scene, found: AbJudgement | None) -> tuple[e.Event, ...]:
    if found is None or found.look is None:
        return ()
    return (
        e.LookTaken(
            at=scene.now,
            actor=ACTOR,
            look=found.look,
            outcome=found.outcome,
            reason=found.reason,
        ),
    )


def _end(
    scene: Scene, outcome: AbOutcome, reason: str
) -> e.RollingBack | e.Returning | e.Held | None:
    if outcome is AbOutcome.HARM:
        return scene.roll_back(reason, quarantine=True)
    if outcome is AbOutcome.INCONCLUSIVE:
        return scene.keep_baseline(f"no gain was found: {reason}")
    if outcome is AbOutcome.INVALID and INVALID not in scene.state.accepted:
        return scene.hold(reason, INVALID)
    if outcome is AbOutcome.HOLD:
        return scene.hold(reason)
    return None
