"""Settings of what goes on by itself: looking, alarming, retraining, and the processes of it."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from penstock.setting_types import LongSpan, Section, Words


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
