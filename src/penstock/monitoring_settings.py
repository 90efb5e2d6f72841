"""Settings of what goes on by itself: looking, alarming, retraining, and the processes of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from penstock.setting_types import LongSpan, Name, Section, Span, split_words


class MonitoringSettings(Section):
    """How the model's world is looked at."""

    every: LongSpan = timedelta(hours=1)  # between two looks
    window: LongSpan = timedelta(days=1)  # of predictions that one look compares


class AlertRule(Section):
    """When somebody is told, and what is done."""


class TriggerSettings(Section):
    """When the pipeline runs by itself, and what becomes of the model that it makes."""

    # What a person, a webhook or an alert's rule asks for is heard, whether it is here or not.
    on: Annotated[
        tuple[Literal["schedule", "drift", "performance", "freshness", "data"], ...],
        BeforeValidator(split_words),
    ] = ("schedule",)
    cool_down: Span = timedelta(hours=6)  # from one run to the next that the world starts
    per_day: int = Field(default=2, ge=0)  # runs that the world starts within 24 hours
    better_by: float = 0.0  # than the champion in [gates.champion] metric: more than this
    # How a new version goes on by itself once it is approved; nothing: a person starts it.
    follow: Annotated[tuple[Literal["shadow", "canary"], ...], BeforeValidator(split_words)] = ()
    endpoint: Name = "production"  # where to


class ServiceSettings(Section):
    """The processes that `penstock up` keeps alive."""
