"""How each strategy reads its evidence: a `look` from what is seen to what follows. Pure."""

from __future__ import annotations

from typing import Protocol

from penstock.rollout.scene import Look, Scene
from penstock.rollout.strategies import ab, blue_green, canary, shadow


class Strategy(Protocol):
    """What the state machine asks of a strategy."""

    @property
    def PROMOTES(self) -> bool: ...  # noqa: N802 -- modules hold it as a constant

    def look(self, scene: Scene) -> Look:
        """What the evidence of the present stage comes to."""


STRATEGIES: dict[str, Strategy] = {
    "canary": canary,
    "blue_green": blue_green,
    "ab": ab,
    "shadow": shadow,
}


def strategy_of(scene: Scene) -> Strategy:
    return STRATEGIES[scene.settings.strategy]
