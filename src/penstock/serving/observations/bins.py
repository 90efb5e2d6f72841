"""What features are counted in: the bins of a version's reference profile.

A version that has no profile is counted in the bins that lie in its model's folder, numbers alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy
from numpy.typing import NDArray

from penstock.errors import PenstockError
from penstock.profiles.keeping import read_profile
from penstock.profiles.profile import Column, Profile
from penstock.registry.reference import read_reference

MISSING = -1  # the bin of what is not there


@dataclass(frozen=True)
class NumberBins:
    """Bin i lies between edge i − 1 and edge i; `side` says where a value on an edge is."""

    edges: NDArray[numpy.float64]  # ascending
    side: Literal["left", "right"]  # in the bin below it, or above

    def counts(self, matrix: NDArray[numpy.float64], others: Sequence[Any]) -> dict[int, int]:
        """Of values in a matrix's column, and of those that came one by one."""
        given = [float(v) if isinstance(v, int | float) else math.nan for v in others]
        values = numpy.concatenate([matrix, numpy.array(given, float)]) if given else matrix
        places = numpy.searchsorted(self.edges, values, side=self.side)
        found = dict(enumerate(numpy.bincount(places).tolist()))
        if missing := int(numpy.isnan(values).sum()):  # sorted behind the last edge
            found[len(self.edges)] -= missing
            found[MISSING] = missing
        return {place: count for place, count in found.items() if count}


@dataclass(frozen=True)
class WordBins:
    """A bin a category, in some order, and one for all others."""

    places: Mapping[str, int]

    def counts(self, matrix: NDArray[numpy.float64], others: Sequence[Any]) -> dict[int, int]:
        """As above; categories are no numbers, so that of a matrix none is known."""
        found: dict[int, int] = {}
        for value in [*matrix.tolist(), *others]:
            place = self._place(value)
            found[place] = found.get(place, 0) + 1
        return found

    def _place(self, value: Any) -> int:
        if value is None or value != value:
            return MISSING
        return self.places.get(_text(value), len(self.places))


Bins = NumberBins | WordBins


def bins_of(path: str, profile: str, digest: str) -> Mapping[str, Bins]:
    """By feature: of the profile at a path, which has that digest; of the model's folder without.

    Of a profile that cannot be read there are none: counts in other bins would be taken for its.
    Raises `ModelError`.
    """
    if not profile:
        known = read_reference(Path(path))
        return {
            name: NumberBins(numpy.array(one["edges"], float), "right")
            for name, one in known.items()
        }
    try:
        return profile_bins(read_profile(Path(profile), digest))
    except PenstockError:
        return {}


def profile_bins(profile: Profile) -> dict[str, Bins]:
    """Those of numbers and of categories that are known by name."""
    found: dict[str, Bins] = {}
    for column in profile.columns:
        if column.numbers:
            found[column.name] = NumberBins(numpy.array(column.numbers.edges, float), "left")
        elif words := words_of(column):
            found[column.name] = WordBins({word: place for place, word in enumerate(words)})
    return found


def words_of(column: Column) -> list[str]:
    """The categories that have a bin, in their order; none where there are too many."""
    return sorted(column.words.counts) if column.words and not column.words.buckets else []


def tally(bins: Any) -> dict[int, int]:
    """How often each number occurs."""
    numbers, counts = numpy.unique(bins, return_counts=True)
    return dict(zip(numbers.tolist(), counts.tolist(), strict=True))


def _text(value: Any) -> str:
    """As the prediction log, and so the profile of a window, has it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
