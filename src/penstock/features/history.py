"""What was known of entities at given times, view by view; one row for each row that is asked.

Keys and times are read first, and of the features only what is joined. Where even those are larger
than the memory allowed, rows are parted by the hash of their key and joined part by part.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from penstock.features.definition import ViewDefinition
from penstock.features.facts import Facts
from penstock.features.kernels.keys import comparable, nanoseconds
from penstock.features.kernels.latest import latest_rows
from penstock.features.kernels.windows import aggregates_at
from penstock.features.partitions import AT_ONCE, POSITION, in_parts, part_of, parts_for

AT = "__at"


@dataclass(frozen=True)
class Asked:
    """The rows that are asked about: keys and a time each."""

    table: pa.Table
    at: str  # the column of the time; without a zone it is UTC
    keys: Mapping[str, str]  # a column of `table` -> the view's key


def features_at(view: ViewDefinition, facts: Facts, asked: Asked, memory: int) -> pa.Table:
    """The features of a view, one column each, one row for each row asked, in its order.

    `memory` in bytes is what the join may take beside its result. Unknown is null.
    """
    keys = [column.name for column in view.keys]
    return joined_table(view, facts, comparable_rows(asked, facts.schema, keys), memory)


def comparable_rows(asked: Asked, schema: pa.Schema, keys: Sequence[str]) -> pa.Table:
    """The time asked about, as `AT`, and the keys by the names and in the types of the facts."""
    nanoseconds(asked.table, asked.at)  # refused by its own name
    rows = asked.table.select([asked.at, *asked.keys]).rename_columns([AT, *asked.keys.values()])
    for key in keys:
        column = comparable(rows[key], schema.field(key).type, key)
        rows = rows.set_column(rows.column_names.index(key), key, column)
    return rows


def joined_table(view: ViewDefinition, facts: Facts, rows: pa.Table, memory: int) -> pa.Table:
    """The features for `comparable_rows`, in their order."""
    keys = tuple(column.name for column in view.keys)
    times = filter(None, (view.source.timestamp, view.source.created))
    read = tuple(dict.fromkeys((*keys, *times, *(view.inputs if view.aggregates else ()))))
    with facts.blamed():
        joined = _joined(view, facts, read, rows, parts_for(facts, read, memory) if keys else 1)
    if view.aggregates:
        return joined
    names = tuple(column.name for column in view.fields)
    return facts.take(names, joined[POSITION].combine_chunks())


def _joined(
    view: ViewDefinition, facts: Facts, read: tuple[str, ...], rows: pa.Table, parts: int
) -> pa.Table:
    """The join of all parts, in the order of the rows asked."""
    keys = [column.name for column in view.keys]
    join = _aggregates if view.aggregates else _latest
    if parts == 1:
        return join(view, next(in_parts(facts, read, keys, 1)), rows)
    part = part_of([rows[key] for key in keys], parts)
    places = [np.flatnonzero(part == number) for number in range(parts)]

    def joined(number: int, table: pa.Table) -> pa.Table:
        return join(view, table, rows.take(pa.array(places[number])))

    answers = list(_at_once(joined, in_parts(facts, read, keys, parts)))
    order = np.argsort(np.concatenate(places[: len(answers)]), kind="stable")
    return pa.concat_tables(answers).take(pa.array(order))


def _at_once(
    work: Callable[[int, pa.Table], pa.Table], tables: Iterator[pa.Table]
) -> Iterator[pa.Table]:
    """The work on each part, in order, a few at a time: sorting lets other threads run."""
    with ThreadPoolExecutor(AT_ONCE) as threads:
        going: deque[Future[pa.Table]] = deque()
        for number, table in enumerate(tables):
            going.append(threads.submit(work, number, table))
            del table
            if len(going) == AT_ONCE:
                yield going.popleft().result()
        while going:
            yield going.popleft().result()


def _latest(view: ViewDefinition, facts: pa.Table, rows: pa.Table) -> pa.Table:
    """The position of the row that counts for each row asked."""
    found = latest_rows(
        rows,
        facts,
        {key.name: key.name for key in view.keys},
        at=AT,
        happened=view.source.timestamp,
        created=view.source.created,
        ttl=view.ttl,
    )
    return pa.table({POSITION: facts[POSITION].take(found)})


def _aggregates(view: ViewDefinition, facts: pa.Table, rows: pa.Table) -> pa.Table:
    return aggregates_at(view, facts, rows, AT)
