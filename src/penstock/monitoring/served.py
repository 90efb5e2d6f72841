"""What a model version answered, from the prediction log, by score: in DuckDB, whatever the rows.

Scores are drawn together to four digits: no metric is off by more, and any number of rows is a
table of some ten thousand at most.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa

from penstock.serving.prediction_log.reading import Selection, predictions
from penstock.state.outcomes import Labelled
from penstock.stats.outcomes_by_score import Floats, Outcomes, Scores

DIGITS = 4
SCORE = "output[-1]"
USABLE = f"coalesce(len(output) <= 2 AND isfinite({SCORE}), false)"  # erased rows have no output
PROBABILITY = f"{SCORE} BETWEEN 0 AND 1"
KNOWN = "state = 'known'"
# The label's state beside each row; what is not known takes no part.
STATE = """CASE WHEN label IS NULL AND NOT other THEN 'none' WHEN other THEN 'no class'
           WHEN told < arrived_at - tolerance THEN 'early' ELSE 'known' END"""


@dataclass(frozen=True)
class Asked:
    """Which answers are meant."""

    folder: Path  # of the endpoint's log
    endpoint: str
    model: str  # name@version
    since: datetime
    until: datetime  # exclusive
    threshold: float

    def rows(self, connection: duckdb.DuckDBPyConnection | None = None) -> duckdb.DuckDBPyRelation:
        selection = Selection(since=self.since, until=self.until, endpoint=self.endpoint)
        logged = predictions([self.folder], selection, connection)
        model = duckdb.ColumnExpression("model") == duckdb.ConstantExpression(self.model)
        return logged.filter(model).filter("status = 200")

    @property
    def groups(self) -> str:
        """Rows of one score and one side of the threshold, as SQL groups them."""
        return f"round({SCORE}, {DIGITS}), {SCORE} >= {self.threshold!r}"


class Answered(NamedTuple):
    """The rows of a window."""

    scores: Scores  # of the usable ones
    rows: int  # all that were answered
    improbable: int  # whose output is no probability


class Matured(NamedTuple):
    """Rows whose label should have come, and what came."""

    outcomes: Outcomes
    rows: int  # usable ones
    early: int  # labels from before their prediction
    no_class: int  # labels other than 0 and 1


def answered(asked: Asked) -> Answered:
    """What was answered in the window, with labels or without."""
    rows = asked.rows()
    usable = rows.filter(USABLE)
    total = _number(rows.aggregate("count(*)"))
    improbable = _number(usable.filter(f"NOT {PROBABILITY}").aggregate("count(*)"))
    return Answered(scores_of(usable.filter(PROBABILITY), asked), total, improbable)


def matured(asked: Asked, told: Iterable[Labelled], tolerance: timedelta) -> Matured:
    """What came of the rows of the window. A label may be as much earlier as clocks are apart."""
    rows = with_labels(asked, told, tolerance)
    counts = dict(rows.aggregate("state, count(*)", "state").fetchall())
    known = outcomes_of(rows.filter(KNOWN), asked)
    return Matured(known, sum(counts.values()), counts.get("early", 0), counts.get("no class", 0))


def with_labels(
    asked: Asked, told: Iterable[Labelled], tolerance: timedelta
) -> duckdb.DuckDBPyRelation:
    """Usable rows with `label`, 0 or 1, and the `state` of it."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    rows = asked.rows(connection).filter(f"{USABLE} AND {PROBABILITY}").set_alias("log")
    labels = connection.from_arrow(_labels(told)).set_alias("labels")
    same = "log.prediction_id = labels.prediction_id AND log.row_index = labels.row_index"
    seconds = tolerance.total_seconds()
    joined = rows.join(labels, same, how="left").project(
        "log.*, labels.label, coalesce(labels.other, false) AS other, to_timestamp(told) AS told, "
        f"to_seconds({seconds!r}) AS tolerance"
    )
    return joined.project(f"* EXCLUDE (told, other, tolerance), {STATE} AS state")


def _labels(told: Iterable[Labelled]) -> pa.Table:
    given = list(told)
    good = [one.value if one.value in (0.0, 1.0) else None for one in given]
    columns: dict[str, Any] = {
        "prediction_id": pa.array([one.prediction_id for one in given], pa.string()),
        "row_index": pa.array([one.row for one in given], pa.int32()),
        "label": pa.array(good, pa.float64()),
        "other": pa.array([one is None for one in good], pa.bool_()),
        "told": pa.array([one.second for one in given], pa.int64()),
    }
    return pa.table(columns)


def unknown(folder: Path, endpoint: str, told: Iterable[Labelled]) -> list[str]:
    """The ids among labels that the log, as long as it is kept, does not know."""
    connection = duckdb.connect()
    logged = predictions([folder], Selection(endpoint=endpoint), connection).set_alias("log")
    labels = connection.from_arrow(_labels(told)).set_alias("labels")
    lost = labels.join(logged, "log.prediction_id = labels.prediction_id", how="anti")
    return [name for (name,) in lost.project("DISTINCT labels.prediction_id").fetchall()]


def scores_of(rows: duckdb.DuckDBPyRelation, asked: Asked) -> Scores:
    """Usable rows by score."""
    grouped = rows.aggregate(f"avg({SCORE}) AS score, count(*)::DOUBLE AS rows", asked.groups)
    return Scores(*_columns(grouped, Scores._fields))


def outcomes_of(rows: duckdb.DuckDBPyRelation, asked: Asked) -> Outcomes:
    """Rows of `with_labels` whose label is known, by score."""
    sums = f"avg({SCORE}) AS score, sum(label) AS positives, sum(1 - label) AS negatives"
    return Outcomes(*_columns(rows.aggregate(sums, asked.groups), Outcomes._fields))


def _columns(grouped: duckdb.DuckDBPyRelation, names: tuple[str, ...]) -> list[Floats]:
    found: Mapping[str, Any] = grouped.order("score").fetchnumpy()
    return [np.asarray(found[name], np.float64) for name in names]


def _number(relation: duckdb.DuckDBPyRelation) -> int:
    found = relation.fetchone()
    return int(found[0]) if found else 0
