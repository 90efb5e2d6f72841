"""The plan of each strategy as stages, and as the judges of experiments want it. Pure."""

from __future__ import annotations

from penstock.rollout.judge.ab import AbGuard, AbPlan
from penstock.rollout.judge.shadow import ShadowLimits
from penstock.rollout_settings import RolloutSettings, StageSettings


def stages_of(settings: RolloutSettings) -> tuple[StageSettings, ...]:
    """What the machine goes through: a canary's stages; of the others, what amounts to them."""
    green, ab, shadow = settings.blue_green, settings.ab, settings.shadow
    if settings.strategy == "blue_green":
        return (
            # However short blue is watched, the smoke tests may take the time that loading may.
            StageSettings(
                weight=0.0,
                bake=green.before,
                max=max(4 * green.before, settings.prepare_timeout),
            ),
            StageSettings(weight=1.0, bake=green.watch, max=green.max, error_rate=green.error_rate),
        )
    if settings.strategy == "ab":
        # Units, labels and revenue come late: the last look may wait as long again.
        return (StageSettings(weight=ab.split, bake=ab.duration, max=2 * ab.duration),)
    if settings.strategy == "shadow":
        return (StageSettings(weight=0.0, bake=shadow.duration, max=2 * shadow.duration),)
    return settings.stages


def ab_plan(settings: RolloutSettings) -> AbPlan:
    """What an A/B test is judged by."""
    ab = settings.ab
    rail = settings.guardrail(ab.guard)
    return AbPlan(
        primary=ab.primary,
        secondaries=ab.secondaries,
        guards=(AbGuard(rail.metric, rail.slow_share),) if rail and rail.kind == "latency" else (),
        lift=ab.lift,
        relative=ab.lift_is == "relative",
        alpha=settings.alpha,
        one_sided=ab.side == "one",
        split=ab.split,
        seconds=ab.duration.total_seconds(),
        looks=ab.looks,
        min_units=ab.min_units,
    )


def shadow_limits(settings: RolloutSettings) -> ShadowLimits:
    """What a shadow is judged by."""
    shadow = settings.shadow
    return ShadowLimits(
        max_disagreement=shadow.max_disagreement,
        max_dropped=shadow.max_dropped,
        max_latency_ratio=shadow.max_latency_ratio,
        max_cpu_ratio=shadow.max_cpu_ratio,
        max_memory_ratio=shadow.max_memory_ratio,
        alpha=settings.alpha,
        beta=settings.beta,
    )
