"""What a gateway serves at this moment: the router, and the releases that it routes to."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from penstock.serving.http_server.messages import RequestError
from penstock.serving.observations.bins import Bins
from penstock.serving.prediction_ids import salt_tag
from penstock.serving.protocols.asked import Target
from penstock.serving.protocols.open_inference_documents import Served
from penstock.serving.release import ReleaseSpec
from penstock.serving.replicas.pool import ReplicaPool
from penstock.serving.routing.routes import Router
from penstock.serving.routing.units import UnitReader


@dataclass(frozen=True)
class LiveRelease:
    """A release whose replicas are ready."""

    spec: ReleaseSpec
    pool: ReplicaPool
    target: Target
    reference: Mapping[str, Bins] | None = None  # what its features are counted in

    @classmethod
    def of(
        cls, pool: ReplicaPool, max_rows: int, reference: Mapping[str, Bins] | None
    ) -> LiveRelease:
        spec = pool.spec
        model, _, version = spec.model.rpartition("@")
        features = spec.features
        target = Target(
            model=model,
            version=version,
            release=spec.id,
            schema=pool.schema,
            max_rows=max_rows,
            entities=features.entities if features else (),
            requested=features.requested if features else {},
        )
        return cls(spec, pool, target, reference)


@dataclass
class Live:
    """Swapped as a whole between two requests: no request sees half of a change."""

    endpoint: str
    url: str = ""
    revision: int = 0  # of the routing table
    router: Router | None = None
    units: UnitReader | None = None
    releases: dict[str, LiveRelease] = field(default_factory=dict)
    salt_tag: str = "0000"  # of the ids of predictions
    tracked: str = ""  # the epoch, where the first request of each unit is recorded
    rollout: str = ""
    rollout_since: float = 0.0  # when this gateway began to serve it, in seconds since 1970
    draining: bool = False

    @property
    def ready(self) -> bool:
        """Whether the champion could answer now."""
        if self.draining or self.router is None:
            return False
        return bool(self.releases[self.router.table.champion].pool.ready)

    def served(self) -> list[Served]:
        """Every live release as a version of its model, the champion's first."""
        champion = self.router.table.champion if self.router else ""
        ordered = sorted(self.releases.items(), key=lambda item: item[0] != champion)
        return [
            Served(one.target.model, one.target, one.pool.flavor, bool(one.pool.ready))
            for _, one in ordered
        ]

    def release_of(self, model: str, version: str) -> str:
        """The live release of a model; the champion's where no version is named.

        Raises `RequestError` when there is none.
        """
        if self.router is None:
            raise RequestError(503, "no release is live")
        for one in self.served():
            if one.name == model and version in ("", one.target.version):
                return one.target.release
        name = f"{model}@{version}" if version else model
        raise RequestError(404, f"no model {name!r} is live here")

    def wanted(self, model: str, version: str) -> str:
        """The release that a request names; "" where the routing table decides.

        It does among releases of the champion's model, where no version is named. Raises
        `RequestError` when no such release is live.
        """
        release = self.release_of(model, version)
        return "" if not version and model == self.served()[0].name else release

    def swap(self, revision: int, router: Router, releases: dict[str, LiveRelease]) -> None:
        table = router.table
        self.revision = revision
        self.units = UnitReader(table.unit)
        self.releases = releases
        self.salt_tag = salt_tag(table.salted)
        self.tracked = table.epoch if table.track_units else ""
        rollout = table.epoch.partition("/")[0]
        if rollout != self.rollout:
            self.rollout, self.rollout_since = rollout, time.time()
        self.router = router
