"""Is there evidence at all? Missing data never passes; where some should be, the source is down."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from math import log

from penstock.rollout.evidence import StageEvidence
from penstock.rollout.judge.verdicts import Judgement
from penstock.rollout_settings import RolloutSettings

# What chance would bring less often than once in a thousand is a fault.
_LEAST_CHANCE = 0.001


def missing_data(
    settings: RolloutSettings, stages: Sequence[StageEvidence], now: datetime
) -> tuple[Judgement, str] | None:
    """What keeps the present stage from being judged, and whether it is a fault; None: nothing."""
    if not stages:
        return Judgement.INSUFFICIENT, "no stage has begun"
    present = stages[-1]
    if present.weight <= 0:
        return Judgement.INSUFFICIENT, "the candidate has no traffic in this stage"
    patience = settings.provider_patience.total_seconds()
    silence = _silence(stages, now)
    if silence > patience:
        return Judgement.ERROR, f"nothing was observed for {silence / 60:,.0f} minutes"
    return _missing_arm(present, patience)


def _silence(stages: Sequence[StageEvidence], now: datetime) -> float:
    """Seconds without reports in which some were to be expected; 0: traffic may just be rare."""
    present = stages[-1]
    quiet = present.seconds
    if present.last_seen is not None:
        quiet = max(0.0, (now - present.last_seen).total_seconds())
    requests = sum(stage.candidate.requests + stage.baseline.requests for stage in stages)
    seconds = sum(stage.seconds for stage in stages)
    expected = requests / seconds * quiet if seconds > 0 else 0.0
    return quiet if not requests or expected > -log(_LEAST_CHANCE) else 0.0


def _missing_arm(present: StageEvidence, patience: float) -> tuple[Judgement, str] | None:
    arms = (
        ("candidate", present.candidate, present.baseline, present.weight),
        ("baseline", present.baseline, present.candidate, 1 - present.weight),
    )
    for name, arm, other, share in arms:
        if arm.requests or share <= 0:
            continue
        # Chance that none of the other arm's requests came here.
        chance = (1 - share) ** other.requests
        if present.seconds > patience and chance < _LEAST_CHANCE:
            reason = (
                f"none of {other.requests:,} requests reached the {name}, which has {share:.1%}"
            )
            return Judgement.ERROR, reason
        return Judgement.INSUFFICIENT, f"no requests of the {name} yet in this stage"
    return None
