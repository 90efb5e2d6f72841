"""Answers of a model version by score, and the labels that came for them: in DuckDB.

Scores are drawn together to four digits: no metric is off by more, and any number of rows is a
table of some ten thousand at most. A relation of answers here has a column `score`, which is null
where the output is not one number, as of several classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa

from penstock.profiles.profile import PREDICTION
from penstock.state.outcomes import Labelled
from penstock.stats.outcomes_by_score import Floats, Outcomes, Scores

DIGITS = 4
PROBABILITY = "score BETWEEN 0 AND 1"
KNOWN = "state = 'known'"
# The label's state beside each row; what is not known takes no part.
STATE = """CASE WHEN label IS NULL AND NOT other THEN 'none' WHEN other THEN 'no class'
           WHEN told < arrived_at - tolerance THEN 'early' ELSE 'known' END"""


class Answered(NamedTuple):
    """The rows of a window."""

    scores: Scores  # of those whose output is a probability
    rows: int  # all of them
    unusable: int  # without a single number as output
    improbable: int  # with one that is no probability


class Matured(NamedTuple):
    """Rows whose label should have come, and what came."""

    outcomes: Outcomes
    rows: int  # whose output is a probability
    early: int  # labels from before their prediction
    no_class: int  # labels other than 0 and 1


NOTHING = Matured(Outcomes(np.zeros(0), np.zeros(0), np.zeros(0)), 0, 0, 0)


def scored(rows: duckdb.DuckDBPyRelation, logged: bool) -> duckdb.DuckDBPyRelation:
    """The answers of a window; `logged`: as the prediction log has them."""
    if logged:
        one = "len(output) <= 2 AND isfinite(output[-1])"
        return rows.project(f"*, CASE WHEN {one} THEN output[-1] END AS score")
    number = f"TRY_CAST({PREDICTION if PREDICTION in rows.columns else 'NULL'} AS DOUBLE)"
    return rows.project(f"*, CASE WHEN isfinite({number}) THEN {number} END AS score")


def answered(rows: duckdb.DuckDBPyRelation, threshold: float) -> Answered:
    """How many there are, and their scores."""
    improbable = f"coalesce(count_if(NOT {PROBABILITY}), 0)"
    counts = rows.aggregate(f"count(*), count(*) - count(score), {improbable}")
    return Answered(scores_of(rows.filter(PROBABILITY), threshold), *counts.fetchall()[0])


def with_labels(
    rows: duckdb.DuckDBPyRelation, told: duckdb.DuckDBPyRelation, tolerance: timedelta
) -> duckdb.DuckDBPyRelation:
    """Rows of the log with `label`, 0 or 1, and its `state`. `told` are rows of `labels_told`.

    A label may be as much earlier than its prediction as the clocks of hosts are apart.
    """
    same = "log.prediction_id = labels.prediction_id AND log.row_index = labels.row_index"
    joined = (
        rows.filter(PROBABILITY).set_alias("log").join(told.set_alias("labels"), same, how="left")
    )
    beside = joined.project(
        "log.*, labels.label, coalesce(labels.other, false) AS other, to_timestamp(told) AS told, "
        f"to_seconds({tolerance.total_seconds()!r}) AS tolerance"
    )
    return beside.project(f"* EXCLUDE (told, other, tolerance), {STATE} AS state")


def matured(rows: duckdb.DuckDBPyRelation, threshold: float) -> Matured:
    """What came of rows of `with_labels`."""
    counts = dict(rows.aggregate("state, count(*)", "state").fetchall())
    known = outcomes_of(rows.filter(KNOWN), threshold)
    return Matured(known, sum(counts.values()), counts.get("early", 0), counts.get("no class", 0))


def labels_told(given: Sequence[Labelled]) -> pa.Table:
    """One row a label; `label` is null, and `other` true, where it is neither 0 nor 1."""
    good = [one.value if one.value in (0.0, 1.0) else None for one in given]
    columns: dict[str, Any] = {
        "prediction_id": pa.array([one.prediction_id for one in given], pa.string()),
        "row_index": pa.array([one.row for one in given], pa.int32()),
        "label": pa.array(good, pa.float64()),
        "other": pa.array([one is None for one in good], pa.bool_()),
        "told": pa.array([one.second for one in given], pa.int64()),
    }
    return pa.table(columns)


def unknown(logged: duckdb.DuckDBPyRelation, told: duckdb.DuckDBPyRelation) -> list[str]:
    """The ids among labels that are not among predictions."""
    same = "log.prediction_id = labels.prediction_id"
    lost = told.set_alias("labels").join(logged.set_alias("log"), same, how="anti")
    return [name for (name,) in lost.project("prediction_id").distinct().fetchall()]


def scores_of(rows: duckdb.DuckDBPyRelation, threshold: float) -> Scores:
    """Probabilities by score."""
    sums = "avg(score) AS score, count(*)::DOUBLE AS rows"
    return Scores(*_columns(rows.aggregate(sums, _groups(threshold)), Scores._fields))


def outcomes_of(rows: duckdb.DuckDBPyRelation, threshold: float) -> Outcomes:
    """Rows of `with_labels` whose label is known, by score."""
    sums = "avg(score) AS score, sum(label) AS positives, sum(1 - label) AS negatives"
    return Outcomes(*_columns(rows.aggregate(sums, _groups(threshold)), Outcomes._fields))


def _groups(threshold: float) -> str:
    """Rows of one score and one side of the threshold."""
    return f"round(score, {DIGITS}), score >= {threshold!r}"


def _columns(grouped: duckdb.DuckDBPyRelation, names: tuple[str, ...]) -> list[Floats]:
    found: Mapping[str, Any] = grouped.order("score").fetchnumpy()
    return [np.asarray(found[name], np.float64) for name in names]
