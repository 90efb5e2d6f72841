"""Settings of what goes on by itself: looking, alarming, retraining, and the processes of it."""

from __future__ import annotations

from datetime import timedelta

from penstock.setting_types import LongSpan, Section


class MonitoringSettings(Section):
    """How the model's world is looked at."""

    every: LongSpan = timedelta(hours=1)  # between two looks
    window: LongSpan = timedelta(days=1)  # of predictions that one look compares


class AlertRule(Section):
    """When somebody is told, and what is done."""


class TriggerSettings(Section):
    """When the pipeline runs by itself."""


class ServiceSettings(Section):
    """The processes that `penstock up` keeps alive."""
