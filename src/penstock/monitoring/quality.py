"""Are the values fit to be compared at all? Gates that come before drift. Pure.

Nulls, categories and values never seen before, and columns that stopped varying. As for drift, a
difference must be more than chance and large enough to matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from penstock.monitoring.report import Measure, Verdict
from penstock.monitoring_settings import MonitoringSettings
from penstock.profiles.profile import Column
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


def quality_of(
    reference: Sequence[Column],
    window: Mapping[str, Column],
    unreadable: Mapping[str, int],
    settings: MonitoringSettings,
) -> tuple[Measure, ...]:
    """One measure a gate and column; p-values are adjusted over all.

    `unreadable` counts values that are not of their column's type: they are among its nulls.
    """
    rows = max((one.rows for one in window.values()), default=0)
    if rows < settings.min_rows:
        reason = f"{rows:,} rows; {settings.min_rows:,} are needed"
        return (Measure(NULLS, "", Verdict.INSUFFICIENT, reason, rows=rows),)
    gates = [
        gate
        for one in reference
        for gate in _gates(one, window[one.name], unreadable.get(one.name, 0), settings)
    ]
    keys = [f"{gate.name} {gate.column}" for gate in gates]
    pairs = zip(keys, gates, strict=True)
    adjusted = benjamini_hochberg({key: gate.p for key, gate in pairs})
    return tuple(
        _measure(gate, adjusted[key], settings) for key, gate in zip(keys, gates, strict=True)
    )


def failing(measures: Sequence[Measure]) -> dict[str, str]:
    """By column, the gate that it fails."""
    return {one.subject: one.name for one in measures if one.verdict is Verdict.FOUND}


def _gates(
    before: Column, now: Column, unreadable: int, settings: MonitoringSettings
) -> Iterator[Gate]:
    yield _nulls(before, now, unreadable, settings)
    if not now.filled or not before.filled:
        return
    if before.numbers and now.numbers and before.numbers.least is not None:
        beyond, m = now.numbers.beyond, now.filled
        share = beyond / m
        ends = f"{now.numbers.least:.6g} to {now.numbers.greatest:.6g}"
        known = f"{before.numbers.least:.6g} to {before.numbers.greatest:.6g}"
        says = f"{beyond:,} of {m:,} values lie outside {known}" + (f": {ends}" if beyond else "")
        p = beyond_range_p(beyond, m, before.filled)
        limit = settings.range_share
        yield Gate(RANGE, before.name, p, share, 0.0, share >= limit, says, limit, m)
    if before.words and now.words and not before.words.buckets:
        yield _unseen(before, now, settings)
    if (constant := _constant(before, now)) is not None:
        yield constant


def _nulls(before: Column, now: Column, unreadable: int, settings: MonitoringSettings) -> Gate:
    was, share = before.nulls / max(1, before.rows), now.nulls / max(1, now.rows)
    tested = two_proportion_z((now.nulls, before.nulls), (now.rows, before.rows))
    p = 1.0 if isinstance(tested, Undefined) else tested.p
    says = f"{share:.1%} null" if now.filled else "all null"
    says += f", {was:.1%} in the reference" if before.filled else ", as in the reference"
    if unreadable:
        says += f"; {unreadable:,} of them are of another type than {before.type}"
    limit = settings.null_change
    large = abs(share - was) >= limit
    return Gate(NULLS, before.name, p, share, was, large, says, limit, now.rows)


def _unseen(before: Column, now: Column, settings: MonitoringSettings) -> Gate:
    assert before.words is not None
    assert now.words is not None
    known = sum(count for word, count in now.words.counts.items() if word in before.words.counts)
    unseen, m = now.filled - known, now.filled
    new = sorted(
        (word for word in now.words.counts if word not in before.words.counts),
        key=lambda word: -now.words.counts[word] if now.words else 0,
    )
    says = f"{unseen:,} of {m:,} rows are of categories never seen before"
    says += f": {', '.join(map(repr, new[:3]))}{', …' if len(new) > 3 else ''}" if new else ""
    p = unseen_categories_p(unseen, m, before.words.singletons, before.filled)
    share, limit = unseen / m, settings.unseen_share
    return Gate(UNSEEN, before.name, p, share, 0.0, share >= limit, says, limit, m)


def _constant(before: Column, now: Column) -> Gate | None:
    """Of a column that varied: the chance that all rows of the window have one value."""
    if before.numbers and now.numbers:
        value = now.numbers.least
        if value is None or value != now.numbers.greatest or len(before.numbers.counts) < 2:
            return None
        place = next(i for i, count in enumerate(now.numbers.counts) if count)
        share = before.numbers.counts[place] / before.filled
        shown = f"{value:.6g}"
    elif before.words and now.words and not before.words.buckets:
        there = [word for word, count in now.words.counts.items() if count]
        if len(there) != 1 or len([n for n in before.words.counts.values() if n]) < 2:
            return None
        share = before.words.counts.get(there[0], 0) / before.filled
        shown = repr(there[0])
    else:
        return None
    if share >= 1:
        return None
    says = f"all {now.filled:,} values are {shown}; {share:.1%} were"
    p = share**now.filled
    return Gate(CONSTANT, before.name, p, 1.0, share, True, says, 1.0, now.filled)


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
