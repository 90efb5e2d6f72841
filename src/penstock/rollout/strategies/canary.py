"""Canary: a growing share, judged by guardrails against the baseline beside it. Pure."""

from __future__ import annotations

from typing import Final

from penstock.rollout.scene import Look, Scene, all_pass, condemned, questioned

PROMOTES: Final = True


def look(scene: Scene) -> Look:
    verdicts = scene.guardrails()
    return Look(
        verdicts=verdicts,
        ends=condemned(scene, verdicts) or questioned(scene, verdicts),
        passes=all_pass(verdicts),
    )
