"""Are the values fit to be compared at all? Gates that come before drift. Pure.

Nulls, categories and values never seen before, and columns that stopped varying. As for drift, a
difference must be more than chance and large enough to matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from penstock.monitoring.report import Measure, Verdict
from penstock.monitoring_settings import MonitoringSettings
from penstock.profiles.profile import Column, thinned
from penstock.stats.lift import Undefined
from penstock.stats.two_sample_tests import benjamini_hochberg, two_proportion_z
from penstock.stats.unseen_values import beyond_range_p, unseen_categories_p

NULLS, UNSEEN, RANGE, CONSTANT = "null_share", "unseen_share", "range_share", "constant"


class Gate(NamedTuple):
    """One question of one column, and its answer before the number of questions is known."""

    name: str
    column: str
    p: float
    value: float
    before: float
    large: bool  # whether it matters
    says: str
    limit: float
    rows: int


@dataclass(frozen=True)
class Asked:
    """What the gates of one column are asked with."""

    before: Column
    now: Column
    unreadable: int  # of the window's values: not of the column's type, and among its nulls
    independent: float  # the share of the window's rows that p-values may count
    settings: MonitoringSettings

    @property
    def counting(self) -> int:
        """Values that p-values may count."""
        return round(self.now.filled * self.independent)


def quality_of(
    reference: Sequence[Column],
    window: Mapping[str, Column],
    unreadable: Mapping[str, int],
    settings: MonitoringSettings,
    independent: float = 1.0,
) -> tuple[Measure, ...]:
    """One measure a gate and column; p-values are adjusted over all.

    `unreadable` counts values that are not of their column's type: they are among its nulls.
    `independent` is the share of the window's rows that p-values may count.
    """
    rows = max((one.rows for one in window.values()), default=0)
    if int(rows * independent) < settings.min_rows:
        reason = too_few(rows, int(rows * independent), settings.min_rows)
        return (Measure(NULLS, "", Verdict.INSUFFICIENT, reason, rows=rows),)
    gates = [
        gate
        for one in reference
        for gate in _gates(
            Asked(one, window[one.name], unreadable.get(one.name, 0), independent, settings)
        )
    ]
    keys = [f"{gate.name} {gate.column}" for gate in gates]
    raw = {key: gate.p for key, gate in zip(keys, gates, strict=True)}
    adjusted = benjamini_hochberg(raw)
    return tuple(
        _measure(gate, adjusted[key], settings) for key, gate in zip(keys, gates, strict=True)
    )


def too_few(rows: int, counting: int, needed: int) -> str:
    """What is said of a window that cannot tell.

    >>> too_few(300, 20, 100)
    '300 rows, worth 20 since they are of few entities; 100 are needed'
    """
    worth = f", worth {counting:,} since they are of few entities" if counting < rows else ""
    return f"{rows:,} rows{worth}; {needed:,} are needed"


def failing(measures: Sequence[Measure]) -> dict[str, str]:
    """By column, the gate that it fails."""
    return {one.subject: one.name for one in measures if one.verdict is Verdict.FOUND}


def _gates(asked: Asked) -> Iterator[Gate]:
    yield _nulls(asked)
    if not asked.now.filled or not asked.before.filled:
        return
    if (outside := _range(asked)) is not None:
        yield outside
    if (unseen := _unseen(asked)) is not None:
        yield unseen
    if (constant := _constant(asked)) is not None:
        yield constant


def _nulls(asked: Asked) -> Gate:
    before, now, limit = asked.before, asked.now, asked.settings.null_change
    was, share = before.nulls / max(1, before.rows), now.nulls / max(1, now.rows)
    fewer = thinned(now, asked.independent)
    tested = two_proportion_z((fewer.nulls, before.nulls), (fewer.rows, before.rows))
    p = 1.0 if isinstance(tested, Undefined) else tested.p
    says = f"{share:.1%} null" if now.filled else "all null"
    says += f", {was:.1%} in the reference" if before.filled else ", as in the reference"
    if asked.unreadable:
        says += f"; {asked.unreadable:,} of them are of another type than {before.type}"
    large = abs(share - was) >= limit
    return Gate(NULLS, before.name, p, share, was, large, says, limit, now.rows)


def _range(asked: Asked) -> Gate | None:
    before, now, m = asked.before.numbers, asked.now.numbers, asked.now.filled
    if not before or not now or before.least is None:
        return None
    share, limit = now.beyond / m, asked.settings.range_share
    says = f"{now.beyond:,} of {m:,} values lie outside {before.least:.6g} to {before.greatest:.6g}"
    if now.beyond and now.least is not None:
        says += f": {now.least:.6g} to {now.greatest:.6g}"
    counted = round(now.beyond * asked.independent)
    p = beyond_range_p(counted, asked.counting, asked.before.filled)
    return Gate(RANGE, asked.before.name, p, share, 0.0, share >= limit, says, limit, m)


def _unseen(asked: Asked) -> Gate | None:
    before, now, m = asked.before.words, asked.now.words, asked.now.filled
    if not before or not now or before.buckets:
        return None
    unseen = m - sum(count for word, count in now.counts.items() if word in before.counts)
    new = sorted(set(now.counts) - set(before.counts), key=lambda word: (-now.counts[word], word))
    says = f"{unseen:,} of {m:,} rows are of categories never seen before"
    says += f": {', '.join(map(repr, new[:3]))}{', …' if len(new) > 3 else ''}" if new else ""
    counted = round(unseen * asked.independent)
    few = before.singletons, before.doubletons
    p = unseen_categories_p(counted, asked.counting, *few, asked.before.filled)
    share, limit = unseen / m, asked.settings.unseen_share
    return Gate(UNSEEN, asked.before.name, p, share, 0.0, share >= limit, says, limit, m)


def _constant(asked: Asked) -> Gate | None:
    """Of a column that varied: the chance that all rows of the window have one value."""
    before, now = asked.before, asked.now
    found = _only_value(before, now)
    if found is None:
        return None
    shown, share = found
    says = f"all {now.filled:,} values are {shown}; {share:.1%} were"
    p = share**asked.counting
    return Gate(CONSTANT, before.name, p, 1.0, share, True, says, 1.0, now.filled)


def _only_value(before: Column, now: Column) -> tuple[str, float] | None:
    """The one value of the window, and its share in the reference, where that has others too."""
    if before.numbers and now.numbers:
        value = now.numbers.least
        if value is None or value != now.numbers.greatest:
            return None
        place = next(i for i, count in enumerate(now.numbers.counts) if count)
        shown, share = f"{value:.6g}", before.numbers.counts[place] / before.filled
    elif before.words and now.words and not before.words.buckets:
        there = [word for word, count in now.words.counts.items() if count]
        if len(there) != 1:
            return None
        shown, share = repr(there[0]), before.words.counts.get(there[0], 0) / before.filled
    else:
        return None
    return (shown, share) if share < 1 else None


def _measure(gate: Gate, p: float, settings: MonitoringSettings) -> Measure:
    found = gate.large and p <= settings.alpha
    return Measure(
        gate.name,
        gate.column,
        Verdict.FOUND if found else Verdict.FINE,
        f"{gate.says} (p {p:.2g})" if gate.p < 1 else gate.says,
        value=gate.value,
        before=gate.before,
        rows=gate.rows,
        details={"p_value": gate.p, "p_adjusted": p, "limit": gate.limit},
    )
