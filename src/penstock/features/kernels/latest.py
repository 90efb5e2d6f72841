"""The latest fact of an entity that is known at a time.

A fact is known from the moment it happened or, where that is later, was created. Of those known
the latest counts: by (happened, created), equal on both the last in file order. The time to live is
inclusive at both ends. Null keys match nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from penstock.features.kernels.keys import comparable_keys, encode, nanoseconds, unit_of
from penstock.features.kernels.timeline import Timeline

Ints = NDArray[np.int64]
UNKNOWN = -(2**63)  # a `created` that is null sorts first


def latest_rows(
    asked: pa.Table,
    facts: pa.Table,
    keys: Mapping[str, str],
    *,
    at: str,
    happened: str,
    created: str = "",
    ttl: timedelta | None = None,
) -> pa.Array:
    """The row number in `facts` for each row of `asked`, int64, null where nothing is known.

    `keys` maps columns of `asked` to those of `facts`; without any, all facts are of one entity.
    Times may have any unit; those without a zone are UTC. Raises `DataError` for keys that
    cannot be compared.
    """
    left, right, _ = comparable_keys(asked, facts, keys)
    line = timeline(facts, right, happened, created)
    times, no_time = nanoseconds(asked, at)
    left = np.where(no_time, -1, left)
    place = _newest_known(line, left, times) if line.late else line.until(left, times) - 1
    found = (left >= 0) & (place >= 0) & (place < len(line.rows))
    place = np.where(found, place, 0)
    if len(line.rows):
        found &= line.codes[place] == left
        if ttl:
            lifetime = ttl // timedelta(microseconds=1) * 1_000
            found &= times - line.happened[place] <= lifetime
        place = line.rows[place]
    return pa.array(place, pa.int64(), mask=~found)


def latest_of_each(
    facts: pa.Table, keys: Sequence[str], *, happened: str, created: str = ""
) -> pa.Array:
    """The row number of the latest fact of every entity, int64, in the order of the entities."""
    columns = [facts[key] for key in keys]
    _, codes, _ = encode([c.slice(0, 0) for c in columns], columns, (0, len(facts)))
    line = timeline(facts, codes, happened, created)
    last = np.ones(len(line.codes), dtype=bool)
    last[:-1] = line.codes[1:] != line.codes[:-1]
    return pa.array(line.rows[last])


def timeline(facts: pa.Table, codes: Ints, happened: str, created: str) -> Timeline:
    """The facts of a table, whose keys are numbered, as a timeline."""
    times, no_time = nanoseconds(facts, happened)
    unit = unit_of(facts, happened, created)
    if not created:
        return Timeline(codes, times, no_time, unit=unit)
    since, unknown = nanoseconds(facts, created)
    return Timeline(codes, times, no_time, np.where(unknown, UNKNOWN, since), unit)


def _newest_known(line: Timeline, codes: Ints, times: Ints) -> Ints:
    """The place of the newest fact known at each time: of those that became known, the furthest."""
    by_known = np.lexsort((line.known, line.codes))
    furthest = np.maximum.accumulate(by_known)  # places of an entity lie above those before it
    found = _Known(line, by_known).until(codes, times) - 1
    return np.where(found >= 0, furthest[np.maximum(found, 0)], -1)


class _Known(Timeline):
    """The same facts in the order in which they became known."""

    def __init__(self, line: Timeline, order: Ints) -> None:
        super().__init__(line.codes[order], line.known[order], np.zeros(len(order), dtype=bool))
