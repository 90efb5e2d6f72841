"""The routing decision: a unit in, an arm out. Tables are turned into arrays once."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from penstock.serving.routing.buckets import BUCKETS, bucket_of, hash_of
from penstock.serving.routing.table import CHAMPION, PINNED, RoutingTable


class Route(NamedTuple):
    """Where a request goes."""

    release: str
    arm: str
    unit: str  # its hash, 16 hexadecimal digits
    mirror: str  # the release that gets a copy; empty: none
    epoch: str = ""  # what the answer is evidence of; nothing, once the lease has ended


class Router:
    """Decides by one table and its lease: the same question has the same answer everywhere."""

    def __init__(self, table: RoutingTable, lease_until: datetime | None = None) -> None:
        self.table = table
        self._salt = table.salted
        self._epoch = table.epoch
        self.renew(lease_until)
        champion = (table.champion, CHAMPION)
        self._arms = [champion] * BUCKETS
        for arm in table.arms:
            for first, end in arm.buckets:
                self._arms[first:end] = [(arm.release, arm.name)] * (end - first)
        self._champion = champion
        self._plain = not table.arms and table.mirror is None

    def renew(self, lease_until: datetime | None) -> None:
        """Sets when the lease ends; None: never."""
        self.lease_until = lease_until
        self._until = lease_until.timestamp() if lease_until else float("inf")

    def holds(self, now: float) -> bool:
        """Whether the lease holds. `now`: seconds since 1970."""
        return now < self._until

    def route(self, unit: str, now: float) -> Route:
        """The arm of a unit at a time, in seconds since 1970."""
        number = hash_of(self._salt, unit)
        hashed = f"{number:016x}"
        if now >= self._until:
            return Route(*self._champion, hashed, "")
        if self._plain:
            return Route(*self._champion, hashed, "", self._epoch)
        release, arm = self._arms[number * BUCKETS >> 64]
        holdback = self.table.holdback
        if holdback and arm != CHAMPION and bucket_of(f"{self._salt}/holdback", unit) < holdback:
            release, arm = self._champion
        mirror = self.table.mirror
        if mirror is None or release == mirror.release:
            return Route(release, arm, hashed, "", self._epoch)
        copied = mirror.buckets == BUCKETS or (
            bucket_of(f"{self._salt}/mirror", unit) < mirror.buckets
        )
        return Route(release, arm, hashed, mirror.release if copied else "", self._epoch)

    def arm_of_hash(self, hashed: str) -> str | None:
        """The arm of a unit of which only the hash is known.

        None where that does not say it: some units are held back, by another hash of theirs.
        """
        if self.table.holdback:
            return None
        return self._arms[int(hashed, 16) * BUCKETS >> 64][1]

    def pinned(self, release: str) -> Route | None:
        """The route of a tester who asks for a release, by its id, its model (name@version) or
        its version; None where no such release is live."""
        for name, spec in self.table.releases.items():
            if release in (name, spec.model, spec.model.rpartition("@")[2]):
                return Route(name, PINNED, "", "", self._epoch)
        return None
