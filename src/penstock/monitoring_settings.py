"""Settings of what goes on by itself: looking, alarming, retraining, and the processes of it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BeforeValidator, Field, field_validator, model_validator

from penstock.setting_types import (
    LongSpan,
    Name,
    Ratio,
    Rule,
    Section,
    Size,
    Span,
    Words,
    parse_rule,
    split_words,
)

FOUND = "found"

# What a rule can be about. A name that ends with * stands for several, such as estimated_auc_roc.
MEASURES: Mapping[str, str] = {
    "drift": "a feature, or the predictions, lie otherwise than in the reference",
    "drifted_share": "share of the model's importance that lies in features that drift",
    "null_share": "share of a column that is missing",
    "unseen_share": "share of values that the reference does not know",
    "range_share": "share of values beyond those of the reference",
    "constant": "a column that has one value only",
    "estimated_*": "performance as it is estimated without labels",
    "realised_*": "performance on the labels that came",
    "worst_slice": "the part of the rows where it is worst",
    "calibration_error": "how far probabilities are from what happened, where it is known",
    "estimation_error": "how far the estimate was from what came true",
    "retraining_gain": "what a model that learned of the last weeks would gain",
    "label_coverage": "share of predictions whose labels came",
    "labels_*": "labels that cannot be used: before their prediction, of none, disagreeing",
    "*_outputs": "outputs that are no probabilities, or cannot be used",
    "distinct_scores": "the model says nearly the same of all",
    "log_coverage": "share of the window's days whose predictions can be read",
    "skew": "served features that an offline recomputation does not give",
    "*_from_the_future": "rows whose time has not come: a clock is wrong",
    "events_after_prediction": "events that came with a time before an answer, and after it",
    "event_age_s": "seconds since the newest event of a source",
    "endpoint.error_rate": "share of an endpoint's answers of the last minutes that were errors",
    "endpoint.latency_p95_ms": "95 % of them took at most so many milliseconds",
    "monitoring.silent": "seconds since anybody looked at what is served",
    "monitoring.errors": "measures of the last look that could not be read",
    "pipeline.failed": "the last run failed",
}
# Of these alone a rollback is taken for a remedy.
SERVICE_MEASURES = ("endpoint.error_rate", "endpoint.latency_p95_ms")


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


def parse_condition(value: Any) -> Any:
    """ "> 0.2" -> a threshold; "found" -> None, which leaves it to the report's own verdict."""
    try:
        return None if value == FOUND else parse_rule(value)
    except ValueError:
        raise ValueError(f"{value!r} is neither 'found' nor a threshold like '> 0.2'") from None


class AlertRule(Section):
    """When somebody is told, and what is done."""

    metric: str  # one of MEASURES
    subject: str = "*"  # a feature, column, view or slice; * and ? as in file names
    endpoint: str = "*"
    when: Annotated[Rule | None, BeforeValidator(parse_condition)] = None  # None: "found"
    lasts: Span = timedelta(0)  # from the first look that found it to the one that fires
    looks: int = Field(default=1, ge=1, le=100)  # in a row: to fire, and to be resolved
    severity: Literal["page", "ticket", "info"] = "ticket"
    owner: str = ""  # empty: the project's
    runbook: str = ""  # where it stands what to do
    action: Literal["none", "propose", "retrain", "hold", "rollback"] = "propose"
    group: str = ""  # rules of one group are told of in one message; empty: the rule alone
    quiet: LongSpan = timedelta(hours=1)  # told of again within this: not at all
    repeat: LongSpan = timedelta(days=1)  # what goes on firing is told of again
    enabled: bool = True

    @field_validator("metric")
    @classmethod
    def _is_measured(cls, value: str) -> str:
        if not is_measure(value):
            close = difflib.get_close_matches(value, MEASURES, n=1)
            meant = f"; did you mean {close[0]!r}?" if close else "."
            raise ValueError(f"nothing measures {value!r}{meant} There are {', '.join(MEASURES)}")
        return value

    @model_validator(mode="after")
    def _may_roll_back(self) -> Self:
        if self.action == "rollback" and self.metric not in SERVICE_MEASURES:
            raise ValueError(
                f"{self.metric} never rolls back: only {' and '.join(SERVICE_MEASURES)} do; "
                "write propose, retrain or hold"
            )
        return self


def is_measure(name: str) -> bool:
    """Whether a look may bring measures of this name."""
    return any(fnmatchcase(name, known) for known in MEASURES)


# What is watched without a word in the settings.
DEFAULT_RULES: Mapping[str, Mapping[str, Any]] = {
    "endpoint_errors": {
        "metric": "endpoint.error_rate",
        "when": "> 0.02",
        "lasts": "2m",
        "severity": "page",
        "group": "service",
    },
    "endpoint_slow": {
        "metric": "endpoint.latency_p95_ms",
        "when": "> 250",
        "lasts": "5m",
        "group": "service",
    },
    "missing_values": {"metric": "null_share", "group": "data"},
    "unseen_values": {"metric": "unseen_share", "group": "data"},
    "out_of_range": {"metric": "range_share", "group": "data"},
    "constant_columns": {"metric": "constant", "group": "data"},
    "stale_data": {"metric": "event_age_s", "group": "data"},
    "skew": {"metric": "skew", "group": "data"},
    "wrong_clocks": {"metric": "*_from_the_future", "group": "data"},
    "drift": {"metric": "drift", "group": "model"},
    "drifted_share": {"metric": "drifted_share", "group": "model"},
    "performance_estimate": {"metric": "estimated_*", "group": "model"},
    "performance": {"metric": "realised_*", "severity": "page", "group": "model"},
    "calibration": {"metric": "calibration_error", "group": "model"},
    "retraining_pays": {"metric": "retraining_gain", "severity": "info", "group": "model"},
    "unusable_labels": {"metric": "labels_*", "group": "labels"},
    "few_labels": {  # of the load tests in staging nobody will ever know what came true
        "metric": "label_coverage",
        "endpoint": "production",
        "severity": "info",
        "group": "labels",
    },
    "unusable_outputs": {"metric": "*_outputs", "group": "service"},
    "monitoring_silent": {"metric": "monitoring.silent", "severity": "page", "group": "monitoring"},
    "monitoring_errors": {"metric": "monitoring.errors", "looks": 2, "group": "monitoring"},
    "pipeline_failed": {"metric": "pipeline.failed", "looks": 2, "group": "pipeline"},
}


def with_default_rules(given: Any) -> Any:
    """The rules of a project, laid over those that every project has."""
    if not isinstance(given, dict):
        return given
    over = {
        name: {**DEFAULT_RULES.get(name, {}), **rule} if isinstance(rule, dict) else rule
        for name, rule in given.items()
    }
    return {**DEFAULT_RULES, **over}


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
    plan: str = ""  # the rollouts' plan, a file of the project; empty: [rollout]


Kind = Literal["scheduler", "gateway", "controller", "monitor", "mlflow"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class ServiceSettings(Section):
    """The processes that `penstock up` keeps alive."""

    run: Annotated[tuple[Kind, ...], BeforeValidator(split_words)] = KINDS  # as far as there is use
    controller_host: str = "127.0.0.1"  # of its HTTP interface
    controller_port: int = Field(default=8610, ge=1, le=65535)
    monitor_host: str = "127.0.0.1"  # of its /metrics, which Prometheus reads
    monitor_port: int = Field(default=8620, ge=1, le=65535)
    mlflow_port: int = Field(default=5000, ge=1, le=65535)  # of MLflow's web pages, on 127.0.0.1
    patience: Span = timedelta(minutes=1)  # that one may take to end before it is killed
    log_size: Size = 16 * 2**20  # of a service's log in bytes, at which a new one begins
    log_files: int = Field(default=5, ge=1, le=1_000)  # that are kept of each, beside the present


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
