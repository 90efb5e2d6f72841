"""Where the bins of a column of numbers lie: at quantiles; a value of many rows has one alone.

At most `BINS` bins of equal share, and two narrow ones at the ends, so that the distance between
two distributions that is read from the bins (Kolmogorov-Smirnov) is at most 1/BINS below the true
one. Small samples have fewer bins, of about `PER_BIN` values each: with less in them chance would
show more than the data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

BINS = 30
PER_BIN = 6
TAIL = 0.005  # the share beyond the outermost edges, on each side
NEARLY = 1e-6  # relative: as float32 tells numbers apart


def shares_of(rows: int) -> list[float]:
    """The quantiles to ask for, of so many values.

    >>> shares_of(30)
    [0.2, 0.4, 0.6, 0.8]
    >>> len(shares_of(10_000)), shares_of(10_000)[0]
    (31, 0.005)
    """
    bins = max(2, min(BINS, rows // PER_BIN))
    inner = [round(number / bins, 6) for number in range(1, bins)]
    return [TAIL, *inner, 1 - TAIL] if rows >= PER_BIN / TAIL else inner


def edges_from(quantiles: Sequence[float]) -> tuple[float, ...]:
    """Edges from ascending quantiles; one that comes twice is a value that many rows share.

    >>> edges_from([0.0, 0.0, 2.0, 5.0])
    (-1e-12, 1e-12, 2.0, 5.0)
    """
    found: list[float] = []
    finite = [float(value) for value in quantiles if math.isfinite(value)]
    for value in sorted(set(finite)):
        if finite.count(value) == 1:
            found.append(value)
        else:
            margin = NEARLY * abs(value) or 1e-12
            found += [value - margin, value + margin]
    return tuple(sorted(set(found)))
