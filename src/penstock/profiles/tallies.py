"""What is counted of one column while its rows pass by, in parts.

Numbers are sorted part by part, and the bins' edges looked up among them: processors sort several
numbers at a time (AVX-512, AVX2, NEON by numpy), and look up a place only one by one.
"""

from __future__ import annotations

from collections import Counter
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock.profiles.profile import Column, Numbers, Words


class Tally(Protocol):
    """Of one column. `add` takes one part at a time."""

    rows: int
    filled: int

    def add(self, values: pa.Array) -> None: ...

    def column(self, shape: Column) -> Column:
        """What was counted, in the shape that it was counted by."""


class Filled:
    """Of a column that is not profiled: values that are there."""

    def __init__(self) -> None:
        self.rows = self.filled = 0

    def add(self, values: pa.Array) -> None:
        self.rows += len(values)
        self.filled += len(values) - values.null_count

    def column(self, shape: Column) -> Column:
        return shape.model_copy(update={"rows": self.rows, "nulls": self.rows - self.filled})


class NumberTally(Filled):
    """Of doubles; what is not a number is missing."""

    def __init__(self, numbers: Numbers) -> None:
        super().__init__()
        self._edges = np.array(numbers.edges, dtype=np.float64)
        ends = numbers.least, numbers.greatest
        self._known = None if None in ends else np.array(ends, dtype=np.float64)
        self._counts = np.zeros(len(numbers.edges) + 1, dtype=np.int64)
        self._beyond = 0
        self._least, self._greatest = np.inf, -np.inf

    def add(self, values: pa.Array) -> None:
        # NaN come last.
        every = np.sort(values.to_numpy(zero_copy_only=False))
        there = every[: np.searchsorted(every, np.nan)]
        self.rows += len(every)
        self.filled += len(there)
        places = np.searchsorted(there, self._edges, side="right")
        self._counts += np.diff(places, prepend=0, append=len(there))
        if self._known is not None:
            below = np.searchsorted(there, self._known[0], side="left")
            within = np.searchsorted(there, self._known[1], side="right") - below
            self._beyond += len(there) - int(within)
        first = np.searchsorted(there, -np.inf, side="right")
        finite = there[first : np.searchsorted(there, np.inf, side="left")]
        if len(finite):
            self._least = min(self._least, float(finite[0]))
            self._greatest = max(self._greatest, float(finite[-1]))

    def column(self, shape: Column) -> Column:
        # + 0.0 makes 0.0 of −0.0: the two are equal, and which one came first is chance.
        least, greatest = (
            end + 0.0 if np.isfinite(end) else None for end in (self._least, self._greatest)
        )
        numbers = Numbers(
            edges=tuple(self._edges.tolist()),
            counts=tuple(self._counts.tolist()),
            least=least,
            greatest=greatest,
            beyond=self._beyond,
        )
        return super().column(shape).model_copy(update={"numbers": numbers})


class WordTally(Filled):
    """Of text: those categories that are known, or all where none is."""

    def __init__(self, words: Words) -> None:
        super().__init__()
        self._known = pa.array(words.counts, pa.string()) if words.counts else None
        self._counts: Counter[str] = Counter()

    @property
    def others(self) -> int:
        """Values of categories that are not known."""
        return self.filled - self._counts.total()

    def add(self, values: pa.Array) -> None:
        super().add(values)
        found = pc.value_counts(values.drop_null())
        if self._known is not None:
            found = found.filter(pc.is_in(found.field("values"), self._known))
        for word, count in zip(*(found.field(i).to_pylist() for i in (0, 1)), strict=True):
            self._counts[word] += count

    def column(self, shape: Column) -> Column:
        return self.with_unseen(shape, {})

    def with_unseen(self, shape: Column, unseen: dict[str, int]) -> Column:
        """Together with categories that are not known, and were counted otherwise."""
        counts = dict(sorted((self._counts | Counter(unseen)).items()))
        singletons = sum(1 for count in counts.values() if count == 1)
        words = Words(counts=counts, singletons=singletons)
        return super().column(shape).model_copy(update={"words": words})


class BucketTally(Filled):
    """Of the numbers of buckets."""

    def __init__(self, buckets: int) -> None:
        super().__init__()
        self._counts = np.zeros(buckets, dtype=np.int64)

    def add(self, values: pa.Array) -> None:
        super().add(values)
        there = values.drop_null().to_numpy()
        self._counts += np.bincount(there, minlength=len(self._counts))

    def column(self, shape: Column) -> Column:
        words = Words(counts={}, buckets=tuple(self._counts.tolist()))
        return super().column(shape).model_copy(update={"words": words})


def tally_of(shape: Column) -> Tally:
    if shape.numbers:
        return NumberTally(shape.numbers)
    if shape.words and shape.words.buckets:
        return BucketTally(len(shape.words.buckets))
    return WordTally(shape.words) if shape.words else Filled()
