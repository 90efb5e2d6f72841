"""Reads what a decision needs from the state database: evidence, gateways, the routing table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import duckdb
import msgspec
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from penstock.project import Project
from penstock.rollout import events as e
from penstock.rollout.agreement import agreement
from penstock.rollout.evidence import (
    Agreement,
    Approval,
    ArmEvidence,
    GatewayView,
    Observed,
    SmokeResult,
    StageEvidence,
)
from penstock.rollout.experiments import ab_evidence, shadow_evidence
from penstock.rollout.memory import Remembered
from penstock.rollout.readings import Readings
from penstock.rollout.routing import candidate_arm, candidate_share
from penstock.rollout.states import CANDIDATE_IS_CHAMPION, GOING_BACK, Rollout
from penstock.serving.observations.counts import Counts, counts_of
from penstock.serving.routing.table import CHAMPION, RoutingTable
from penstock.state import first_events, observations, rollouts, routes
from penstock.state.first_events import ERROR, EVENT, SLOW, Kind
from penstock.state.observations import Total
from penstock.state.routes import Published

UNREADABLE = (
    SQLAlchemyError, duckdb.Error, msgspec.MsgspecError, LookupError, TypeError, ValueError, OSError
)  # fmt: skip

Totals = Mapping[tuple[str, str], Total]  # by epoch and arm


@dataclass(frozen=True)
class Sources:
    """Where evidence comes from."""

    project: Project
    engine: Engine
    folder: Path  # of the endpoint: its prediction log, for what is known of single predictions
    readings: Readings = field(default_factory=Readings)
    asks_registry: bool = False  # whether the candidate's digests are still those in MLflow


def observe(
    sources: Sources,
    one: Remembered,
    published: Published | None,
    desired: RoutingTable | None,
    smoke: SmokeResult | None,
    now: datetime,
) -> Observed:
    """Everything beside the state. What cannot be read is said in `metrics_error`."""
    state, engine = one.state, sources.engine
    spec = state.spec
    agreed, approvals = _agreement(sources, state, now)
    found = Observed(
        gateways=_gateways(engine, state.endpoint),
        table_revision=_revision_as(state, desired, published),
        foreign_table=foreign_table(one, published),
        approvals=approvals,
        agreement=agreed,
        quarantined=rollouts.in_quarantine(engine, spec.candidate.digest) is not None,
        smoke=smoke,
    )
    if state.stage < 0:
        return found
    try:
        totals = observations.totals(engine, state.endpoint, state.id)
        units = first_events.counts(engine, state.endpoint, state.id)
        changes: dict[str, object] = {"stages": stages(state, totals, units, now)}
        folder = sources.folder
        if spec.settings.strategy == "ab":
            changes["ab"] = sources.readings.read(
                state.id, partial(ab_evidence, engine, folder, state, totals, units, now)
            )
        if spec.settings.strategy == "shadow":
            changes["shadow"] = sources.readings.read(
                state.id, partial(shadow_evidence, engine, folder, state, totals, now)
            )
    except UNREADABLE as error:
        return found.model_copy(update={"metrics_error": f"the evidence cannot be read: {error}"})
    return found.model_copy(update=changes)


def stages(
    state: Rollout, totals: Totals, units: Mapping[Kind, int], now: datetime
) -> tuple[StageEvidence, ...]:
    """The evidence of every stage so far."""
    return tuple(_stage(state, number, totals, units, now) for number in range(state.stage + 1))


def _stage(
    state: Rollout, number: int, totals: Totals, units: Mapping[Kind, int], now: datetime
) -> StageEvidence:
    settings = state.spec.settings
    epoch, arm = f"{state.id}/{number}", candidate_arm(settings, number)
    # Once the candidate is the champion, nothing runs beside it.
    other = CHAMPION if arm != CHAMPION else ""
    found = [total for name in (arm, other) if (total := totals.get((epoch, name)))]
    last = max((total.until for total in found), default=0)
    return StageEvidence(
        stage=number,
        weight=candidate_share(settings, number),
        seconds=_seconds(state, number, found, now),
        candidate=_arm(number, arm, totals.get((epoch, arm)), units),
        baseline=_arm(number, other, totals.get((epoch, other)), units),
        last_seen=datetime.fromtimestamp(last, UTC) if last else None,
    )


def _seconds(state: Rollout, number: int, found: list[Total], now: datetime) -> float:
    if number == state.stage and state.stage_began is not None:
        return max((now - state.stage_began).total_seconds(), 0.0)
    if not found:
        return 0.0
    return float(max(total.until for total in found) - min(total.since for total in found))


def _arm(number: int, arm: str, total: Total | None, units: Mapping[Kind, int]) -> ArmEvidence:
    counts = counts_of(total.counts) if total else Counts()
    if not _adds_up(counts):
        raise ValueError(f"no gateway can have counted what is told of the arm {arm}")
    events = {
        kind.metric.removeprefix(EVENT): count
        for kind, count in units.items()
        if kind.stage == number and kind.arm == arm and kind.metric.startswith(EVENT)
    }
    return ArmEvidence(
        requests=counts.requests - counts.refused,  # the client's own fault says nothing of an arm
        refused=counts.refused,
        errors=sum(counts.errors.values()),
        slow=counts.slow,
        error_units=units.get(Kind(number, ERROR, arm), 0) + counts.own_errors,
        slow_units=units.get(Kind(number, SLOW, arm), 0) + counts.own_slow,
        events=events,
        latency=counts.latency,
        predictions=counts.predictions,
        cpu_us=counts.cpu_us,
        memory_bytes=counts.memory_bytes,
        units=units.get(Kind(number, first_events.EXPOSED, arm), 0),
    )


def _adds_up(counts: Counts) -> bool:
    """Whether they can be those of a gateway: a part is no more than the whole, and none lacks."""
    errors = sum(counts.errors.values())
    good = counts.requests - counts.refused - errors
    parts = (
        *(counts.refused, *counts.errors.values(), good),
        *(counts.own_errors, errors - counts.own_errors),
        *(counts.own_slow, counts.slow - counts.own_slow, good - counts.slow),
        *(*counts.latency.values(), *counts.predictions.values()),
        *(counts.cpu_us, counts.memory_bytes),
    )
    return min(parts) >= 0


def _gateways(engine: Engine, endpoint: str) -> tuple[GatewayView, ...]:
    return tuple(
        GatewayView(
            name=one.gateway,
            url=one.url,
            revision=one.revision,
            state=one.state,
            seen_at=one.seen_at,
            error=one.error,
        )
        for one in routes.gateways_of(engine, endpoint)
    )


def _agreement(
    sources: Sources, state: Rollout, now: datetime
) -> tuple[Agreement, tuple[Approval, ...]]:
    if state.ended or state.acting in CANDIDATE_IS_CHAMPION:
        return Agreement(), ()  # what serves is not dropped when an approval ends
    registry = sources.readings if sources.asks_registry else None
    return agreement(sources.project, sources.engine, state, now, registry)


def _revision_as(state: Rollout, desired: RoutingTable | None, published: Published | None) -> int:
    """The revision of the published table where it is what the state wants; else 0."""
    if published is None:
        return 0
    if desired is None:
        # On the way back, a table of somebody else's that does without the candidate will do.
        free = state.spec.candidate.release not in published.document.get("releases", {})
        return published.revision if free and state.status in GOING_BACK else 0
    return published.revision if published.document == document_of(desired) else 0


def document_of(table: RoutingTable) -> dict[str, object]:
    return table.model_dump(mode="json")


def writer_of(rollout: str) -> str:
    """Who writes a rollout's routing tables: so they are told from those of others."""
    return f"rollout {rollout}"


def foreign_table(one: Remembered, published: Published | None) -> str:
    """Who wrote another table since the rollout's first; empty: nobody."""
    state = one.state
    if published is None or published.actor == writer_of(state.id):
        return ""
    began = next((n for n, event in enumerate(one.events) if isinstance(event, e.Preparing)), None)
    if began is None:
        return ""
    written = f"{published.actor} wrote revision {published.revision}"
    if published.fence >= one.sequence_of(began):
        return written
    champion = str(published.document.get("champion"))
    return "" if champion == state.spec.baseline.release else f"{written} of {champion}"
