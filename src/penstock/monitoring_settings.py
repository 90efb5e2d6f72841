"""Settings of what goes on by itself: looking, alarming, retraining, and the processes of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Self

from pydantic import Field, model_validator

from penstock.setting_types import LongSpan, Ratio, Section, Span, Words


class PerformanceSettings(Section):
    """When a model has become worse, and when another one is worth its trouble."""

    metrics: Words = ("auc_roc", "accuracy", "precision", "recall", "f1", "log_loss")
    margin: Ratio = 0.05  # of its held-out value: by so much a metric may get worse
    horizon: Span | None = None  # until a label is known; unset: [training] gap
    coverage: Ratio = 0.5  # share of the matured predictions whose label should be there
    least_rows: int = Field(default=100, ge=10)  # of which a metric is told
    retraining_gain: Ratio = 0.003  # share of the log-loss that makes a new model worth training


class MonitoringSettings(Section):
    """How the model's world is looked at."""

    every: LongSpan = timedelta(hours=1)  # between two looks
    window: LongSpan = timedelta(days=1)  # of predictions that one look compares
    min_rows: int = Field(default=100, ge=20)  # in a window; fewer say nothing
    # What is more than chance: of all that is reported, at most this share is false.
    alpha: float = Field(default=0.01, gt=0, lt=1)
    # What is large enough to matter. Drift is what is both.
    distance: float = Field(default=0.1, ge=0)  # of numbers, in the reference's deviations
    moved: float = Field(default=0.1, ge=0, le=1)  # share of rows that lie elsewhere
    psi: float = Field(default=0.1, ge=0)  # of categories
    null_change: float = Field(default=0.05, ge=0, le=1)  # of the share of nulls
    unseen_share: float = Field(default=0.01, ge=0, le=1)  # rows of categories never seen before
    range_share: float = Field(default=0.01, ge=0, le=1)  # rows below or above all seen before
    drifted_share: float = Field(default=0.3, gt=0, le=1)  # of importance that makes it the whole
    keep: LongSpan = timedelta(days=90)  # reports; older ones are deleted
    # Drift counts once it is there in `k` of the last `n` windows, which do not overlap.
    k: int = Field(default=2, ge=1)
    n: int = Field(default=3, ge=1)
    performance: PerformanceSettings = PerformanceSettings()

    @model_validator(mode="after")
    def _windows(self) -> Self:
        if self.k > self.n:
            raise ValueError(f"k = {self.k} of n = {self.n} windows can never be")
        return self


class AlertRule(Section):
    """When somebody is told, and what is done."""


class TriggerSettings(Section):
    """When the pipeline runs by itself."""


class ServiceSettings(Section):
    """The processes that `penstock up` keeps alive."""


class AirflowSettings(Section):
    """What the DAGs of Airflow have beyond [pipeline]."""

    assets: Words = ()  # URIs: an update of one of them starts a run, beside the schedule
    pool: str = "default_pool"  # whose slots the tasks take
    pools: dict[str, str] = Field(default_factory=dict)  # by step
    deadline: LongSpan | None = None  # of a run, from when it was queued; None: nobody is told
    production: bool = True  # a second DAG: approvals, then the rollout
    approval_timeout: LongSpan = timedelta(days=7)  # then it waits for approvals no more
    rollout_timeout: LongSpan = timedelta(days=14)  # then the task fails; the rollout goes on
    every: LongSpan = timedelta(seconds=30)  # between two looks of a task that waits
