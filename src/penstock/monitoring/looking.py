"""One look at what a model is asked and answers, against what it learned: by kind, one report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from sqlalchemy import Engine

from penstock.errors import PenstockError
from penstock.monitoring.coverage import covered
from penstock.monitoring.drift import drift_of, drifted_share
from penstock.monitoring.freshness import fresh
from penstock.monitoring.history import confirmed, earlier, keep
from penstock.monitoring.performance import performance
from penstock.monitoring.quality import failing, quality_of
from penstock.monitoring.report import Measure, Report, Verdict
from penstock.monitoring.skew import skewed
from penstock.monitoring.window import Window
from penstock.monitoring_settings import MonitoringSettings
from penstock.profiles.profile import PREDICTION, Column, Profile
from penstock.project import Project
from penstock.registry.version_profile import reference_of
from penstock.registry.versions import Found


@dataclass(frozen=True)
class Look:
    """What is looked at. What two kinds of report need is read and counted once."""

    project: Project
    engine: Engine
    found: Found  # the version
    endpoint: str
    window: Window
    now: datetime  # UTC
    regular: bool = False  # one of a row of looks: kept, and drift counts in k of n windows
    by: str = ""  # a column that performance is sliced by

    @property
    def settings(self) -> MonitoringSettings:
        return self.project.settings.monitoring

    @cached_property
    def reference(self) -> Profile:
        return reference_of(self.project, self.found)

    @cached_property
    def asked(self) -> Window:
        """The answers of this version alone."""
        return self.window.of(self.found.label)

    @cached_property
    def columns(self) -> dict[str, Column]:
        """The features and the predictions of the window, in the bins of the reference."""
        shapes = [*self.reference.columns]
        if self.reference.prediction:
            shapes.append(self.reference.prediction)
        found = self.asked.counted(self.reference.columns, shapes)
        return {one.name: one for one in found}

    @cached_property
    def independent(self) -> float:
        """The share of the window's rows that p-values may count."""
        return self.asked.independent_share()

    @cached_property
    def quality(self) -> tuple[Measure, ...]:
        """The gates on the data, which drift rests on."""
        columns = self.reference.columns
        measures = quality_of(columns, self.columns, {}, self.settings, self.independent)
        bad = failing(measures)
        doubted = [one for one in columns if one.name in bad]
        unreadable = self.unreadable(doubted) if doubted else {}
        if not any(unreadable.values()):
            return measures
        return quality_of(columns, self.columns, unreadable, self.settings, self.independent)

    def unreadable(self, columns: Sequence[Column]) -> dict[str, int]:
        """By column, how many values are there and are no numbers."""
        return self.asked.unreadable(columns)

    def unseen(self, kind: str) -> tuple[Measure, ...]:
        """What of the window a kind of report does not see."""
        return self._unseen

    @cached_property
    def _unseen(self) -> tuple[Measure, ...]:
        return tuple(covered(self.window, self.engine, self.endpoint))

    @property
    def rows(self) -> int:
        return max((one.rows for one in self.columns.values()), default=0)

    def report(self, kind: str, measures: Sequence[Measure], rows: int) -> Report:
        return Report(
            kind=kind,
            model=self.found.label,
            endpoint=self.endpoint,
            made_at=self.now,
            since=self.window.since,
            until=self.window.until,
            source=self.window.source,
            rows=rows,
            measures=tuple(measures),
        )

    def counting_windows(self, kind: str, measures: Sequence[Measure]) -> tuple[Measure, ...]:
        """With what earlier windows showed, where this is one of a row of looks."""
        if not self.regular or self.window.since is None:
            return tuple(measures)
        before = earlier(self.engine, kind, self.found.label, self.endpoint, self.window.since)
        return confirmed(measures, before, self.settings.k, self.settings.n)


def data(look: Look) -> Report:
    return look.report("data", [*look.unseen("data"), *look.quality], look.rows)


def features(look: Look) -> Report:
    """What fails the gates on the data is told there, and not also as drift."""
    bad = failing(look.quality)
    fit = [one for one in look.reference.columns if one.name not in bad]
    drift = drift_of(fit, look.columns, look.settings, look.independent)
    measures = look.counting_windows("features", drift)
    unfit = [
        Measure(
            "drift",
            name,
            Verdict.INSUFFICIENT,
            f"not compared: its {gate} is out of bounds, see `penstock monitor data`",
            rows=look.columns[name].rows,
        )
        for name, gate in bad.items()
    ]
    share = drifted_share(measures, look.settings)
    return look.report("features", (*look.unseen("features"), share, *measures, *unfit), look.rows)


def predictions(look: Look) -> Report:
    prediction = look.reference.prediction
    if prediction is None:
        reason = "the version's profile does not hold its answers in these bins"
        nothing = Measure("drift", PREDICTION, Verdict.INSUFFICIENT, reason, rows=look.rows)
        return look.report("predictions", [nothing], look.rows)
    drift = drift_of([prediction], look.columns, look.settings, look.independent)
    measures = look.counting_windows("predictions", drift)
    return look.report("predictions", [*look.unseen("predictions"), *measures], look.rows)


KINDS: Mapping[str, Callable[[Look], Report]] = {
    "data": data,
    "features": features,
    "predictions": predictions,
    "performance": performance,
    "skew": skewed,
    "freshness": fresh,
}


def looked(look: Look, kinds: Sequence[str]) -> list[Report]:
    """A report a kind; those of a row of looks are kept.

    What one kind lacks is an error in its report where several are asked for, and raised where it
    is the only one.
    """
    reports = []
    for kind in kinds:
        try:
            report = KINDS[kind](look)
        except PenstockError as error:
            if len(kinds) == 1:
                raise
            report = _not_told(look, kind, error)
        reports.append(report)
        if look.regular:
            keep(look.engine, report, look.now - look.settings.keep)
    return reports


def _not_told(look: Look, kind: str, error: PenstockError) -> Report:
    measure = Measure(kind, "", Verdict.ERROR, f"{error.message}; {error.hint}".rstrip("; "))
    return look.report(kind, [measure], 0)
