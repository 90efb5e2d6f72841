"""Settings of what goes on by itself: looking, alarming, retraining, and the processes of it."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

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
    performance: PerformanceSettings = PerformanceSettings()


class AlertRule(Section):
    """When somebody is told, and what is done."""


class TriggerSettings(Section):
    """When the pipeline runs by itself."""


class ServiceSettings(Section):
    """The processes that `penstock up` keeps alive."""
