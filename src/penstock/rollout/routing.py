"""The routing table as a projection of a rollout's state, and how its evidence is named. Pure.

Until the promotion is final, the baseline is the champion and the candidate an arm, even at 100 %:
whatever happens to the controller, an ended lease gives everything back to the baseline.
"""

from __future__ import annotations

from collections.abc import Mapping

from penstock.rollout.plans import stages_of
from penstock.rollout.states import CANDIDATE_IS_CHAMPION, GOING_BACK, Rollout, Status
from penstock.rollout_settings import RolloutSettings
from penstock.serving.release import ReleaseSpec
from penstock.serving.routing.buckets import BUCKETS, Ranges, reallocated
from penstock.serving.routing.table import (
    CHAMPION,
    SHADOW,
    Arm,
    Mirror,
    RoutingTable,
    Unit,
    serving_only,
)

ARMS = {"canary": "canary", "blue_green": "green", "ab": "b", "shadow": SHADOW}


def desired_table(
    state: Rollout,
    releases: Mapping[str, ReleaseSpec],
    present: RoutingTable | None = None,
    *,
    foreign: bool = False,
) -> RoutingTable | None:
    """The routing table that the state asks for; None: the present one is to be left alone.

    `releases` has the candidate's and the baseline's, by id. `present` is the table as it stands:
    only of use where somebody else wrote it. `foreign`: somebody did, and people do not know yet.
    """
    spec = state.spec
    if state.ended or not state.routed:
        return None
    hands_off = foreign or bool(state.held and state.held.hands_off)
    if state.status in GOING_BACK:
        if present is not None and (hands_off or _of_others(state, present)):
            return _without(present, spec.candidate.release, releases, spec.baseline.release)
        return serving_only(releases[spec.baseline.release])
    if hands_off:
        return None
    if state.acting is Status.RETIRING:
        return serving_only(releases[spec.candidate.release])
    return _side_by_side(state, releases)


def leased(state: Rollout) -> bool:
    """Whether the table holds only as long as a controller renews it."""
    if state.ended or not state.routed or state.status in GOING_BACK:
        return False
    return state.acting not in CANDIDATE_IS_CHAMPION


def epoch_of(state: Rollout) -> str:
    """The name of what is observed now: ROLLOUT/STAGE; empty: no evidence yet."""
    return f"{state.id}/{state.stage}" if state.stage >= 0 else ""


def candidate_arm(settings: RolloutSettings, stage: int) -> str:
    """The arm under which the candidate is observed in a stage."""
    watched = stage >= len(stages_of(settings))
    return CHAMPION if watched else ARMS[settings.strategy]


def candidate_share(settings: RolloutSettings, stage: int) -> float:
    """The share of the units that are the candidate's, without those held back."""
    stages = stages_of(settings)
    if stage >= len(stages):
        return 1.0
    return stages[stage].weight * (1.0 - settings.holdback) if stage >= 0 else 0.0


def candidate_buckets(settings: RolloutSettings, stage: int) -> Ranges:
    """Stage by stage, so that no unit leaves the arm as it grows."""
    name = ARMS[settings.strategy]
    held: dict[str, Ranges] = {}
    for planned in stages_of(settings)[: stage + 1]:
        held = reallocated(held, {name: round(planned.weight * BUCKETS)})
    return held.get(name, ())


def _side_by_side(state: Rollout, releases: Mapping[str, ReleaseSpec]) -> RoutingTable:
    spec, settings = state.spec, state.spec.settings
    candidate, baseline = spec.candidate.release, spec.baseline.release
    promoted = state.acting in CANDIDATE_IS_CHAMPION
    arms: tuple[Arm, ...] = ()
    mirror = None
    if settings.strategy == "shadow":
        copied = max(1, round(settings.shadow.share * BUCKETS))
        mirror = Mirror(release=candidate, buckets=copied) if state.stage >= 0 else None
    elif not promoted:
        buckets = candidate_buckets(settings, state.stage)
        arms = (Arm(name=ARMS[settings.strategy], release=candidate, buckets=buckets),)
    return RoutingTable(
        endpoint=state.endpoint,
        champion=candidate if promoted else baseline,
        # Described, and so kept running, whether routed to or not.
        releases={name: releases[name] for name in (baseline, candidate)},
        arms=arms,
        mirror=mirror,
        holdback=0 if promoted else round(settings.holdback * BUCKETS),
        unit=Unit(header=settings.unit.header, field=settings.unit.field),
        salt=state.id,
        epoch=epoch_of(state),
        track_units=settings.strategy == "ab",
        slow_us=settings.slow_us,
        events=tuple(
            rail.metric.removeprefix("event:")
            for rail in settings.guardrails
            if rail.kind == "event"
        ),
    )


def _of_others(state: Rollout, present: RoutingTable) -> bool:
    """Whether a third release is the champion: somebody was faster than the way back."""
    spec = state.spec
    return present.champion not in (spec.candidate.release, spec.baseline.release)


def _without(
    present: RoutingTable, release: str, releases: Mapping[str, ReleaseSpec], baseline: str
) -> RoutingTable | None:
    """A table that somebody else wrote, without the candidate; None where it has no part in it."""
    if release not in present.releases:
        return None
    kept = {name: spec for name, spec in present.releases.items() if name != release}
    champion = present.champion
    if champion == release:
        kept[baseline], champion = releases[baseline], baseline
    mirrored = present.mirror if present.mirror and present.mirror.release != release else None
    arms = tuple(arm for arm in present.arms if arm.release != release)
    changes = {"champion": champion, "releases": kept, "arms": arms, "mirror": mirrored}
    return RoutingTable.model_validate(present.model_copy(update=changes).model_dump())
