"""The first bad event, or first exposure, of each unit in each rollout: one row, whoever saw it.

A unit is sticky over the stages of a rollout. Given that it had no event before, the arm of its
first one is as random as its assignment at that stage, which is what a two-arm test needs; its
later events say nothing new. So the database keeps the first of each unit, metric and rollout.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import Connection, Engine, TextClause, func, select, text

from penstock.state.tables import first_event_counts, upsert

ERROR = "error"
SLOW = "slow"
EXPOSED = "exposed"
EVENT = "event:"  # and the name of an outcome that counts as a bad event

# A statement for each moment, with all its units in one parameter: SQLAlchemy would take some 10 µs
# for each value of a row, and hold up the gateway's event loop meanwhile.
_INSERT = """
INSERT INTO first_events
 (endpoint, rollout, metric, unit, stage, arm, second, gateway, lasting)
SELECT :endpoint, :rollout, :metric, substr(given.value, 1, 16), :stage, :arm, :second, :gateway,
 substr(given.value, 17)
FROM {units} WHERE true ON CONFLICT DO NOTHING
"""
_UNITS = {
    "sqlite": "json_each(:units) AS given",
    "postgresql": "json_array_elements_text(CAST(:units AS json)) AS given(value)",
}


class FirstEvent(NamedTuple):
    """The first one that a gateway knows of."""

    endpoint: str
    rollout: str
    stage: int
    metric: str  # ERROR, SLOW, EXPOSED, EVENT + name
    arm: str
    second: int  # since 1970, UTC
    gateway: str
    unit: str  # its hash with the salt of the rollout's tables, 16 hexadecimal digits
    lasting: str = ""  # its hash with the endpoint's name, by which outcomes know it


class Kind(NamedTuple):
    """What units are counted by."""

    stage: int
    metric: str
    arm: str


def write(engine: Engine, events: Iterable[FirstEvent]) -> None:
    """Keeps what is new of them. May be repeated: a unit that is known counts no more."""
    together: dict[tuple[str | int, ...], list[str]] = defaultdict(list)
    for event in events:
        together[event[:-2]].append(event.unit + event.lasting)
    for key, units in together.items():
        with engine.begin() as connection:
            _insert(connection, dict(zip(FirstEvent._fields, key, strict=False)), units)


def _insert(connection: Connection, shared: dict[str, str | int], units: list[str]) -> None:
    # In one order, so that two gateways never wait for each other.
    statement = _statement(connection.dialect.name)
    given = {**shared, "units": json.dumps(sorted(units))}
    new = connection.execute(statement, given).rowcount
    if not new:
        return
    table = first_event_counts
    key = {c.name: shared[c.name] for c in table.primary_key}
    query = select(table.c.units).filter_by(**key)
    before = connection.execute(query).scalar() or 0  # only this gateway writes it
    upsert(connection, table, {**key, "units": before + new})


def _statement(dialect: str) -> TextClause:
    return text(_INSERT.format(units=_UNITS[dialect]))


def counts(engine: Engine, endpoint: str, rollout: str) -> dict[Kind, int]:
    """Units by the stage and arm of their first event of each metric."""
    table = first_event_counts
    columns = (table.c.stage, table.c.metric, table.c.arm)
    query = (
        select(*columns, func.sum(table.c.units))
        .where(table.c.endpoint == endpoint, table.c.rollout == rollout)
        .group_by(*columns)
    )
    with engine.connect() as connection:
        return {Kind(*row[:3]): int(row[3]) for row in connection.execute(query)}
