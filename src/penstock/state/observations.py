"""What gateways observed: second by second, and summed up; written by them, read by who judges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from sqlalchemy import Engine, delete, or_, select

from penstock.state.tables import observation_sums, observations, upsert

LARGEST = frozenset({"memory_bytes"})  # of these, the largest counts; all others are added


class Observed(NamedTuple):
    """The counts of one arm on one gateway in one second."""

    endpoint: str
    epoch: str  # of the routing table: rollout/stage; empty outside of rollouts
    release: str
    arm: str
    gateway: str
    second: int  # since 1970, UTC
    counts: dict[str, Any]


class Summed(NamedTuple):
    """The counts of one arm on one gateway from one second to another; it grows in place."""

    endpoint: str
    epoch: str
    release: str
    arm: str
    gateway: str
    since: int  # the second in which the sum begins, since 1970, UTC
    until: int  # the last second that is in it
    counts: dict[str, Any]


class Total(NamedTuple):
    """All that was observed of an arm in an epoch, by all gateways."""

    counts: dict[str, Any]
    since: int  # seconds since 1970, UTC
    until: int  # the last word of any gateway, with requests or without


def write(engine: Engine, observed: Iterable[Observed], sums: Iterable[Summed] = ()) -> None:
    """All or none. Written twice, a second counts once, and a sum is what was written last."""
    with engine.begin() as connection:
        for one in observed:
            upsert(connection, observations, one._asdict())
        for sum_ in sums:
            upsert(connection, observation_sums, sum_._asdict())


def read(engine: Engine, endpoint: str, since: int, until: int) -> list[Observed]:
    """Of the seconds [since, until), oldest first."""
    table = observations
    query = (
        select(table)
        .where(table.c.endpoint == endpoint, table.c.second >= since, table.c.second < until)
        .order_by(table.c.second)
    )
    with engine.connect() as connection:
        return [Observed(**row) for row in connection.execute(query).mappings()]


def totals(engine: Engine, endpoint: str, epoch_prefix: str) -> dict[tuple[str, str], Total]:
    """By epoch and arm: of one epoch ("ro-1/2"), or of all stages of a rollout ("ro-1").

    A few rows a gateway and stage, however long it took.
    """
    table = observation_sums
    within = table.c.epoch.startswith(epoch_prefix.rstrip("/") + "/", autoescape=True)
    query = select(table.c.epoch, table.c.arm, table.c.since, table.c.until, table.c.counts)
    query = query.where(table.c.endpoint == endpoint)
    found: dict[tuple[str, str], Total] = {}
    with engine.connect() as connection:
        for row in connection.execute(query.where(or_(table.c.epoch == epoch_prefix, within))):
            before = found.get((row.epoch, row.arm))
            part = Total(row.counts, row.since, row.until)
            found[row.epoch, row.arm] = part if before is None else _together(before, part)
    return found


def added(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """The counts of both: what they name is added, name by name, however deep.

    >>> added({"requests": 2, "errors": {"died": 1}}, {"requests": 1, "errors": {"model": 1}})
    {'requests': 3, 'errors': {'died': 1, 'model': 1}}
    """
    total = dict(one)
    for name, value in other.items():
        if name not in total:
            total[name] = value
        elif isinstance(value, dict):
            total[name] = added(total[name], value)
        else:
            total[name] = max(total[name], value) if name in LARGEST else total[name] + value
    return total


def forget(engine: Engine, endpoint: str, before: int) -> None:
    """Deletes what was observed before a second. Sums are kept: they are small, and evidence."""
    table = observations
    query = delete(table).where(table.c.endpoint == endpoint, table.c.second < before)
    with engine.begin() as connection:
        connection.execute(query)


def _together(one: Total, other: Total) -> Total:
    return Total(
        added(one.counts, other.counts),
        min(one.since, other.since),
        max(one.until, other.until),
    )
