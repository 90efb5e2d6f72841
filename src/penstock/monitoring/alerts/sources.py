"""Where the measures come from: reports, what gateways observed, runs, and the monitor itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Engine

from penstock.errors import NoBetter
from penstock.monitoring.alerts.alert import Signal, signals_of
from penstock.monitoring.alerts.decision import Serving, is_replaced
from penstock.monitoring.history import latest
from penstock.monitoring.report import Report, Verdict
from penstock.project import Project
from penstock.serving.observations.counts import Counts, counts_of
from penstock.setting_types import duration_text
from penstock.state import heartbeats, observations, routes
from penstock.state.runs import Runs
from penstock.stats.histograms import quantile
from penstock.stats.proportions import wilson

LIVE = timedelta(minutes=5)  # of an endpoint's answers that are looked at
SETTLED = timedelta(seconds=5)  # gateways write what they observed within
ENOUGH = 100  # answers; of fewer, nothing is said
MISSED = 3  # looks in a row that did not come: nobody looks any more
ENDED = {"succeeded": Verdict.FINE, "failed": Verdict.FOUND, "interrupted": Verdict.FOUND}


class Seen(NamedTuple):
    """All that there is to decide on."""

    signals: tuple[Signal, ...]
    serving: Serving  # the models of each endpoint; "": of none, as looked at last


def gather(project: Project, engine: Engine, reports: Sequence[Report], now: datetime) -> Seen:
    """`reports`: the latest of each kind, endpoint and version, and older ones."""
    last = list(_latest(reports))
    found = [signal for report in last for signal in signals_of(report)]
    found += of_endpoints(engine, now)
    if dog := watchdog(project, engine, now):
        found.append(dog)
    serving = _serving(engine, last)
    current = [one for one in last if not is_replaced(one.endpoint, one.model, serving)]
    if current:
        found.append(_errors(current, now))
    found += of_runs(engine)
    return Seen(tuple(found), serving)


def of_endpoints(engine: Engine, now: datetime) -> Iterator[Signal]:
    """Errors and latency of each endpoint's last minutes."""
    until = now - SETTLED
    for name, published in routes.endpoints(engine):
        counts = Counts()
        second = int(until.timestamp())
        span = int(LIVE.total_seconds())
        for one in observations.read(engine, name, second - span, second):
            counts.add(counts_of(one.counts))
        champion = published.document["champion"]
        model = str(published.document["releases"][champion]["model"])
        yield from _of_counts(counts, name, model, until)


def watchdog(project: Project, engine: Engine, now: datetime) -> Signal | None:
    """How long nobody has looked; None where nothing is served and nothing was ever looked at."""
    looks = [min(report.made_at, now) for report in latest(engine)]
    if beat := heartbeats.last(engine, heartbeats.MONITOR):
        looks.append(beat)
    served = [published.written_at for _, published in routes.endpoints(engine)]
    if not looks and not served:
        return None
    silent = now - (max(looks) if looks else min(served))
    every = project.settings.monitoring.every
    since = f"the last look was {max(looks):%Y-%m-%d %H:%M} UTC" if looks else "nobody ever looked"
    return Signal(
        metric="monitoring.silent",
        look=now.isoformat(),
        at=now,
        verdict=Verdict.FOUND if silent > MISSED * every else Verdict.FINE,
        reason=f"{since}; one is due every {duration_text(every)}",
        value=silent.total_seconds(),
    )


def of_runs(engine: Engine) -> Iterator[Signal]:
    """Whether the last run of each pipeline that ended was a success."""
    told = set[str]()
    for run in Runs(engine).list():
        if run.status not in ENDED or run.pipeline in told:
            continue
        told.add(run.pipeline)
        message = run.error["message"] if run.error else run.status
        verdict = ENDED[run.status]
        if run.error and run.error["error"] == NoBetter.__name__:  # it did all that it should
            verdict = Verdict.FINE
        yield Signal(
            metric="pipeline.failed",
            subject=run.pipeline,
            look=run.id,
            at=run.finished_at or run.started_at,
            verdict=verdict,
            reason=f"{run.id}: {message}",
            value=float(verdict is Verdict.FOUND),
        )


def _latest(reports: Iterable[Report]) -> Iterable[Report]:
    """The last look of each kind at each version."""
    found: dict[tuple[str, str, str], Report] = {}
    for report in sorted(reports, key=lambda one: one.made_at):
        found[report.kind, report.endpoint, report.model] = report
    return found.values()


def _serving(engine: Engine, reports: Iterable[Report]) -> Serving:
    """`reports` with the newest last."""
    newest = {one.model.rpartition("@")[0]: one.model for one in reports if not one.endpoint}
    found = {"": set(newest.values())}
    for name, published in routes.endpoints(engine):
        releases = published.document["releases"].values()
        found[name] = {str(release["model"]) for release in releases}
    return found


def _of_counts(counts: Counts, endpoint: str, model: str, at: datetime) -> Iterator[Signal]:
    failed = sum(counts.errors.values())
    asked = counts.requests - counts.refused
    common: dict[str, Any] = {
        "endpoint": endpoint,
        "model": model,
        "look": at.isoformat(),
        "at": at,
    }
    minutes = f"{LIVE.total_seconds() / 60:.0f} minutes"
    enough = asked >= ENOUGH
    told = f"{failed:,} of {asked:,} requests of the last {minutes} ended with an error"
    yield Signal(
        metric="endpoint.error_rate",
        verdict=Verdict.FINE if enough else Verdict.INSUFFICIENT,
        reason=told if enough else f"{asked} requests in {minutes}; of fewer than {ENOUGH}, none",
        value=failed / asked if asked else None,
        interval=wilson(failed, asked),
        rows=asked,
        **common,
    )
    answered, p95 = sum(counts.latency.values()), quantile(counts.latency, 0.95)
    enough = answered >= ENOUGH and p95 is not None
    told = f"95 % of {answered:,} answers of the last {minutes} took at most so long"
    yield Signal(
        metric="endpoint.latency_p95_ms",
        verdict=Verdict.FINE if enough else Verdict.INSUFFICIENT,
        reason=told if enough else f"{answered} answers in {minutes}: fewer than {ENOUGH}",
        value=p95 / 1000 if p95 is not None else None,
        rows=answered,
        **common,
    )


def _errors(reports: Iterable[Report], now: datetime) -> Signal:
    failed = [
        f"{measure.name}({measure.subject}): {measure.reason}"
        for report in reports
        for measure in report.measures
        if measure.verdict is Verdict.ERROR
    ]
    return Signal(
        metric="monitoring.errors",
        look=max((report.made_at for report in reports), default=now).isoformat(),
        at=now,
        verdict=Verdict.FOUND if failed else Verdict.FINE,
        reason="; ".join(failed[:3]) or "all that was looked at could be read",
        value=float(len(failed)),
    )
