"""Exact sums over ranges: the sum of floats, rounded once, so that it depends on no order.

Every double is cut into three integers of some 40 bits, which add without error; a range's sum is
the difference of two prefix sums, rounded to the nearest double at the end. It is the same whether
one range is summed or a million, offline or online. (Demmel and Nguyen 2015, "Parallel
reproducible summation"; rounding to odd: Boldo and Melquiond 2008.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SLICE_BITS = 40
SMALLEST_EXACT = 1e-290  # below, a result might be rounded twice
TOO_CLOSE = 2.0**-90  # a spread so far below the squares has lost digits in twice the precision


def exact_sum(values: Sequence[float]) -> float | None:
    """The sum, rounded once. Infinities add up to themselves; of both signs: None."""
    infinite = {value for value in values if math.isinf(value)}
    if infinite:
        return infinite.pop() if len(infinite) == 1 else None
    try:
        return math.fsum(values)
    except OverflowError:
        exact = sum(map(Fraction, values), Fraction(0))
        return _rounded(exact)


def _rounded(exact: Fraction) -> float:
    try:
        return float(exact)
    except OverflowError:
        return math.inf if exact > 0 else -math.inf


class ExactSums:
    """Sums over ranges of finite values, each the exact sum rounded once."""

    def __init__(self, values: Floats) -> None:
        self._values = values
        self._bits = min(SLICE_BITS, 62 - len(values).bit_length())
        cut = _slices(values, self._bits)
        self._exponent = cut[0] if cut else 0
        self._prefixes = [_prefix(part) for part in cut[1]] if cut else None

    def over(self, left: Ints, right: Ints) -> Floats:
        """The sum of values[left[i]:right[i]]."""
        return self.pairs(left, right, low=False)[0]

    def pairs(self, left: Ints, right: Ints, *, low: bool = True) -> tuple[Floats, Floats]:
        """The same, and what the rounding left, itself rounded: together some 106 bits."""
        if self._prefixes is None:
            return _one_by_one(self._values, left, right)
        sums = [prefix[right] - prefix[left] for prefix in self._prefixes]
        high = _round(sums, self._bits, self._exponent)
        if not low:
            return high, high
        rounded = _slices(np.where(np.isfinite(high), high, 0.0), self._bits, self._exponent)
        if rounded is None:
            return _one_by_one(self._values, left, right)
        rest = [a - b for a, b in zip(sums, rounded[1], strict=True)]
        return high, _round(rest, self._bits, self._exponent)


def _slices(
    values: Floats, bits: int, exponent: int | None = None
) -> tuple[int, list[Ints]] | None:
    """Three integers each: value = (a·2^2b + b·2^b + c)·2^(exponent-3b). None where they cannot."""
    if exponent is None:
        exponent = int(np.frexp(np.abs(values).max(initial=0.0))[1])
    rest = np.ldexp(values, bits - exponent)
    if not np.array_equal(np.ldexp(rest, exponent - bits), values):
        return None  # so small beside the largest that scaling loses bits
    slices: list[Ints] = []
    for _ in range(3):
        whole = np.trunc(rest)
        slices.append(whole.astype(np.int64))
        rest = (rest - whole) * 2.0**bits
    return (exponent, slices) if not rest.any() else None


def _prefix(values: Ints) -> Ints:
    """The sums of all values before each place. They may wrap around; differences do not."""
    prefix = np.zeros(len(values) + 1, dtype=np.int64)
    np.cumsum(values, out=prefix[1:])
    return prefix


def _round(sums: list[Ints], bits: int, exponent: int) -> Floats:
    """The nearest double to each (a·2^2b + b·2^b + c)·2^(exponent-3b)."""
    a, b, c = sums
    mask = np.int64((1 << bits) - 1)
    b = b + (c >> bits)
    c = c & mask
    a = a + (b >> bits)
    b = b & mask
    small = (a == 0) | (a == -1)
    # The number is `upper`, then `tail`, then `last`; a small one has only the first two.
    upper = np.where(small, (a << bits) + b, a)
    tail = np.where(small, c, b)
    last = np.where(small, 0, c)
    _, length = np.frexp(np.abs(upper).astype(np.float64))
    shift = np.clip(62 - length, 0, bits)
    left_out = (tail & ((np.int64(1) << (bits - shift)) - 1)) | last
    # Room for more than the tail: the head of the last part fills it.
    more = np.where(small, 0, np.clip(62 - length - bits, 0, bits))
    head = (upper << shift) | (tail >> (bits - shift))
    head = (head << more) | (last >> (bits - more))
    left_out = np.where(more > 0, last & ((np.int64(1) << (bits - more)) - 1), left_out)
    # An odd last bit stands for all that was left out; 62 bits are then rounded correctly to 53.
    head = head | (left_out != 0)
    lowest = exponent - np.where(small, 2, 1) * bits - shift - more
    result: Floats = np.ldexp(head.astype(np.float64), lowest)
    for i in np.flatnonzero((np.abs(result) < SMALLEST_EXACT) & (head != 0)):
        whole = (int(a[i]) << 2 * bits) + (int(b[i]) << bits) + int(c[i])
        result[i] = _rounded(Fraction(whole) * Fraction(2) ** (exponent - 3 * bits))
    return result


def _one_by_one(values: Floats, left: Ints, right: Ints) -> tuple[Floats, Floats]:
    """For values too far apart to be cut alike: slow, and as exact."""
    high, low = np.zeros(len(left)), np.zeros(len(left))
    for number, (start, end) in enumerate(zip(left.tolist(), right.tolist(), strict=True)):
        some = values[start:end].tolist()
        total = exact_sum(some)
        assert total is not None
        high[number] = total
        if math.isfinite(total):
            low[number] = exact_sum([*some, -total]) or 0.0
    return high, low


def sample_deviation(values: Floats, sums: ExactSums, left: Ints, right: Ints) -> Floats:
    """The standard deviation of a sample over each range of finite values; NaN for fewer than two.

    From exact sums of values and of their squares in twice the precision, so that a mean far above
    the deviation does no harm.
    """
    count = (right - left).astype(np.float64)
    product, error = _square(values)
    sum_high, sum_low = sums.pairs(left, right)
    squares = ExactSums(product).pairs(left, right)
    errors = ExactSums(error).pairs(left, right)
    with np.errstate(all="ignore"):
        total = _add(*squares, *errors)
        mean_square = _divide(*_multiply(sum_high, sum_low, sum_high, sum_low), count)
        spread = _add(*total, -mean_square[0], -mean_square[1])
        deviation = np.sqrt(np.maximum((spread[0] + spread[1]) / (count - 1), 0.0))
    deviation[count < 2] = np.nan
    several = count > 1
    equal = _equal(values, left, right) & several
    deviation[equal] = 0.0  # to the bit, which a difference of two rounded sums is not
    close = several & (np.abs(spread[0]) <= np.abs(total[0]) * TOO_CLOSE) & ~equal
    return _by_fractions(values, left, right, deviation, close)


def _equal(values: Floats, left: Ints, right: Ints) -> NDArray[np.bool_]:
    """The ranges that hold one value only."""
    changes = np.zeros(len(values), dtype=np.int64)
    changes[1:] = values[1:] != values[:-1]
    before = _prefix(changes)
    found: NDArray[np.bool_] = before[right] == before[np.minimum(left + 1, right)]
    return found


def _by_fractions(
    values: Floats, left: Ints, right: Ints, deviation: Floats, close: NDArray[np.bool_]
) -> Floats:
    """Ranges with values whose squares no double holds exactly, and those `close` to one value."""
    size = np.abs(values)
    odd = ((size > 1e150) | ((size < 1e-140) & (size > 0))).astype(np.int64)
    before = _prefix(odd)
    for number in np.flatnonzero(((before[right] > before[left]) & (right - left > 1)) | close):
        some = [Fraction(value) for value in values[left[number] : right[number]].tolist()]
        mean = sum(some, Fraction(0)) / len(some)
        variance = sum(((value - mean) ** 2 for value in some), Fraction(0)) / (len(some) - 1)
        deviation[number] = _root(variance)
    return deviation


def _root(value: Fraction) -> float:
    """The square root to within a unit in the last place, whatever the size."""
    if not value:
        return 0.0
    shift = (value.numerator.bit_length() - value.denominator.bit_length()) // 2 - 60
    scaled = value / Fraction(4) ** shift
    return _rounded(Fraction(math.isqrt(int(scaled))) * Fraction(2) ** shift)


def _square(values: Floats) -> tuple[Floats, Floats]:
    """x² = p + e without error (Dekker 1971); zeros where that cannot be."""
    size = np.abs(values)
    safe = np.where((size > 1e150) | (size < 1e-140), 0.0, values)
    product = safe * safe
    spread = safe * 134217729.0  # 2^27 + 1
    high = spread - (spread - safe)
    low = safe - high
    return product, ((high * high - product) + 2 * high * low) + low * low


def _add(ah: Floats, al: Floats, bh: Floats, bl: Floats) -> tuple[Floats, Floats]:
    total = ah + bh
    part = total - ah
    error = (ah - (total - part)) + (bh - part) + al + bl
    high = total + error
    return high, error - (high - total)


def _multiply(ah: Floats, al: Floats, bh: Floats, bl: Floats) -> tuple[Floats, Floats]:
    product = ah * bh
    spread_a, spread_b = ah * 134217729.0, bh * 134217729.0
    a1 = spread_a - (spread_a - ah)
    b1 = spread_b - (spread_b - bh)
    a2, b2 = ah - a1, bh - b1
    error = ((a1 * b1 - product) + a1 * b2 + a2 * b1) + a2 * b2 + (ah * bl + al * bh)
    high = product + error
    return high, error - (high - product)


def _divide(ah: Floats, al: Floats, b: Floats) -> tuple[Floats, Floats]:
    quotient = ah / b
    back = _multiply(quotient, np.zeros_like(quotient), b, np.zeros_like(b))
    rest = _add(ah, al, -back[0], -back[1])
    correction = (rest[0] + rest[1]) / b
    high = quotient + correction
    return high, correction - (high - quotient)
