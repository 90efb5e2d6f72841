"""Reports are kept, and what one window shows counts once enough of the last windows do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Engine

from penstock.monitoring.report import Measure, Report, Verdict
from penstock.state import monitor_reports
from penstock.state.monitor_reports import Kept, forget, read, write

HERE = "in_window"  # of a measure's details: whether this window alone shows it
LOOKED_THROUGH = 500  # earlier reports, for windows that do not overlap


def as_json(report: Report) -> dict[str, Any]:
    """As plain JSON values: times are ISO 8601, and what is no finite number is null."""
    document: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(report))
    return document


def report_from(document: dict[str, Any]) -> Report:
    """The inverse of `as_json`."""
    return msgspec.convert(document, Report)


def keep(engine: Engine, report: Report, forget_before: datetime) -> None:
    """Keeps a report, and forgets old ones."""
    write(
        engine,
        Kept(
            report.kind,
            report.model,
            report.endpoint,
            report.made_at,
            report.since,
            report.until,
            as_json(report),
        ),
    )
    forget(engine, forget_before)


def latest(engine: Engine) -> list[Report]:
    """The last look of each kind at each version, the newest last."""
    return [report_from(one.document) for one in monitor_reports.latest(engine)]


def earlier(engine: Engine, kind: str, model: str, endpoint: str, since: datetime) -> list[Report]:
    """Reports whose windows ended by then, the latest first; those that overlap are left out."""
    found: list[Report] = []
    kept = read(
        engine, kind=kind, model=model, endpoint=endpoint, ended_by=since, limit=LOOKED_THROUGH
    )
    for one in kept:
        if one.until is not None and one.until <= since and one.since is not None:
            found.append(report_from(one.document))
            since = one.since
    return found


def confirmed(
    measures: Iterable[Measure], before: Sequence[Report], k: int, n: int
) -> tuple[Measure, ...]:
    """What was found counts only when `k` of the last `n` windows show it, this one included.

    `before` are earlier windows, the latest first. Windows that could not tell are windows too.
    """
    shown = [{_key(m) for m in one.measures if m.details.get(HERE)} for one in before[: n - 1]]
    return tuple(_confirmed(one, shown, k, n) for one in measures)


def _confirmed(measure: Measure, shown: Sequence[set[tuple[str, str]]], k: int, n: int) -> Measure:
    if measure.verdict is not Verdict.FOUND:
        return measure
    times = 1 + sum(_key(measure) in keys for keys in shown)
    details = measure.details | {HERE: True, "windows": times, "k": k, "n": n}
    if times >= k:
        reason = f"{measure.reason}; in {times} of the last {len(shown) + 1} windows"
        return replace(measure, reason=reason, details=details)
    reason = f"{measure.reason}; in {times} of the last {n} windows, {k} are needed"
    return replace(measure, verdict=Verdict.FINE, reason=reason, details=details)


def _key(measure: Measure) -> tuple[str, str]:
    return measure.name, measure.subject
