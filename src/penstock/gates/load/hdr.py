"""Latencies as HdrHistogram keeps them: a fixed relative error, whatever their size.

Three significant digits from 1 µs to 60 s, in buckets that double; each has 2,048 sub-buckets of
which the lower half repeats the bucket before. Counts add, so histograms merge without loss.
http://hdrhistogram.org; the formats are those of its Java version 2.1: percentile distributions
(`.hgrm`), and interval logs (`.hlog`) of V2 compressed histograms. Its plotters and libraries read
both.
"""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

DIGITS = 3
LOWEST, HIGHEST = 1, 60_000_000  # microseconds
SUB_BUCKETS = 2048  # the power of two from 2 · 10^DIGITS on
HALF = SUB_BUCKETS // 2
HALF_BITS = 10
BUCKETS = 16  # so that SUB_BUCKETS · 2^(BUCKETS - 1) > HIGHEST
COUNTS = (BUCKETS + 1) * HALF
COOKIE, COMPRESSED_COOKIE = 0x1C849313, 0x1C849314  # of the encoding V2
TICKS_PER_HALVING = 5  # lines of a distribution for each halving of the distance to 100 %
PER_MS = 1000.0

Counts = NDArray[np.int64]


def index_of(microseconds: NDArray[Any]) -> NDArray[np.int64]:
    """Where each latency is counted. Beyond the range it is counted at its end.

    >>> index_of(np.array([0, 1, 2047, 2048, 2049, 2050, 4096])).tolist()
    [0, 1, 2047, 2048, 2048, 2049, 3072]
    """
    values = np.clip(microseconds, 0, HIGHEST).astype(np.int64)
    exponents = np.frexp(values.astype(np.float64))[1].astype(np.int64)  # v < 2^exponent
    buckets = np.maximum(exponents - (HALF_BITS + 1), 0)
    return np.asarray((buckets << HALF_BITS) + (values >> buckets), dtype=np.int64)


def _widths() -> Counts:
    buckets = np.maximum((np.arange(COUNTS) >> HALF_BITS) - 1, 0)
    return np.asarray(1 << buckets, dtype=np.int64)


def _lower_ends() -> Counts:
    places = np.arange(COUNTS)
    inside = np.where(places < HALF, places, HALF + (places & (HALF - 1)))
    return np.asarray(inside * _widths(), dtype=np.int64)


WIDTH = _widths()  # microseconds that count as one value
LOW = _lower_ends()
HIGH = LOW + WIDTH - 1  # the largest value that is counted at an index
MIDDLE = LOW + WIDTH // 2


class Step(NamedTuple):
    """One line of a percentile distribution."""

    value: int  # microseconds
    percentile: float
    up_to: int  # how many values lie at or below it


class Histogram:
    """Counts of latencies in microseconds."""

    def __init__(self, counts: Counts | None = None) -> None:
        self.counts: Counts = np.zeros(COUNTS, dtype=np.int64) if counts is None else counts

    def record(self, microseconds: NDArray[Any]) -> None:
        self.counts += np.bincount(index_of(microseconds), minlength=COUNTS)

    def add(self, other: Histogram) -> None:
        self.counts += other.counts

    @property
    def total(self) -> int:
        return int(self.counts.sum())

    @property
    def max(self) -> int:
        """Microseconds; 0 of nothing."""
        found = np.flatnonzero(self.counts)
        return int(HIGH[found[-1]]) if len(found) else 0

    @property
    def mean(self) -> float:
        """Microseconds; NaN of nothing."""
        return float((self.counts * MIDDLE).sum()) / self.total if self.total else math.nan

    @property
    def deviation(self) -> float:
        """Standard deviation in microseconds; NaN of nothing."""
        if not self.total:
            return math.nan
        squares = (MIDDLE - self.mean) ** 2
        return math.sqrt(float((self.counts * squares).sum()) / self.total)

    def percentile(self, percentile: float) -> float:
        """Microseconds that this many in a hundred stayed within; infinite of nothing.

        >>> histogram = Histogram()
        >>> histogram.record(np.arange(1, 101))
        >>> histogram.percentile(50), histogram.percentile(99.5), histogram.percentile(100)
        (50.0, 100.0, 100.0)
        """
        total = self.total
        if not total:
            return math.inf
        # A product such as 99.9 · 10 may lie a hair above the whole number that is meant.
        rank = max(1, math.ceil(percentile * total / 100.0 - 1e-9 * total))
        return float(HIGH[int(np.searchsorted(np.cumsum(self.counts), rank))])

    def values(self) -> NDArray[np.float64]:
        """Every latency in microseconds, to the histogram's precision, in order."""
        return np.repeat(MIDDLE, self.counts).astype(np.float64)

    def steps(self) -> Iterator[Step]:
        """The distribution, in ever finer steps towards 100 %; the last is 100 % itself."""
        total, count, level = self.total, 0, 0.0
        places = np.flatnonzero(self.counts)
        for place in places:
            count += int(self.counts[place])
            while 100.0 * count / total >= level:
                yield Step(int(HIGH[place]), level, count)
                halvings = int(math.log2(100.0 / (100.0 - level))) + 1
                level += 100.0 / (TICKS_PER_HALVING * 2.0**halvings)
                if count == total:
                    break
        if total:
            yield Step(self.max, 100.0, total)


def distribution_text(histogram: Histogram) -> str:
    """The `.hgrm` file, in milliseconds."""
    lines = [f"{'Value':>12} {'Percentile':>14} {'TotalCount':>10} {'1/(1-Percentile)':>14}", ""]
    for value, percentile, up_to in histogram.steps():
        line = f"{value / PER_MS:12.3f} {percentile / 100.0:.12f} {up_to:10d}"
        if percentile < 100.0:
            line += f" {1.0 / (1.0 - percentile / 100.0):14.2f}"
        lines.append(line)
    mean, deviation = (histogram.mean, histogram.deviation) if histogram.total else (0.0, 0.0)
    lines += [
        f"#[Mean    = {mean / PER_MS:12.3f}, StdDeviation   = {deviation / PER_MS:12.3f}]",
        f"#[Max     = {histogram.max / PER_MS:12.3f}, Total count    = {histogram.total:12d}]",
        f"#[Buckets = {BUCKETS:12d}, SubBuckets     = {SUB_BUCKETS:12d}]",
    ]
    return "\n".join(lines) + "\n"


def encode(histogram: Histogram) -> bytes:
    """The histogram in the encoding V2, compressed, as base64 text."""
    payload = _counts_as_bytes(histogram.counts)
    head = struct.pack(">iiiiqqd", COOKIE, len(payload), 0, DIGITS, LOWEST, HIGHEST, 1.0)
    packed = zlib.compress(head + payload)
    return base64.b64encode(struct.pack(">ii", COMPRESSED_COOKIE, len(packed)) + packed)


def log_text(began: datetime, interval: float, histograms: Iterable[Histogram]) -> str:
    """The `.hlog` file: one histogram, in microseconds, for each `interval` seconds."""
    at = began.astimezone(UTC)
    lines = [
        "#[Latencies in microseconds; Interval_Max in milliseconds]",
        "#[Histogram log format version 1.3]",
        f"#[StartTime: {at.timestamp():.3f} (seconds since epoch), {at:%a %b %d %H:%M:%S UTC %Y}]",
        '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"',
    ]
    lines += [
        f"{number * interval:.3f},{interval:.3f},{histogram.max / PER_MS:.3f},"
        f"{encode(histogram).decode()}"
        for number, histogram in enumerate(histograms)
    ]
    return "\n".join(lines) + "\n"


def _counts_as_bytes(counts: Counts) -> bytes:
    """ZigZag LEB128; a run of zeros is one negative number. Ends with the last value counted."""
    out, before = bytearray(), -1
    for place in np.flatnonzero(counts).tolist():
        if (zeros := place - before - 1) > 0:
            out += _varint(-zeros if zeros > 1 else 0)
        out += _varint(int(counts[place]))
        before = place
    return bytes(out)


def _varint(value: int) -> bytes:
    """
    >>> _varint(1), _varint(-1), _varint(64)
    (b'\\x02', b'\\x01', b'\\x80\\x01')
    """
    rest = (value << 1) ^ (value >> 63)
    out = bytearray()
    while rest > 0x7F and len(out) < 8:  # the ninth byte has no sign that more follow
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)
