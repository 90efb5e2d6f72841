"""Units in buckets, and buckets to arms: the same on every worker, host and in every language.

A unit (a user, an account, a request) falls into one of 10,000 buckets for good:

    bucket = floor(first 8 bytes of SHA-256(salt + 0x00 + unit), big-endian, · 10000 / 2^64)

Salt and unit are UTF-8. An arm owns ranges of buckets, which the routing table holds as data. When
weights change, `reallocated` moves as few buckets as the change needs: while an arm grows, no unit
leaves it, and none changes between arms whose weights stay.

>>> bucket_of("churn", "customer-42")
5698
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256

BUCKETS = 10_000

Range = tuple[int, int]  # [first, end)
Ranges = tuple[Range, ...]


def hash_of(salt: str, unit: str) -> int:
    """64 bits that stand for a unit: what is logged of it, and where its bucket comes from."""
    return int.from_bytes(sha256(f"{salt}\0{unit}".encode()).digest()[:8], "big")


def bucket_of(salt: str, unit: str) -> int:
    """The bucket of a unit, 0 to 9,999."""
    return hash_of(salt, unit) * BUCKETS >> 64


def reallocated(held: Mapping[str, Ranges], weights: Mapping[str, int]) -> dict[str, Ranges]:
    """The ranges of each arm after a change of weights, given in buckets.

    An arm that shrinks gives up its last buckets; one that grows takes the first free ones. What no
    arm owns is the champion's.

    >>> reallocated({}, {"a": 1000})
    {'a': ((0, 1000),)}
    >>> reallocated({"a": ((0, 1000),)}, {"a": 2500, "b": 500})
    {'a': ((0, 2500),), 'b': ((2500, 3000),)}
    """
    if sum(weights.values()) > BUCKETS or any(weight < 0 for weight in weights.values()):
        raise ValueError(f"the weights {dict(weights)} are not within 0 and {BUCKETS} in sum")
    owned = {name: _buckets(held.get(name, ()))[:weight] for name, weight in weights.items()}
    taken = {bucket for buckets in owned.values() for bucket in buckets}
    free = (bucket for bucket in range(BUCKETS) if bucket not in taken)
    for name, weight in weights.items():
        missing = weight - len(owned[name])
        owned[name] += [next(free) for _ in range(missing)]
    return {name: _ranges(buckets) for name, buckets in owned.items()}


def share(ranges: Ranges) -> int:
    """How many buckets the ranges hold."""
    return sum(end - first for first, end in ranges)


def _buckets(ranges: Ranges) -> list[int]:
    return [bucket for first, end in ranges for bucket in range(first, end)]


def _ranges(buckets: Sequence[int]) -> Ranges:
    found: list[list[int]] = []
    for bucket in sorted(buckets):
        if found and found[-1][1] == bucket:
            found[-1][1] += 1
        else:
            found.append([bucket, bucket + 1])
    return tuple((first, end) for first, end in found)
