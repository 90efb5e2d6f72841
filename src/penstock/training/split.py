"""Splits by label time: what is scored always lies later than what was learned from.

A label at time t is known only at t + horizon. Rows whose outcome reaches into a later part would
carry its future back, so a gap of the label's horizon is left before each part.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import pandas as pd

from penstock.authoring import TrainingSet
from penstock.errors import DataError
from penstock.records import FeatureSet
from penstock.settings import TrainingSettings


@dataclass(frozen=True)
class Split:
    train: TrainingSet  # fits the candidates of the search
    validation: TrainingSet  # scores them
    development: TrainingSet  # both, and the gap between them: fits the final model
    holdout: TrainingSet  # judges it, once
    holdout_from: datetime


@dataclass(frozen=True)
class Bounds:
    """Label times: train < train_until ≤ (gap) ≤ validation_from … < development_until, holdout."""

    train_until: datetime
    validation_from: datetime
    development_until: datetime
    holdout_from: datetime


def decide_bounds(times: list[datetime], settings: TrainingSettings) -> Bounds:
    """Where the parts begin and end, from the distinct label times in ascending order."""
    if len(times) < 2:
        raise DataError(
            f"all label rows have the same time {times[0]:%Y-%m-%d %H:%M}" if times else "no rows",
            hint="a split by time needs label rows of several times",
        )
    holdout_from = settings.holdout_from or _share_from_end(times, settings.holdout)
    development_until = holdout_from - settings.gap
    development = [time for time in times if time < development_until]
    if len(development) < 2:
        raise DataError(
            f"before the holdout from {holdout_from:%Y-%m-%d} and the gap of {settings.gap} there "
            f"are {len(development)} label times; two are needed to train and to validate",
            hint="bring more label times, or shorten [training] holdout or gap",
        )
    validation_from = _share_from_end(development, settings.validation)
    train_until = validation_from - settings.gap
    # With few label times the gap would leave nothing: then the search learns from the earliest.
    train_until = max(train_until, development[1])
    return Bounds(train_until, validation_from, development_until, holdout_from)


def split_by_time(
    frame: pd.DataFrame, features: FeatureSet, settings: TrainingSettings, seed: int
) -> Split:
    """Raises `DataError` when a part is empty or has only one class."""
    times = frame[features.timestamp]
    distinct = [t.to_pydatetime() for t in sorted(times.unique())]
    bounds = decide_bounds(distinct, settings)
    cut = _Cutter(frame, features, seed)
    return Split(
        train=cut.part("training", times < bounds.train_until),
        validation=cut.part(
            "validation", (times >= bounds.validation_from) & (times < bounds.development_until)
        ),
        development=cut.part("development", times < bounds.development_until),
        holdout=cut.part("holdout", times >= bounds.holdout_from),
        holdout_from=bounds.holdout_from,
    )


def part_from(frame: pd.DataFrame, features: FeatureSet, start: datetime, seed: int) -> TrainingSet:
    """The rows from a label time on: the held-out part, for those who know where it begins."""
    return _Cutter(frame, features, seed).part("holdout", frame[features.timestamp] >= start)


@dataclass(frozen=True)
class _Cutter:
    frame: pd.DataFrame
    features: FeatureSet
    seed: int

    @cached_property
    def names(self) -> list[str]:
        return [column.name for column in self.features.features]

    def part(self, name: str, chosen: pd.Series) -> TrainingSet:
        rows = self.frame[chosen]
        label = rows[self.features.label]
        if set(label.unique()) != {0, 1}:
            times = self.frame[self.features.timestamp]
            raise DataError(
                f"the {name} part has {len(rows):,} rows with the labels "
                f"{sorted(label.unique().tolist())}; it needs both classes "
                f"(label times go from {times.min():%Y-%m-%d} to {times.max():%Y-%m-%d})",
                hint="check [training] holdout_from, holdout, validation and gap",
            )
        rows = rows.reset_index(drop=True)
        return TrainingSet(
            rows[self.names], rows[self.features.label], rows[self.features.timestamp], self.seed
        )


def _share_from_end(times: list[datetime], share: float) -> datetime:
    count = min(max(1, round(len(times) * share)), len(times) - 1)
    return times[-count]
