"""Do both arms predict alike? The distance of their predictions, beyond what chance makes.

Over bins that hold a tenth of both samples each: fixed ones are almost empty where a model says
little, and a few answers there make a distance of their own.
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.rollout.evidence import StageEvidence
from penstock.rollout.judge.verdicts import Judgement, Verdict
from penstock.rollout_settings import GuardrailSettings
from penstock.stats.population_stability import population_stability
from penstock.stats.score_bins import equal_shares

# It is looked at again and again, and its sampling theory is approximate: so a wide interval.
CONFIDENCE = 0.999


def judge_drift(rail: GuardrailSettings, stages: Sequence[StageEvidence]) -> Verdict:
    """On the latest stage in which both arms predicted, or on the baseline before a switch."""
    compared = _compared(stages)
    if compared is None:
        return Verdict(
            metric=rail.metric,
            judgement=Judgement.INSUFFICIENT,
            reason="no predictions of both arms in one stage to compare",
            action=rail.action,
        )
    baseline, candidate = compared
    n, m = sum(baseline.values()), sum(candidate.values())
    found = population_stability(*equal_shares(baseline, candidate), confidence=CONFIDENCE)
    assert found is not None, "both arms predicted"
    judgement, says = Judgement.INSUFFICIENT, "too few predictions to tell"
    if found.low > rail.threshold:
        judgement, says = Judgement.FAIL, "the predictions differ"
    elif found.high < rail.threshold:
        judgement, says = Judgement.PASS, "the predictions are alike"
    return Verdict(
        metric=rail.metric,
        judgement=judgement,
        reason=f"{says}: PSI {found.estimate:.3f} ({found.low:.3f} to {found.high:.3f}, threshold "
        f"{rail.threshold:g}) between {m:,} predictions and {n:,} of the baseline",
        numbers={
            "psi": found.estimate,
            "psi_low": found.low,
            "psi_high": found.high,
            "psi_by_chance": found.chance,
            "threshold": rail.threshold,
        },
        action=rail.action,
    )


def _compared(stages: Sequence[StageEvidence]) -> tuple[dict[int, int], dict[int, int]] | None:
    """Predictions of the baseline and of the candidate, side by side where they were.

    Where everything was switched at once, there is only the baseline as it was before.
    """
    pairs = [(stage.baseline.predictions, stage.candidate.predictions) for stage in stages]
    beside = [pair for pair in pairs if any(pair[0].values()) and any(pair[1].values())]
    if beside:
        return beside[-1]
    before = [s.baseline.predictions for s in stages if s.weight <= 0]
    if before and any(before[-1].values()) and stages[-1].weight >= 1:
        after = stages[-1].candidate.predictions
        return (before[-1], after) if any(after.values()) else None
    return None
