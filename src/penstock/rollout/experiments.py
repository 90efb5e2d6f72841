"""Evidence of single units and requests: sums for A/B tests, and pairs of answers for shadows.

Labels come late and by prediction id. They are joined with the endpoint's prediction log, which
knows the answer, the arm and the unit of each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from sqlalchemy import Engine

from penstock.rollout.judge.ab import AbEvidence, AbMetric
from penstock.rollout.judge.shadow import ShadowEvidence
from penstock.rollout.routing import ARMS
from penstock.rollout.states import Rollout
from penstock.serving.observations.counts import Counts, counts_of
from penstock.serving.observations.pairs import THRESHOLD, PairCounts
from penstock.serving.prediction_log.reading import Selection, answer
from penstock.serving.release import EndpointFolder
from penstock.serving.routing.table import CHAMPION, SHADOW
from penstock.state import outcomes
from penstock.state.first_events import EXPOSED, Kind
from penstock.state.observations import Total
from penstock.stats.moments import Moments, moments_of_counts
from penstock.stats.paired import PairedSums

ACCURACY = "prediction_accuracy"  # computed from labels; every other metric is what feedback names
TREATMENT = ARMS["ab"]

Totals = Mapping[tuple[str, str], Total]


def ab_evidence(
    engine: Engine,
    folder: Path,
    state: Rollout,
    totals: Totals,
    units: Mapping[Kind, int],
    now: datetime,
) -> AbEvidence:
    """The sums of every metric of the test over the units exposed so far."""
    settings = state.spec.settings.ab
    named = (settings.primary, *settings.secondaries)
    told = [name for name in named if name != ACCURACY]
    sums = outcomes.moments(engine, state.endpoint, state.id, told, until=int(now.timestamp()))
    metrics = {
        name: _told(sums.get((name, CHAMPION)), sums.get((name, TREATMENT))) for name in told
    }
    if ACCURACY in named:
        metrics[ACCURACY] = _accuracy(engine, folder, state, now)
    rail = state.spec.settings.guardrail(settings.guard)
    if rail is not None and rail.kind == "latency":
        metrics[rail.metric] = AbMetric(
            control=_slow(totals.get((f"{state.id}/0", CHAMPION))),
            treatment=_slow(totals.get((f"{state.id}/0", TREATMENT))),
        )
    return AbEvidence(
        seconds=_since(state, now),
        control_units=units.get(Kind(0, EXPOSED, CHAMPION), 0),
        treatment_units=units.get(Kind(0, EXPOSED, TREATMENT), 0),
        metrics=metrics,
    )


def _told(*arms: outcomes.Sums | None) -> AbMetric:
    """Nothing was observed where nothing was told of any unit: no feedback is not a zero."""
    if not any(sums.yy for sums in arms if sums is not None):
        return AbMetric()
    control, treatment = (Moments(**s._asdict()) if s is not None else Moments() for s in arms)
    return AbMetric(control=control, treatment=treatment)


def _slow(total: Total | None) -> Moments:
    """Answers above the threshold, as a share of all of the arm's."""
    counts = counts_of(total.counts) if total else Counts()
    return moments_of_counts(counts.requests - counts.refused, counts.slow)


def _accuracy(engine: Engine, folder: Path, state: Rollout, now: datetime) -> AbMetric:
    """Right predictions over labelled ones, unit by unit: a ratio metric."""
    found = {arm: Moments() for arm in (CHAMPION, TREATMENT)}

    def sums_of(rows: duckdb.DuckDBPyRelation) -> list[Any]:
        by_unit = rows.aggregate("arm, unit, sum(hit::DOUBLE) y, count(*)::DOUBLE d", "arm, unit")
        sums = "count(*), sum(y), sum(y*y), sum(d), sum(d*d), sum(y*d)"
        return by_unit.aggregate(f"arm, {sums}", "arm").fetchall()

    for arm, n, y, yy, d, dd, yd in _of_labelled(engine, folder, state, now, sums_of):
        if arm in found:
            found[arm] = Moments(n=n, y=y, yy=yy, d=d, dd=dd, yd=yd)
    return AbMetric(control=found[CHAMPION], treatment=found[TREATMENT])


def shadow_evidence(
    engine: Engine, folder: Path, state: Rollout, totals: Totals, now: datetime
) -> ShadowEvidence:
    """Both models on the same requests, so far."""
    epoch = f"{state.id}/0"
    baseline, candidate = (_counts(totals.get((epoch, arm))) for arm in (CHAMPION, SHADOW))
    pairs = candidate.pairs or PairCounts()
    labelled, baseline_alone, candidate_alone = _alone_right(engine, folder, state, now)
    return ShadowEvidence(
        seconds=_since(state, now),
        pairs=pairs.rows,
        disagreements=pairs.disagreements,
        failed=pairs.shadow_failures,
        dropped=pairs.dropped,
        log_latency=PairedSums(pairs.requests, pairs.log_ratio, pairs.log_ratio_squares),
        difference=pairs.difference,
        labelled=labelled,
        baseline_alone_right=baseline_alone,
        candidate_alone_right=candidate_alone,
        baseline_requests=baseline.requests,
        candidate_requests=candidate.requests,
        baseline_cpu_us=baseline.cpu_us,
        candidate_cpu_us=candidate.cpu_us,
        baseline_memory_bytes=baseline.memory_bytes,
        candidate_memory_bytes=candidate.memory_bytes,
    )


def _alone_right(
    engine: Engine, folder: Path, state: Rollout, now: datetime
) -> tuple[int, int, int]:
    """Labelled pairs; of them those in which the baseline alone was right, or the candidate."""

    def sums_of(rows: duckdb.DuckDBPyRelation) -> list[Any]:
        of_arm = "max(hit) FILTER (arm = '{}')"
        answers = rows.aggregate(
            f"prediction_id, row_index, {of_arm.format(CHAMPION)} b, {of_arm.format(SHADOW)} c",
            "prediction_id, row_index",
        )
        paired = answers.filter("b IS NOT NULL AND c IS NOT NULL")
        return paired.aggregate("count(*), count_if(b > c), count_if(c > b)").fetchall()

    for labelled, baseline, candidate in _of_labelled(engine, folder, state, now, sums_of):
        return int(labelled), int(baseline), int(candidate)
    return 0, 0, 0


def _of_labelled(
    engine: Engine,
    folder: Path,
    state: Rollout,
    now: datetime,
    question: Callable[[duckdb.DuckDBPyRelation], list[Any]],
) -> list[Any]:
    """A question about the rows of the prediction log whose label has come.

    Of each prediction_id, row_index, arm, unit, and `hit`: 1 where the answer is on the label's
    side of the threshold. Without labels, nothing.
    """
    since = state.stage_began or state.since
    told = outcomes.labels(engine, state.endpoint, int(since.timestamp()), int(now.timestamp()) + 1)
    table = _table(told)
    if not table.num_rows:
        return []
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")

    def asked(log: duckdb.DuckDBPyRelation) -> list[Any]:
        of_rollout = log.filter(f"epoch = '{state.id}/0' AND status = 200").set_alias("log")
        labels = connection.from_arrow(table).set_alias("labels")
        joined = of_rollout.join(
            labels,
            "log.prediction_id = labels.prediction_id AND log.row_index = labels.row_index",
        )
        return question(
            joined.project(
                "log.prediction_id, log.row_index, log.arm, log.unit, "
                f"((log.output[-1] >= {THRESHOLD}) = labels.positive)::INTEGER hit"
            )
        )

    selection = Selection(since=since, endpoint=state.endpoint)
    return answer([EndpointFolder(folder).predictions], selection, asked, connection)


def _table(told: Iterable[outcomes.Labelled]) -> pa.Table:
    kept = [one for one in told if one.value is not None]
    columns: dict[str, Any] = {
        "prediction_id": pa.array([one.prediction_id for one in kept], pa.string()),
        "row_index": pa.array([one.row for one in kept], pa.int32()),
        "positive": pa.array([bool(one.value) for one in kept], pa.bool_()),
    }
    return pa.table(columns)


def _counts(total: Total | None) -> Counts:
    return counts_of(total.counts) if total else Counts()


def _since(state: Rollout, now: datetime) -> float:
    began = state.stage_began
    return max((now - began).total_seconds(), 0.0) if began else 0.0
