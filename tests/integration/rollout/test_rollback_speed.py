"""A rollback takes effect within a second of its entry in the ledger, at every gateway process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from shops import OTHER, Shop, Stalls, process_of

pytestmark = pytest.mark.slow

PROMISED = 1.0  # seconds
HALF: dict[str, Any] = {
    "stages": [{"weight": 0.5, "bake": "1h", "max": "2h"}],
    "guardrails": [{"metric": "error_rate"}],
}


@pytest.mark.parametrize("by", ["person", "guardrail"])
def test_every_process_follows_a_rollback_within_a_second(
    shop: Shop, tmp_path: Path, by: str
) -> None:
    switch = tmp_path / "fails"
    shop.staged(OTHER, "Turning", switch=str(switch))
    with shop.load(connections=16) as seen:
        rollout = shop.start(OTHER, **HALF)
        state = shop.until(rollout, "baking")
        seen.wait_for(200)
        with Stalls() as stalls:
            if by == "person":
                shop.act(rollout, "rollback", reason="complaints")
            else:
                switch.touch()
                shop.until(rollout, "rolling back", "rolled back")
            seen.wait_for(400)
    state = shop.until(rollout)

    assert state.status == "rolled back"
    sent = {process_of(row) for row in shop.logged(release=state.spec.candidate.release)}
    took = shop.took(rollout)
    assert len(sent) == len(took) == 2  # both processes had users of both arms
    assert max(took.values()) < PROMISED + stalls.seconds, (took, stalls.seconds)
