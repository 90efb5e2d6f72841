"""The record of what data looked like. Two of the same shape add."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import accumulate, pairwise

from pydantic import BaseModel, ConfigDict

from penstock.errors import DataError

PREDICTION = "prediction"  # the name of the column that a model's answers are


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Numbers(Part):
    """Values in bins: bin i holds what is above edge i − 1 and at most edge i.

    A value that many rows share lies alone between two edges that are hardly apart.
    """

    edges: tuple[float, ...]  # ascending
    counts: tuple[int, ...]  # one more than edges: below, between, above
    least: float | None  # of all finite values; None: there are none
    greatest: float | None
    beyond: int = 0  # values outside those of the column that these bins were made for


class Words(Part):
    """How often each category occurs; of too many, how many rows fall into each of some buckets."""

    counts: dict[str, int]
    singletons: int = 0  # categories that occur once: they tell how likely unseen ones are
    buckets: tuple[int, ...] = ()  # by hash; then `counts` is empty

    @property
    def doubletons(self) -> int:
        """Categories that occur twice: they tell how sure that likelihood is."""
        return sum(1 for count in self.counts.values() if count == 2)


class Column(Part):
    """A feature, or the predictions. With neither `numbers` nor `words` it is not profiled."""

    name: str
    type: str  # as Arrow prints it
    rows: int
    nulls: int  # of the rows: null or not a number
    numbers: Numbers | None = None
    words: Words | None = None
    importance: float | None = None  # its share in what moves the predictions; None: not known

    @property
    def filled(self) -> int:
        return self.rows - self.nulls


class Scores(Part):
    """Held-out answers of a model and what came true: groups of neighbouring scores, ascending."""

    score: tuple[float, ...]  # the mean of each group
    positives: tuple[int, ...]
    negatives: tuple[int, ...]
    threshold: float  # from which on the answer is yes; no group has answers of both kinds


class Profile(Part):
    """All columns of a training set, or of a model version with what it answered."""

    rows: int
    columns: tuple[Column, ...]
    prediction: Column | None = None  # the model's held-out answers
    scores: Scores | None = None
    # The same answers in the bins that gateways count in (`stats.score_bins`).
    prediction_bins: dict[int, int] = {}
    training_set: str = ""  # digest
    model: str = ""  # digest

    def column(self, name: str) -> Column | None:
        return self._by_name.get(name)

    @cached_property
    def _by_name(self) -> dict[str, Column]:
        return {column.name: column for column in self.columns}

    @property
    def text(self) -> str:
        """As JSON, always the same for the same content."""
        plain = self.model_dump(mode="json", exclude_defaults=True)
        return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def profile_from(text: str | bytes, source: str) -> Profile:
    """The inverse of `Profile.text`. Raises `DataError` naming the `source`."""
    try:
        return Profile.model_validate_json(text)
    except ValueError as error:
        first = str(error).splitlines()[0]
        raise DataError(
            f"{source} is not a profile: {first}", hint="run the step that made it again"
        ) from error


def added(one: Column, other: Column) -> Column:
    """The column over the rows of both, which must have the same bins.

    Raises `DataError` where they have not.
    """
    numbers, words = one.numbers, one.words
    if numbers and other.numbers and numbers.edges == other.numbers.edges:
        counts = zip(numbers.counts, other.numbers.counts, strict=True)
        numbers = Numbers(
            edges=numbers.edges,
            counts=tuple(a + b for a, b in counts),
            least=_least(numbers.least, other.numbers.least),
            greatest=_greatest(numbers.greatest, other.numbers.greatest),
            beyond=numbers.beyond + other.numbers.beyond,
        )
    elif words and other.words and len(words.buckets) == len(other.words.buckets):
        words = _words_added(words, other.words)
    elif numbers or words or other.numbers or other.words:
        raise DataError(f"two profiles of {one.name} have different bins and do not add")
    return one.model_copy(
        update={
            "rows": one.rows + other.rows,
            "nulls": one.nulls + other.nulls,
            "numbers": numbers,
            "words": words,
        }
    )


def thinned(column: Column, share: float) -> Column:
    """The column as if only this share of its rows were there, each bin in proportion."""
    if share >= 1:
        return column
    numbers, words = column.numbers, column.words
    if numbers:
        counts = _thinned(numbers.counts, share)
        beyond = round(numbers.beyond * share)
        numbers = numbers.model_copy(update={"counts": counts, "beyond": beyond})
    if words:
        named = zip(words.counts, _thinned(tuple(words.counts.values()), share), strict=True)
        buckets = _thinned(words.buckets, share)
        words = words.model_copy(update={"counts": dict(named), "buckets": buckets})
    nulls, filled = _thinned((column.nulls, column.filled), share)
    changed = {"rows": nulls + filled, "nulls": nulls, "numbers": numbers, "words": words}
    return column.model_copy(update=changed)


def _thinned(counts: Sequence[int], share: float) -> tuple[int, ...]:
    """Rounded as sums, so that they add up."""
    sums = [round(total * share) for total in accumulate(counts, initial=0)]
    return tuple(after - before for before, after in pairwise(sums))


def _words_added(one: Words, other: Words) -> Words:
    counts = _sums(one.counts, other.counts)
    return Words(
        counts=counts,
        singletons=sum(1 for count in counts.values() if count == 1),
        buckets=tuple(a + b for a, b in zip(one.buckets, other.buckets, strict=True)),
    )


def _sums(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {key: one.get(key, 0) + other.get(key, 0) for key in sorted({*one, *other})}


def _least(*values: float | None) -> float | None:
    return min((value for value in values if value is not None), default=None)


def _greatest(*values: float | None) -> float | None:
    return max((value for value in values if value is not None), default=None)
