"""A window of predictions: what one model was asked and answered in a stretch of time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb

from penstock.errors import DataError
from penstock.profiles.counting import literal, quoted
from penstock.profiles.profile import PREDICTION, Column
from penstock.project import Project
from penstock.serving.prediction_log.reading import Selection, predictions

ANSWERED = "status = 200 AND features IS NOT NULL"  # not refused, and not erased since


@dataclass(frozen=True)
class Window:
    """Rows that can be asked again and again, each time as they are then."""

    rows: duckdb.DuckDBPyRelation  # as the log has them, or a table with a column a feature
    logged: bool  # whether features are the text of JSON
    since: datetime | None
    until: datetime | None  # exclusive
    source: str  # for people

    def models(self) -> list[str]:
        """Whose answers are in it (name@version), the latest first; empty where it is not said."""
        if not self.logged:
            return []
        found = self.rows.aggregate("model, max(arrived_at) AS last", "model")
        return [model for model, _ in found.order("last DESC").fetchall() if model]

    def of(self, model: str) -> Window:
        """The answers of one model."""
        if not self.logged:
            return self
        named = duckdb.ColumnExpression("model") == duckdb.ConstantExpression(model)
        chosen = self.rows.filter(named)
        return Window(chosen, True, self.since, self.until, self.source)

    def table(self, columns: Sequence[Column]) -> duckdb.DuckDBPyRelation:
        """One column a feature, as `profiles.counting` wants it, and the answers as PREDICTION.

        A feature that is not there is null; the text of JSON is read once for all of them.
        """
        if not self.logged:
            return self._of_table(columns)
        shape = {column.name: "VARCHAR" if column.words else "DOUBLE" for column in columns}
        given = self.rows.project(
            f"json_transform(features, {literal(json.dumps(shape))}) AS given, "
            f"output[-1]::DOUBLE AS {PREDICTION}"
        )
        named = (f"given.{quoted(name)} AS {quoted(name)}" for name in shape)
        return given.project(", ".join([*named, PREDICTION]))

    def independent_share(self) -> float:
        """The share of rows that tell something new: answers about the same entity are alike.

        Kish's effective sample size over the size: Σc/Σc² for c rows of each entity. Where no
        entities are logged, each row stands for itself.
        """
        if not self.logged:
            return 1.0
        each = self.rows.filter("entities IS NOT NULL").aggregate("count(*) AS c", "hash(entities)")
        several = each.aggregate("sum(c)::DOUBLE, sum(c * c)::DOUBLE").fetchall()[0]
        if not several[0]:
            return 1.0
        alone = float(self.rows.filter("entities IS NULL").aggregate("count(*)").fetchall()[0][0])
        rows, squares = alone + several[0], alone + several[1]
        return float(rows / squares)

    def unreadable(self, columns: Sequence[Column]) -> dict[str, int]:
        """By column, how many values are there and are no numbers; they are null in `table`."""
        asked = {}
        for column in columns:
            if column.words:
                continue
            if self.logged:
                given = f"json_extract_string(features, {literal(_path(column.name))})"
                shape = literal(json.dumps({column.name: "DOUBLE"}))
                number = f"(json_transform(features, {shape})).{quoted(column.name)}"
            elif column.name in self.rows.columns:
                given = quoted(column.name)
                number = f"TRY_CAST({given} AS DOUBLE)"
            else:
                continue
            asked[column.name] = f"count_if({given} IS NOT NULL AND {number} IS NULL)"
        if not asked:
            return {}
        counts = self.rows.aggregate(", ".join(asked.values())).fetchall()[0]
        return dict(zip(asked, counts, strict=True))

    def _of_table(self, columns: Sequence[Column]) -> duckdb.DuckDBPyRelation:
        there = set(self.rows.columns)
        wanted = []
        for column in columns:
            name, kind = quoted(column.name), "VARCHAR" if column.words else "DOUBLE"
            value = f"TRY_CAST({name} AS {kind})" if column.name in there else f"NULL::{kind}"
            wanted.append(f"{value} AS {name}")
        answer = PREDICTION if PREDICTION in there else "NULL"
        return self.rows.project(", ".join([*wanted, f"{answer}::DOUBLE AS {PREDICTION}"]))


def window_of_log(
    project: Project,
    endpoint: str,
    since: datetime | None,
    until: datetime | None,
    connection: duckdb.DuckDBPyConnection | None = None,
) -> Window:
    """What an endpoint answered and logged. A `connection` is for those who join it."""
    selection = Selection(since=since, until=until, endpoint=endpoint)
    folder = project.endpoint(endpoint) / "predictions"
    rows = predictions([folder], selection, connection).filter(ANSWERED)
    return Window(rows, True, since, until, f"prediction log of {endpoint}")


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
    return Window(rows.filter(ANSWERED) if logged else rows, logged, None, None, str(file))


def _path(name: str) -> str:
    """Of a member in JSON, as DuckDB writes it."""
    return "$." + json.dumps(name)
