"""A function of each of many ranges of a column, in time that hardly depends on their lengths.

The column holds an entity's values in the order (happened, created, file order); a range is the
part of it inside a window. Nulls and NaN are missing values, which no function counts.
"""

from __future__ import annotations

from functools import cached_property
from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from penstock.errors import DataError
from penstock.features.kernels.distinct import count_distinct, newest_distinct
from penstock.features.kernels.exact import ExactSums, sample_deviation

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


def over_ranges(
    function: str, column: pa.Array | None, left: Ints, right: Ints, kind: pa.DataType, n: int = 0
) -> pa.Array:
    """The function over column[left[i]:right[i]], as an array of `kind`; `left == right` is empty.

    Without a column rows are counted. `n` is that of last_distinct, whose newest value comes first.
    Raises `DataError` when a sum of integers is too large for an int64.
    """
    if column is None:
        return pa.array(right - left, pa.int64())
    return Series(column).over(function, left, right, kind, n)


class Series:
    """A column of which ranges are asked; what several questions share is worked out once."""

    def __init__(self, column: pa.Array) -> None:
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
        if pa.types.is_decimal(column.type):
            column = column.cast(pa.float64())
        self._before, self.column = _present(column)  # rows that are there before each row
        self._lock = Lock()

    def over(
        self, function: str, left: Ints, right: Ints, kind: pa.DataType, n: int = 0
    ) -> pa.Array:
        """The same as `over_ranges`."""
        if self._before is not None:
            left, right = self._before[left], self._before[right]
        if function == "count":
            return pa.array(right - left, pa.int64())
        result = FUNCTIONS[function](self, left, right, n)
        return result if result.type == kind else result.cast(kind)

    @property
    def whole(self) -> bool:
        return bool(pa.types.is_integer(self.column.type) or pa.types.is_boolean(self.column.type))

    @cached_property
    def floats(self) -> NDArray[np.float64]:
        return self.column.cast(pa.float64()).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]

    @cached_property
    def infinite(self) -> Flags:
        return np.isinf(self.floats)

    def sums(self) -> ExactSums:
        """The exact sums of the finite values."""
        with self._lock:
            return self._sums

    @cached_property
    def _sums(self) -> ExactSums:
        return ExactSums(np.where(self.infinite, 0.0, self.floats))

    @cached_property
    def integers(self) -> Ints:
        try:
            return self.column.cast(pa.int64()).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]
        except pa.ArrowInvalid as error:
            raise DataError(
                f"an integer is too large for 64 bits: {error}",
                hint="cast the column to float64 in a transformation",
            ) from error

    @cached_property
    def codes(self) -> Ints:
        """Equal values have equal numbers; minus zero is zero."""
        column = self.column
        if pa.types.is_floating(column.type):
            column = pc.add(column, pa.scalar(0.0, column.type))
        codes: Ints = column.dictionary_encode().indices.to_numpy(zero_copy_only=False)
        return codes.astype(np.int64)


def _present(column: pa.Array) -> tuple[Ints | None, pa.Array]:
    """How many values are there before each row, and those; None where all are there."""
    there = pc.is_valid(column) if column.null_count else None
    if pa.types.is_floating(column.type):
        number = pc.invert(pc.is_nan(column))
        there = number if there is None else pc.and_kleene(there, number)
        there = there.fill_null(False)
    if there is None:
        return None, column
    flags: Flags = there.to_numpy(zero_copy_only=False)
    if flags.all():
        return None, column
    return _before(flags), column.filter(pa.array(flags))


def _before(flags: Flags) -> Ints:
    before = np.zeros(len(flags) + 1, dtype=np.int64)
    np.cumsum(flags, out=before[1:])
    return before


def _sum(series: Series, left: Ints, right: Ints, _: int) -> pa.Array:
    if series.whole:
        return pa.array(_whole_sums(series.integers, left, right), pa.int64())
    sums, missing = _float_sums(series, left, right)
    return pa.array(sums, mask=missing)


def _mean(series: Series, left: Ints, right: Ints, _: int) -> pa.Array:
    empty = left == right
    if series.whole:
        sums, missing = _whole_sums(series.integers, left, right, as_float=True), empty
    else:
        sums, missing = _float_sums(series, left, right)
    with np.errstate(invalid="ignore", divide="ignore"):
        return pa.array(sums / (right - left), mask=missing | empty)


def _std(series: Series, left: Ints, right: Ints, _: int) -> pa.Array:
    finite = np.where(series.infinite, 0.0, series.floats)
    deviation = sample_deviation(finite, series.sums(), left, right)
    before = _before(series.infinite)
    return pa.array(deviation, mask=(right - left < 2) | (before[right] > before[left]))


def _float_sums(series: Series, left: Ints, right: Ints) -> tuple[NDArray[np.float64], Flags]:
    """The sums, and which have none: infinities of both signs."""
    sums = series.sums().over(left, right)
    if not series.infinite.any():
        return sums, np.zeros(len(left), dtype=bool)
    above = _before(series.infinite & (series.floats > 0))
    below = _before(series.infinite & (series.floats < 0))
    over, under = above[right] > above[left], below[right] > below[left]
    sums[over], sums[under] = np.inf, -np.inf
    return sums, over & under


def _whole_sums(
    values: Ints, left: Ints, right: Ints, *, as_float: bool = False
) -> NDArray[np.int64] | NDArray[np.float64]:
    """Sums of integers; as floats they are rounded once."""
    prefix = np.zeros(len(values) + 1, dtype=np.int64)
    np.cumsum(values, out=prefix[1:])  # may wrap around; the differences do not
    sums = prefix[right] - prefix[left]
    largest = max(abs(int(values.max(initial=0))), abs(int(values.min(initial=0))))
    longest = int((right - left).max(initial=0))
    if largest * longest < 2**63:
        return sums.astype(np.float64) if as_float else sums
    exact = [sum(values[a:b].tolist()) for a, b in zip(left.tolist(), right.tolist(), strict=True)]
    if as_float:
        return np.array([float(total) for total in exact])
    if any(not -(2**63) <= total < 2**63 for total in exact):
        raise DataError(
            f"a sum of integers is too large for 64 bits: {max(exact, key=abs)}",
            hint="cast the column to float64 in a transformation",
        )
    return np.array(exact, dtype=np.int64)


def _min(series: Series, left: Ints, right: Ints, _: int) -> pa.Array:
    return _extreme(series.column, left, right, np.minimum)


def _max(series: Series, left: Ints, right: Ints, _: int) -> pa.Array:
    return _extreme(series.column, left, right, np.maximum)


def _extreme(column: pa.Array, left: Ints, right: Ints, pick: np.ufunc) -> pa.Array:
    """The smallest or largest of each range; of doubling ranges two cover any range."""
    numeric = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    ranked = None if numeric else _ranked(column)
    table = (column if ranked is None else ranked.indices).to_numpy(zero_copy_only=False)
    found = np.zeros(len(left), dtype=table.dtype)
    _, length = np.frexp((right - left).astype(np.float64))  # 1 for 1, 2 for 2 and 3, …
    for level in range(int(length.max(initial=0))):
        here = np.flatnonzero(length == level + 1)
        if len(here):
            found[here] = pick(table[left[here]], table[right[here] - (1 << level)])
        table = pick(table[: -(1 << level)], table[1 << level :])
    result = pa.array(found, mask=left == right)
    return result if ranked is None else ranked.dictionary.take(result)


def _ranked(column: pa.Array) -> pa.DictionaryArray:
    """Numbers in the order of the values."""
    encoded = column.dictionary_encode()
    values = encoded.dictionary
    if pa.types.is_boolean(values.type):
        order = pc.sort_indices(values.cast(pa.int8()))
    else:
        order = pc.sort_indices(values)
    rank = np.empty(len(values), dtype=np.int64)
    rank[order.to_numpy()] = np.arange(len(values))
    indices = rank[encoded.indices.to_numpy(zero_copy_only=False)]
    return pa.DictionaryArray.from_arrays(pa.array(indices), values.take(order))


def _first(series: Series, left: Ints, right: Ints, _: int) -> pa.Array:
    return series.column.take(pa.array(left, mask=left == right))


def _last(series: Series, left: Ints, right: Ints, _: int) -> pa.Array:
    return series.column.take(pa.array(right - 1, mask=left == right))


def _count_distinct(series: Series, left: Ints, right: Ints, _: int) -> pa.Array:
    return pa.array(count_distinct(series.codes, left, right), pa.int64())


def _last_distinct(series: Series, left: Ints, right: Ints, n: int) -> pa.Array:
    places, counts = newest_distinct(series.codes, left, right, n)
    offsets = np.zeros(len(left) + 1, dtype=np.int32)
    np.cumsum(counts, out=offsets[1:])
    # An offset that is null makes the list null: an empty window has no value.
    mask = np.append(counts == 0, False)
    values = series.column.take(pa.array(places))
    return pa.ListArray.from_arrays(pa.array(offsets, mask=mask), values)


FUNCTIONS = {
    "sum": _sum,
    "mean": _mean,
    "std": _std,
    "min": _min,
    "max": _max,
    "first": _first,
    "last": _last,
    "count_distinct": _count_distinct,
    "last_distinct": _last_distinct,
}
