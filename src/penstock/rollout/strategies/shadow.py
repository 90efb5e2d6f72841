"""Shadow: a copy of the traffic, compared answer by answer. It promotes nothing. Pure."""

from __future__ import annotations

from typing import Final

from penstock.rollout import events as e
from penstock.rollout.judge.shadow import judge_shadow
from penstock.rollout.judge.verdicts import Judgement, Verdict
from penstock.rollout.plans import shadow_limits
from penstock.rollout.scene import Look, Scene, all_pass, told

PROMOTES: Final = False


def look(scene: Scene) -> Look:
    patience = scene.settings.provider_patience
    if scene.seen.shadow is None:
        return Look(patience=patience)
    verdicts = judge_shadow(scene.seen.shadow, shadow_limits(scene.settings))
    ends = _fault(scene, verdicts)
    return Look(verdicts=verdicts, ends=ends, passes=all_pass(verdicts), patience=patience)


def _fault(scene: Scene, verdicts: tuple[Verdict, ...]) -> e.RollingBack | None:
    """Answers that differ for certain end it at once; resources are compared at its end.

    Nobody was harmed: the version may come again, so that there is no quarantine.
    """
    over = scene.elapsed(scene.state.stage_began) >= scene.stage.bake
    for verdict in verdicts:
        if verdict.judgement is Judgement.FAIL and (verdict.action == "rollback" or over):
            return scene.roll_back(told(verdict), quarantine=False)
    return None
