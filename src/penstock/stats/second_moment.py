"""Σc² over entities that were seen c times each, from a few hundred sums that add.

Each entity has a bucket and a sign by its hash, and its bucket the sum of the signs seen. The sum
of the buckets' squares is Σc² in expectation, with a relative standard deviation of √(2/BUCKETS),
6 %, at most (Alon, Matias and Szegedy 1996; with buckets: Thorup and Zhang 2004).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

BUCKETS = 512
# Steele, Lea and Flood 2014, SplitMix64: CRCs of alike texts are alike, and these are not.
MIXING = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
BEGIN = 0x9E3779B97F4A7C15


def signed_sums(entities: Iterable[bytes]) -> dict[int, int]:
    """By bucket, the sum of the signs of some entities, each as often as it was seen."""
    mixed = _mixed(np.array([crc32(one) for one in entities], np.uint64))
    buckets = (mixed >> np.uint64(32)).astype(np.int64) % BUCKETS
    signs = (mixed & np.uint64(1)).astype(np.int64) * 2 - 1
    sums = np.bincount(buckets, weights=signs, minlength=BUCKETS).astype(np.int64)
    return {int(place): int(sums[place]) for place in np.flatnonzero(sums)}


def second_moment(sums: Mapping[int, int]) -> float:
    """Σc², of the entities behind some `signed_sums`.

    >>> second_moment(signed_sums([b"one"] * 30))
    900.0
    """
    return float(sum(one * one for one in sums.values()))


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    mixed = values * np.uint64(BEGIN)  # which wraps
    for shift, factor in MIXING:
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))
