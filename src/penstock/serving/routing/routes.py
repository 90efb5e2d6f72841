"""The routing decision: a unit in, an arm out. Tables are turned into arrays once."""

from __future__ import annotations

from typing import NamedTuple

from penstock.serving.routing.buckets import BUCKETS, bucket_of, hash_of
from penstock.serving.routing.table import CHAMPION, PINNED, RoutingTable


class Route(NamedTuple):
    """Where a request goes."""

    release: str
    arm: str
    unit: str  # its hash, 16 hexadecimal digits
    mirror: str  # the release that gets a copy; empty: none


class Router:
    """Decides by one table. Without state: the same question has the same answer everywhere."""

    def __init__(self, table: RoutingTable) -> None:
        self.table = table
        self._salt = table.salt or table.endpoint
        self._until = table.lease_until.timestamp() if table.lease_until else float("inf")
        champion = (table.champion, CHAMPION)
        self._arms = [champion] * BUCKETS
        for arm in table.arms:
            for first, end in arm.buckets:
                self._arms[first:end] = [(arm.release, arm.name)] * (end - first)
        self._champion = champion
        self._plain = not table.arms and table.mirror is None

    def holds(self, now: float) -> bool:
        """Whether the lease holds. `now`: seconds since 1970."""
        return now < self._until

    def route(self, unit: str, now: float) -> Route:
        """The arm of a unit at a time, in seconds since 1970."""
        number = hash_of(self._salt, unit)
        hashed = f"{number:016x}"
        if self._plain or now >= self._until:
            return Route(*self._champion, hashed, "")
        release, arm = self._arms[number * BUCKETS >> 64]
        holdback = self.table.holdback
        if holdback and arm != CHAMPION and bucket_of(f"{self._salt}/holdback", unit) < holdback:
            release, arm = self._champion
        mirror = self.table.mirror
        if mirror is None or release == mirror.release:
            return Route(release, arm, hashed, "")
        copied = mirror.buckets == BUCKETS or (
            bucket_of(f"{self._salt}/mirror", unit) < mirror.buckets
        )
        return Route(release, arm, hashed, mirror.release if copied else "")

    def pinned(self, release: str) -> Route | None:
        """The route of a tester who asks for a release, by its id, its model (name@version) or
        its version; None where no such release is live."""
        for name, spec in self.table.releases.items():
            if release in (name, spec.model, spec.model.rpartition("@")[2]):
                return Route(name, PINNED, "", "")
        return None
