"""Settings of what goes on by itself: looking, alarming, retraining, and the processes of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator, Field

from penstock.setting_types import LongSpan, Section, Size, Span, split_words


class MonitoringSettings(Section):
    """How the model's world is looked at."""

    every: LongSpan = timedelta(hours=1)  # between two looks
    window: LongSpan = timedelta(days=1)  # of predictions that one look compares


class AlertRule(Section):
    """When somebody is told, and what is done."""


class TriggerSettings(Section):
    """When the pipeline runs by itself."""


Kind = Literal["scheduler", "gateway", "controller", "monitor", "mlflow"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class ServiceSettings(Section):
    """The processes that `penstock up` keeps alive."""

    run: Annotated[tuple[Kind, ...], BeforeValidator(split_words)] = KINDS  # as far as there is use
    controller_host: str = "127.0.0.1"  # of its HTTP interface
    controller_port: int = Field(default=8610, ge=1, le=65535)
    mlflow_port: int = Field(default=5000, ge=1, le=65535)  # of MLflow's web pages, on 127.0.0.1
    patience: Span = timedelta(minutes=1)  # that one may take to end before it is killed
    log_size: Size = 16 * 2**20  # of a service's log in bytes, at which a new one begins
    log_files: int = Field(default=5, ge=1, le=1_000)  # that are kept of each, beside the present
