"""What became of predictions and of units: labels, engagement, revenue; told late, or twice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Engine, and_, case, func, or_, select, union_all
from sqlalchemy.dialects import postgresql, sqlite

from penstock.state.first_events import EXPOSED
from penstock.state.tables import first_events, outcomes

LABEL = "label"


class Outcome(NamedTuple):
    """One thing that became known. `subject`, `metric` and `event` say which thing it is."""

    endpoint: str
    subject: str  # a prediction's id, or a unit's hash
    metric: str  # label, or a name of the user's
    event: str  # which of the subject's: the row of a prediction; an id, or the moment, of a unit's
    unit: str  # hash of the unit; where the subject is a prediction, of the one that asked
    value: float | None  # None where it is a text
    text: str | None
    second: int  # when it happened, since 1970, UTC
    told_at: datetime
    source: str
    replaces: bool  # what was told of the same thing before was wrong


class Sums(NamedTuple):
    """Over the units of an arm, as `stats.moments` has them."""

    n: int  # units
    y: float
    yy: float
    x: float
    xx: float
    xy: float


class Labelled(NamedTuple):
    """The label of one row of a prediction."""

    prediction_id: str
    row: int
    value: float | None
    text: str | None
    second: int  # when it was known, since 1970, UTC


def write(engine: Engine, told: Sequence[Outcome]) -> None:
    """Keeps what was told first of each thing, or last of what replaces, in whatever order.

    May be repeated.
    """
    if not told:
        return
    insert: Any = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
    statement = insert(outcomes)
    new, old = statement.excluded, outcomes.c
    corrected = and_(new.replaces, or_(~old.replaces, new.told_at >= old.told_at))
    earlier = and_(~new.replaces, ~old.replaces, new.told_at < old.told_at)
    keys = [column.name for column in outcomes.primary_key]
    statement = statement.on_conflict_do_update(
        index_elements=keys,
        set_={column.name: new[column.name] for column in outcomes.c if column.name not in keys},
        where=or_(corrected, earlier),
    )
    # In one order, so that two gateways never wait for each other.
    ordered = sorted(told, key=lambda one: one[:4])
    with engine.begin() as connection:
        connection.execute(statement, [one._asdict() for one in ordered])


def moments(
    engine: Engine,
    endpoint: str,
    rollout: str,
    metrics: Iterable[str],
    *,
    until: int | None = None,
    covariate_since: int = 0,
) -> dict[tuple[str, str], Sums]:
    """By metric and arm: sums over the units that were exposed in a rollout, each with all it did.

    y is the sum of a unit's outcomes since its first exposure, to the second `until` (exclusive);
    x the sum of those before, from `covariate_since`: what CUPED may take as known beforehand. A
    unit without outcomes counts with 0. Only a rollout whose tables have `track_units` has
    exposed units.
    """
    within = _exposed(endpoint, rollout, until)
    arms = select(first_events.c.arm, func.count().label("n")).where(within)
    found: dict[tuple[str, str], Sums] = {}
    with engine.connect() as connection:
        counted = connection.execute(arms.group_by(first_events.c.arm)).all()
        units: dict[str, int] = {arm: n for arm, n in counted}  # noqa: C416 -- rows, not tuples
        for metric in metrics:
            query = _sums(endpoint, metric, within, until, covariate_since)
            sums = {arm: values for arm, *values in connection.execute(query)}
            for arm, n in units.items():
                found[metric, arm] = Sums(n, *sums.get(arm, (0.0,) * 5))
    return found


def _exposed(endpoint: str, rollout: str, until: int | None) -> Any:
    unit = first_events.c
    found = and_(unit.endpoint == endpoint, unit.rollout == rollout, unit.metric == EXPOSED)
    return found if until is None else and_(found, unit.second < until)


def _sums(endpoint: str, metric: str, within: Any, until: int | None, since: int) -> Any:
    """Over the units that did something; to the others' sums there is nothing to add."""
    unit, told = first_events.c, outcomes.c
    counted = and_(
        told.endpoint == endpoint,
        told.metric == metric,
        told.value.is_not(None),
        told.second >= since,
        *([told.second < until] if until is not None else []),
    )
    after = case((told.second >= unit.second, told.value), else_=0.0)
    before = case((told.second < unit.second, told.value), else_=0.0)
    columns = (unit.unit, unit.arm, after.label("y"), before.label("x"))

    def told_of(name: Any) -> Any:
        joined = first_events.join(outcomes, and_(counted, told.unit == name))
        return select(*columns).select_from(joined).where(within)

    # Outcomes bear a unit's lasting hash, or that of the salt when the prediction was made. Two
    # joins: PostgreSQL makes none of the quick ones on "either".
    others = told_of(unit.lasting).where(unit.lasting != unit.unit)
    both = union_all(told_of(unit.unit), others).subquery().c
    units = (
        select(both.arm, func.sum(both.y).label("y"), func.sum(both.x).label("x"))
        .group_by(both.unit, both.arm)
        .subquery()
        .c
    )
    y, x = units.y, units.x
    sums = [func.sum(value) for value in (y, y * y, x, x * x, x * y)]
    return select(units.arm, *sums).group_by(units.arm)


def labels(engine: Engine, endpoint: str, since: int, until: int) -> list[Labelled]:
    """Of predictions whose label was known within the seconds [since, until), in no order.

    To be joined with the prediction log, by id and row.
    """
    told = outcomes.c
    query = select(told.subject, told.event, told.value, told.text, told.second).where(
        told.endpoint == endpoint,
        told.metric == LABEL,
        told.second >= since,
        told.second < until,
        told.subject.contains("-"),  # a unit's hash has none
    )
    with engine.connect() as connection:
        return [
            Labelled(subject, int(event), value, said, second)
            for subject, event, value, said, second in connection.execute(query)
        ]
