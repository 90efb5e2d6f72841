"""What a rollout is about: the plan, and the two versions by their digests. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from penstock.errors import SettingsError
from penstock.records import Record
from penstock.rollout.judge.ab_sample import require_power
from penstock.rollout.plans import ab_plan
from penstock.rollout_settings import RolloutSettings


class Version(Record):
    """A model version as a release of the endpoint."""

    release: str  # its id in the routing table
    model: str  # name@version
    digest: str  # of the model's files


class RolloutSpec(Record):
    """What was decided when the rollout was created; it never changes."""

    settings: RolloutSettings
    candidate: Version
    baseline: Version  # the champion of that time
    created_at: datetime
    created_by: str


class Refusal(NamedTuple):
    """Why a rollout cannot be."""

    field: str  # of the spec
    reason: str
    hint: str = ""


def check(spec: RolloutSpec, *, quarantined: bool = False) -> tuple[Refusal, ...]:
    """What speaks against a rollout; nothing where it may begin.

    What can be seen in the settings alone is refused when they are read.
    """
    settings, candidate, baseline = spec.settings, spec.candidate, spec.baseline
    found: list[Refusal] = []
    if candidate.digest == baseline.digest:
        found.append(
            Refusal(
                "candidate",
                f"{candidate.model} has the bytes of the baseline {baseline.model}",
                "name another version",
            )
        )
    elif candidate.release == baseline.release:
        found.append(Refusal("candidate", f"{candidate.release} is the baseline's release"))
    if quarantined:
        found.append(
            Refusal(
                "candidate",
                f"{candidate.model} is in quarantine: a rollout of the same bytes was rolled back",
                "register a mended version",
            )
        )
    if settings.strategy == "ab" and not (settings.unit.header or settings.unit.field):
        found.append(
            Refusal(
                "unit",
                "an A/B test compares users, and no unit is named",
                'set unit = { header = "…" } or unit = { field = "…" }',
            )
        )
    return (*found, *_underpowered(settings))


def _underpowered(settings: RolloutSettings) -> tuple[Refusal, ...]:
    """That a test would hardly find what it looks for, where the baseline is stated."""
    ab = settings.ab
    if settings.strategy != "ab" or ab.baseline_mean is None or ab.baseline_sd is None:
        return ()
    try:
        require_power(ab_plan(settings), mean=ab.baseline_mean, sd=ab.baseline_sd, power=ab.power)
    except SettingsError as error:
        return (Refusal("ab.min_units", error.message, error.hint),)
    return ()
