"""One look at what a model is asked and answers, against what it learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from penstock.monitoring.drift import drift_of, drifted_share
from penstock.monitoring.reference import reference_of
from penstock.monitoring.report import Measure, Report
from penstock.monitoring.window import Window
from penstock.monitoring_settings import MonitoringSettings
from penstock.profiles.counting import counted
from penstock.profiles.profile import Column, Profile
from penstock.project import Project
from penstock.registry.versions import Found


@dataclass(frozen=True)
class Sight:
    """What is looked at: a window of one model's answers, in the shape of its reference."""

    found: Found
    endpoint: str
    reference: Profile
    window: Window
    columns: dict[str, Column]  # of the window: the features, and the predictions
    rows: int


def sight_of(project: Project, found: Found, endpoint: str, window: Window) -> Sight:
    """Counts the window once, for all that is asked of it."""
    reference = reference_of(project, found)
    asked = window.of(found.label)
    shapes = [*reference.columns, *([reference.prediction] if reference.prediction else [])]
    columns = counted(asked.table(reference.columns), shapes)
    rows = columns[0].rows if columns else 0
    return Sight(found, endpoint, reference, asked, {one.name: one for one in columns}, rows)


def features_report(sight: Sight, settings: MonitoringSettings, now: datetime) -> Report:
    measures = drift_of(sight.reference.columns, sight.columns, settings)
    return report(sight, "features", (drifted_share(measures, settings), *measures), now)


def predictions_report(sight: Sight, settings: MonitoringSettings, now: datetime) -> Report:
    prediction = sight.reference.prediction
    measures = drift_of([prediction], sight.columns, settings) if prediction else ()
    return report(sight, "predictions", measures, now)


def report(sight: Sight, kind: str, measures: Sequence[Measure], now: datetime) -> Report:
    return Report(
        kind=kind,
        model=sight.found.label,
        endpoint=sight.endpoint,
        made_at=now,
        since=sight.window.since,
        until=sight.window.until,
        source=sight.window.source,
        rows=sight.rows,
        measures=tuple(measures),
    )
