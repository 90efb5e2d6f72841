"""The routing table of one endpoint: a versioned document, written by whoever controls it.

Without a lease it holds until the next one. With a lease, which is kept beside the document and
renewed without changing it, it holds until then; afterwards, since the controller is gone, all
units go to the champion (the baseline) and nothing is mirrored.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from penstock.records import Record
from penstock.serving.release import ReleaseSpec
from penstock.serving.routing.buckets import BUCKETS, Ranges, share

CHAMPION = "champion"
PINNED = "pinned"  # a tester asked for a release by name
SHADOW = "shadow"  # a copy of a request


EPOCH = r"^([A-Za-z0-9][A-Za-z0-9._-]{0,63}(/\d{1,4})?)?$"
Metric = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.-]{0,55}$")]


class Unit(Record):
    """What sticks to an arm.

    `header` names a request header; `field` an entity key, a feature or a parameter of the
    request. Where a request has none of them, it is a unit of its own.
    """

    header: str = ""
    field: str = ""


class Arm(Record):
    """A challenger's share of the units."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")  # canary, green, b
    release: str
    buckets: Ranges = ()


class Mirror(Record):
    """A copy of a share of the requests, whose answers nobody waits for."""

    release: str
    buckets: int = Field(default=BUCKETS, ge=1, le=BUCKETS)  # of 10,000


class RoutingTable(Record):
    """Which release answers whom."""

    format: Literal[1] = 1
    endpoint: str
    champion: str  # a release
    releases: dict[str, ReleaseSpec]
    arms: tuple[Arm, ...] = ()
    mirror: Mirror | None = None
    holdback: int = Field(default=0, ge=0, le=BUCKETS)  # buckets of units that never leave champion
    unit: Unit = Unit()
    salt: str = ""  # of the buckets; empty: the endpoint's name
    # What is observed under the table is evidence of this: a rollout's id, "/", its stage.
    epoch: str = Field(default="", pattern=EPOCH)
    track_units: bool = False  # whether the first request of each unit is recorded
    slow_us: int = Field(default=0, ge=0)  # answers that took longer are slow; 0: none is
    events: tuple[Metric, ...] = ()  # outcomes that are bad events of a unit, unless they are 0

    @model_validator(mode="after")
    def _is_whole(self) -> RoutingTable:
        named = [self.champion, *(arm.release for arm in self.arms)]
        named += [self.mirror.release] if self.mirror else []
        unknown = [name for name in named if name not in self.releases]
        if unknown:
            raise ValueError(f"the release {unknown[0]!r} is routed to, but not described")
        if misnamed := [name for name, spec in self.releases.items() if spec.id != name]:
            raise ValueError(f"the release {misnamed[0]!r} is described under another id")
        names = [arm.name for arm in self.arms]
        taken_names = (CHAMPION, PINNED, SHADOW)
        if len({*taken_names, *names}) != len(names) + len(taken_names):
            raise ValueError(f"the names of arms must differ, also from {taken_names}: {names}")
        if any(first >= end for arm in self.arms for first, end in arm.buckets):
            raise ValueError("a range of buckets is [first, end), and holds one at least")
        taken = [bucket for arm in self.arms for r in arm.buckets for bucket in range(*r)]
        if len(set(taken)) != len(taken) or any(not 0 <= bucket < BUCKETS for bucket in taken):
            raise ValueError(f"buckets 0 to {BUCKETS - 1} belong to one arm each")
        return self

    @property
    def salted(self) -> str:
        """The salt of the buckets."""
        return self.salt or self.endpoint

    def served(self) -> dict[str, str]:
        """The release of each arm, the champion's first, the shadow's last."""
        arms = {CHAMPION: self.champion, **{arm.name: arm.release for arm in self.arms}}
        return {**arms, SHADOW: self.mirror.release} if self.mirror else arms

    def weights(self) -> dict[str, float]:
        """The share of each arm, as a fraction; the champion has the rest."""
        shares = {arm.name: share(arm.buckets) / BUCKETS for arm in self.arms}
        return {CHAMPION: 1.0 - sum(shares.values()), **shares}


def serving_only(spec: ReleaseSpec) -> RoutingTable:
    """One release for everybody."""
    return RoutingTable(endpoint=spec.endpoint, champion=spec.id, releases={spec.id: spec})
