"""A rollout as people and programs see it: arms, verdicts, what happens next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from penstock.rollout.evidence import ArmEvidence, StageEvidence
from penstock.rollout.judge.verdicts import Verdict
from penstock.rollout.plans import stages_of
from penstock.rollout.service import View
from penstock.rollout_settings import StageSettings
from penstock.stats.histograms import quantile
from penstock.stats.proportions import wilson

QUANTILES = (0.5, 0.95, 0.99)


def document_of(found: View) -> dict[str, Any]:
    """Everything that is shown, as JSON."""
    state, decision = found.state, found.decision
    return {
        "rollout": state.id,
        "endpoint": state.endpoint,
        "strategy": state.spec.settings.strategy,
        "candidate": state.spec.candidate.model,
        "baseline": state.spec.baseline.model,
        "status": state.status,
        "stage": state.stage,
        "stages": len(plan_of(found)),
        "since": state.since,
        "reason": state.reason,
        "outcome": state.outcome,
        "arms": list(arms(found)),
        "verdicts": [verdict.model_dump(mode="json") for verdict in verdicts(found)],
        "waits_for": "" if state.ended else decision.reason,
        "next": {"at": decision.next_at, "what": decision.next_what},
        "gateways": [one.model_dump(mode="json") for one in found.observed.gateways],
    }


def verdicts(found: View) -> Sequence[Verdict]:
    """As of now; of a rollout that ended, those that it ended with."""
    return found.decision.verdicts or found.state.verdicts


def arms(found: View) -> Iterator[dict[str, Any]]:
    """The present stage of both arms."""
    stages: tuple[StageEvidence, ...] = found.observed.stages
    if not stages:
        return
    last, spec = stages[-1], found.state.spec
    sides = (
        (spec.candidate.model, last.weight, last.candidate),
        (spec.baseline.model, 1.0 - last.weight, last.baseline),
    )
    for model, share, seen in sides:
        yield _arm(model, share, seen)


def _arm(model: str, share: float, seen: ArmEvidence) -> dict[str, Any]:
    low, high = wilson(seen.errors, seen.requests) if seen.requests else (None, None)
    latency = {f"p{round(100 * q)}": quantile(seen.latency, q) for q in QUANTILES}
    return {
        "model": model,
        "share": share,
        "requests": seen.requests,
        "errors": seen.errors,
        "error_rate": seen.errors / seen.requests if seen.requests else None,
        "error_rate_low": low,
        "error_rate_high": high,
        "latency_ms": {name: us / 1e3 if us else None for name, us in latency.items()},
    }


def plan_of(found: View) -> Sequence[StageSettings]:
    return stages_of(found.state.spec.settings)
