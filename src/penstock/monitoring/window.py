"""A window of predictions: what one model was asked and answered in a stretch of time."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Protocol, TypeVar

import duckdb

from penstock.errors import DataError, ResourceError
from penstock.profiles.counting import counted, literal, quoted
from penstock.profiles.profile import PREDICTION, Column
from penstock.project import Project
from penstock.serving.prediction_log.reading import Reading, Selection
from penstock.serving.prediction_log.shipped_reading import ShippedLog

ANSWERED = "status = 200 AND features IS NOT NULL"  # not refused, and not erased since
T = TypeVar("T")


class Rows(Protocol):
    """What can be asked."""

    def ask(self, question: Callable[[duckdb.DuckDBPyRelation], T]) -> T: ...


@dataclass(frozen=True)
class FileRows:
    """Of a file, which is taken for one that stays as it is."""

    rows: duckdb.DuckDBPyRelation

    def ask(self, question: Callable[[duckdb.DuckDBPyRelation], T]) -> T:
        return question(self.rows)


@dataclass(frozen=True)
class Window:
    """Rows that can be asked again and again; what an erasure wrote anew, as it is then."""

    rows: Rows  # as the log has them, or a table with a column a feature
    logged: bool  # whether features are the text of JSON
    since: datetime | None
    until: datetime | None  # exclusive
    source: str  # for people
    model: str = ""  # whose answers alone are meant (name@version); empty: all
    shipped_days: frozenset[date] = frozenset()  # of which parts were read that are elsewhere
    unread: str = ""  # why what was shipped could not be read

    def ask(self, question: Callable[[duckdb.DuckDBPyRelation], T]) -> T:
        """What a question about the answers gives."""

        def about(rows: duckdb.DuckDBPyRelation) -> T:
            if self.logged:
                rows = rows.filter(ANSWERED)
            if self.logged and self.model:
                named = duckdb.ColumnExpression("model") == duckdb.ConstantExpression(self.model)
                rows = rows.filter(named)
            return question(rows)

        return self.rows.ask(about)

    def models(self) -> list[str]:
        """Whose answers are in it (name@version), the latest first; empty where it is not said."""
        if not self.logged:
            return []

        def names(rows: duckdb.DuckDBPyRelation) -> list[str]:
            found = rows.aggregate("model, max(arrived_at) AS last", "model")
            return [model for model, _ in found.order("last DESC").fetchall() if model]

        return self.ask(names)

    def of(self, model: str) -> Window:
        """The answers of one model, where it is said whose they are."""
        return replace(self, model=model)

    def counted(self, features: Sequence[Column], shapes: Sequence[Column]) -> tuple[Column, ...]:
        """The rows in the bins of `shapes`, which are among the features, or PREDICTION."""
        return self.ask(lambda rows: counted(self.table(rows, features), shapes))

    def table(
        self, rows: duckdb.DuckDBPyRelation, columns: Sequence[Column]
    ) -> duckdb.DuckDBPyRelation:
        """One column a feature, as `profiles.counting` wants it, and the answers as PREDICTION.

        A feature that is not there is null; the text of JSON is read once for all of them.
        """
        if not self.logged:
            return _of_table(rows, columns)
        shape = {column.name: "VARCHAR" if column.words else "DOUBLE" for column in columns}
        given = rows.project(
            f"json_transform(features, {literal(json.dumps(shape))}) AS given, "
            f"output[-1]::DOUBLE AS {PREDICTION}"
        )
        named = (f"given.{quoted(name)} AS {quoted(name)}" for name in shape)
        return given.project(", ".join([*named, PREDICTION]))

    def independent_share(self) -> float:
        """The share of rows that tell something new; of a file, all do."""
        return self.ask(independent_share) if self.logged else 1.0

    def unreadable(self, columns: Sequence[Column]) -> dict[str, int]:
        """By column, how many values are there and are no numbers; they are null in `table`."""
        numeric = [column.name for column in columns if not column.words]

        def counts(rows: duckdb.DuckDBPyRelation) -> dict[str, int]:
            asked = {
                name: f"count_if({given} IS NOT NULL AND {number} IS NULL)"
                for name in numeric
                if self.logged or name in rows.columns
                for given, number in [self._number(name)]
            }
            if not asked:
                return {}
            found = rows.aggregate(", ".join(asked.values())).fetchall()[0]
            return dict(zip(asked, found, strict=True))

        return self.ask(counts)

    def _number(self, name: str) -> tuple[str, str]:
        """A value as it was given, and as a number: null where it is none."""
        if not self.logged:
            return quoted(name), f"TRY_CAST({quoted(name)} AS DOUBLE)"
        given = f"json_extract_string(features, {literal(_path(name))})"
        shape = literal(json.dumps({name: "DOUBLE"}))
        return given, f"(json_transform(features, {shape})).{quoted(name)}"


def independent_share(rows: duckdb.DuckDBPyRelation) -> float:
    """The share of logged rows that tell something new: answers about the same entity are alike.

    Kish's effective sample size over the size: Σc/Σc² for c rows of each entity. Where no entities
    are logged, each row stands for itself.
    """
    each = rows.filter("entities IS NOT NULL").aggregate("count(*) AS c", "hash(entities)")
    several = each.aggregate("sum(c)::DOUBLE, sum(c * c)::DOUBLE").fetchall()[0]
    if not several[0]:
        return 1.0
    alone = float(rows.filter("entities IS NULL").aggregate("count(*)").fetchall()[0][0])
    return float((alone + several[0]) / (alone + several[1]))


def _of_table(rows: duckdb.DuckDBPyRelation, columns: Sequence[Column]) -> duckdb.DuckDBPyRelation:
    there = set(rows.columns)
    wanted = []
    for column in columns:
        name, kind = quoted(column.name), "VARCHAR" if column.words else "DOUBLE"
        value = f"TRY_CAST({name} AS {kind})" if column.name in there else f"NULL::{kind}"
        wanted.append(f"{value} AS {name}")
    answer = PREDICTION if PREDICTION in there else "NULL"
    return rows.project(", ".join([*wanted, f"{answer}::DOUBLE AS {PREDICTION}"]))


def window_of_log(
    project: Project,
    endpoint: str,
    since: datetime | None,
    until: datetime | None,
    connection: duckdb.DuckDBPyConnection | None = None,
) -> Window:
    """What an endpoint answered and logged, here or, where its log is shipped, elsewhere.

    Where what was shipped cannot be reached, the window is of what is here, and says so. A
    `connection` is for those who join it.
    """
    selection = Selection(since=since, until=until, endpoint=endpoint)
    folders = [project.endpoint(endpoint) / "predictions"]
    source = f"prediction log of {endpoint}"
    destination = project.settings.serving.of(endpoint).log_ship
    here = Window(Reading(folders, selection, connection), True, since, until, source)
    if not destination:
        return here
    both = Reading(folders, selection, connection, ShippedLog(destination, endpoint))
    try:
        return replace(here, rows=both, shipped_days=both.shipped_days)
    except ResourceError as error:
        return replace(here, unread=error.message)


def window_of_file(file: Path) -> Window:
    """The rows of a Parquet file: of a prediction log, or with a column a feature.

    Raises `DataError` where it cannot be read.
    """
    try:
        rows = duckdb.connect().from_parquet(str(file))
    except duckdb.Error as error:
        first = str(error).splitlines()[0]
        raise DataError(
            f"{file} cannot be read: {first}", hint="name a Parquet file that is there"
        ) from error
    logged = {"features", "output", "status", "model", "arrived_at"} <= set(rows.columns)
    return Window(FileRows(rows), logged, None, None, str(file))


def _path(name: str) -> str:
    """Of a member in JSON, as DuckDB writes it."""
    return "$." + json.dumps(name)
