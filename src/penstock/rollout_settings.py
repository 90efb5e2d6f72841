"""[rollout]: how a new version takes over, and what takes it back.

The defaults are a canary of 10 % for 2 h, 25 % for 4 h, 50 % for 8 h and 100 % for 24 h. Its error
rate may be no more than 5, 3, 2 and 1 %; latency and prediction drift are watched beside it. Shares
and rates are fractions, 0 to 1.
"""

from __future__ import annotations

import re
from datetime import timedelta
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from penstock.setting_types import LongSpan, Ratio, Section, Span, Words

ERROR_RATE = "error_rate"
LATENCY = re.compile(r"latency_p(\d\d)")
DRIFT = "prediction_drift"
EVENT = re.compile(r"event:[a-z][a-z0-9_]{0,30}")

STRATEGIES = ("canary", "blue_green", "ab", "shadow")


Open = Annotated[float, Field(gt=0.0, lt=1.0)]  # a probability that is neither 0 nor 1


class UnitSettings(Section):
    """What sticks to an arm. Both empty: each request is a unit of its own."""

    header: str = ""  # a request header
    field: str = ""  # an entity key, feature or parameter of the request


class StageSettings(Section):
    """A share of the units for a time."""

    weight: Ratio  # share of the units that the candidate gets
    bake: Span = timedelta(0)  # from when every gateway routes so; at least
    max: LongSpan | None = None  # until the evidence must suffice; unset: four times `bake`
    min_events: int = Field(default=0, ge=0)  # requests that the candidate must have answered
    error_rate: Ratio = 1.0  # limit on the candidate's share of errors; 1: none

    @property
    def longest(self) -> timedelta:
        """Until when the evidence must suffice. Without time: a day, to collect `min_events`."""
        return self.max or 4 * self.bake or timedelta(days=1)

    @model_validator(mode="after")
    def _ends(self) -> StageSettings:
        if not self.bake and not self.min_events:
            raise ValueError("a stage needs time or events: set bake, min_events or both")
        if self.max is not None and self.max < self.bake:
            raise ValueError("max is shorter than bake")
        return self


class GuardrailSettings(Section):
    """A metric that must not get worse.

    `error_rate`; `latency_pNN`, where the share of answers slower than `limit_ms` is compared with
    1 − NN/100 (latency_p95: 5 %); `prediction_drift` between the arms; or a business event that
    feedback brings, `event:NAME`, counted once a unit.
    """

    metric: str
    action: Literal["rollback", "hold"] = "rollback"  # on FAIL; hold for prediction_drift
    limit_ms: float = Field(default=0.0, ge=0)  # milliseconds; of latency_pNN only, 50 by default
    threshold: float = Field(default=0.0, ge=0)  # PSI; of prediction_drift only, 0.2 by default

    @property
    def kind(self) -> Literal["error_rate", "latency", "prediction_drift", "event"]:
        if self.metric == ERROR_RATE:
            return "error_rate"
        if self.metric == DRIFT:
            return "prediction_drift"
        return "latency" if LATENCY.fullmatch(self.metric) else "event"

    @property
    def slow_share(self) -> float:
        """The share of answers that may be slower than `limit_ms`: 0.05 for latency_p95."""
        match = LATENCY.fullmatch(self.metric)
        return (100 - int(match[1])) / 100 if match else 0.0

    @model_validator(mode="before")
    @classmethod
    def _with_defaults(cls, given: Any) -> Any:
        if isinstance(given, str):  # guardrails = ["error_rate", …]
            given = {"metric": given}
        if not isinstance(given, dict) or not isinstance(given.get("metric"), str):
            return given
        metric = given["metric"]
        defaults: dict[str, Any] = {"action": "hold" if metric == DRIFT else "rollback"}
        if LATENCY.fullmatch(metric):
            defaults["limit_ms"] = 50.0
        if metric == DRIFT:
            defaults["threshold"] = 0.2
        return defaults | given

    @model_validator(mode="after")
    def _is_known(self) -> GuardrailSettings:
        known = self.metric in (ERROR_RATE, DRIFT) or EVENT.fullmatch(self.metric)
        if not known and not LATENCY.fullmatch(self.metric):
            raise ValueError(
                f"metric {self.metric!r} is unknown; there are error_rate, latency_p95 (or another "
                "percentile), prediction_drift, and event:NAME for what feedback brings"
            )
        if (self.limit_ms > 0) != (self.kind == "latency"):
            raise ValueError(f"limit_ms is of latency_pNN, above zero; seen at {self.metric}")
        if (self.threshold > 0) != (self.kind == "prediction_drift"):
            raise ValueError(f"threshold is of prediction_drift, above zero; seen at {self.metric}")
        return self


class ApprovalSettings(Section):
    """Who must agree, before what."""

    required: int = Field(default=1, ge=0, le=10)  # different people
    # "start", "stage:INDEX" (from 0), "promote". Unset: start; of an A/B test also promote.
    before: Words | None = None

    @model_validator(mode="after")
    def _points_are_known(self) -> ApprovalSettings:
        for point in self.before or ():
            if not re.fullmatch(r"start|promote|stage:\d+", point):
                raise ValueError(f"before: {point!r} is none of start, promote, stage:INDEX")
        return self


class BlueGreenSettings(Section):
    """Green beside blue, smoke tests, the switch, and blue kept for a while."""

    smoke_requests: int = Field(default=20, ge=0)  # to green before the switch; all must succeed
    before: LongSpan = timedelta(minutes=1)  # blue is watched before the switch, to compare with
    watch: LongSpan = timedelta(hours=1)  # after the switch, until green is promoted
    max: LongSpan | None = None  # until the evidence must suffice; unset: four times `watch`
    error_rate: Ratio = 0.05  # limit on green's share of errors
    retain: Span = timedelta(hours=24)  # how long blue is kept running

    @model_validator(mode="after")
    def _ends(self) -> BlueGreenSettings:
        if self.max is not None and self.max < self.watch:
            raise ValueError("max is shorter than watch")
        return self


class AbSettings(Section):
    """An experiment: two arms side by side until the answer is known."""

    split: Open = 0.5  # the candidate's share of the units
    duration: LongSpan = timedelta(days=7)
    looks: int = Field(default=5, ge=1, le=50)  # at equal parts of `duration`
    min_units: int = Field(default=10_000, ge=2)  # both arms together
    primary: str = "user_engagement"  # the metric that decides
    secondaries: Words = ("prediction_accuracy", "revenue_per_user")  # told, and corrected for
    guard: str = "latency_p95"  # the guardrail that must hold beside a lift; empty: none
    lift: float = Field(default=0.02, gt=0)  # of the primary metric, that counts as success
    lift_is: Literal["relative", "absolute"] = "relative"  # to the baseline's mean, or its unit
    power: Open = 0.8  # to find a lift of this size
    baseline_mean: float | None = None  # of the primary, for one unit
    baseline_sd: float | None = Field(default=None, gt=0)  # between units
    side: Literal["two", "one"] = "two"  # one: only a gain is looked for

    @model_validator(mode="after")
    def _metrics_differ(self) -> AbSettings:
        if not self.primary:
            raise ValueError("primary names no metric")
        if len({self.primary, *self.secondaries}) != 1 + len(self.secondaries):
            raise ValueError("secondaries name a metric twice, or the primary one")
        return self


class ShadowSettings(Section):
    """A copy of the traffic, whose answers nobody waits for."""

    duration: LongSpan = timedelta(days=3)
    share: float = Field(default=1.0, gt=0, le=1)  # of the requests that are copied
    max_disagreement: Ratio = 0.01  # share of pairs whose predictions differ
    max_dropped: Ratio = 0.01  # share of the copies for which the candidate was not free
    max_latency_ratio: float = Field(default=1.2, gt=0)  # candidate / baseline, geometric mean
    max_cpu_ratio: float = Field(default=2.0, gt=0)  # CPU seconds a request, candidate / baseline
    max_memory_ratio: float = Field(default=2.0, gt=0)  # bytes of the processes, at most


def _seed_stages() -> tuple[StageSettings, ...]:
    plan = ((0.10, 2, 0.05), (0.25, 4, 0.03), (0.50, 8, 0.02), (1.0, 24, 0.01))
    return tuple(
        StageSettings(weight=weight, bake=timedelta(hours=hours), error_rate=limit)
        for weight, hours, limit in plan
    )


def _seed_guardrails() -> tuple[GuardrailSettings, ...]:
    return tuple(
        GuardrailSettings.model_validate({"metric": metric})
        for metric in (ERROR_RATE, "latency_p95", DRIFT)
    )


class RolloutSettings(Section):
    """The plan of a rollout, and the budget of its errors."""

    strategy: Literal["canary", "blue_green", "ab", "shadow"] = "canary"
    alpha: Open = 0.05  # chance that a good version is rolled back, over the whole rollout
    beta: Open = 0.05  # chance that one as bad as `tolerance` is certified
    tolerance: float = Field(default=2.0, gt=1.0)  # risk ratio that certification excludes
    negligible: Ratio = 0.001  # a rate that is surely below this certifies too
    unit: UnitSettings = UnitSettings()
    holdback: float = Field(default=0.0, ge=0, lt=1)  # share of units that stay at the baseline
    stages: tuple[StageSettings, ...] = Field(default_factory=_seed_stages)  # of a canary
    guardrails: tuple[GuardrailSettings, ...] = Field(default_factory=_seed_guardrails)
    on_inconclusive: Literal["hold", "rollback"] = "hold"  # at a stage's `max`
    on_alert: Literal["propose", "rollback"] = "propose"  # of Alertmanager, on errors and latency
    on_provider_down: Literal["hold", "rollback"] = "hold"  # after `provider_patience`
    provider_patience: LongSpan = timedelta(minutes=5)  # without numbers from where they come
    prepare_timeout: LongSpan = timedelta(minutes=10)  # for the candidate to be loaded everywhere
    ramp_timeout: LongSpan = timedelta(minutes=2)  # for every gateway to route as told
    lease: LongSpan = timedelta(seconds=30)  # gateways fall back so long after the controller died
    hold_timeout: LongSpan = timedelta(days=7)  # held, paused or unapproved for so long: abandoned
    watch: Span = timedelta(minutes=15)  # after promotion, under guard; not of blue_green
    retain: Span = timedelta(hours=24)  # the old version is kept running; not of blue_green
    dry_run: bool = False  # check, write down the plan, and route nothing
    approvals: ApprovalSettings = ApprovalSettings()
    blue_green: BlueGreenSettings = BlueGreenSettings()
    ab: AbSettings = AbSettings()
    shadow: ShadowSettings = ShadowSettings()

    def guardrail(self, metric: str) -> GuardrailSettings | None:
        return next((rail for rail in self.guardrails if rail.metric == metric), None)

    @property
    def slow_us(self) -> int:
        """An answer that takes longer counts as slow, in µs; 0: latency is not watched."""
        limits = (rail.limit_ms for rail in self.guardrails if rail.kind == "latency")
        return round(next(limits, 0.0) * 1000)

    @property
    def approval_points(self) -> tuple[str, ...]:
        """Before what people must agree."""
        if not self.approvals.required:
            return ()
        if self.approvals.before is not None:
            return self.approvals.before
        return ("start", "promote") if self.strategy == "ab" else ("start",)

    @model_validator(mode="after")
    def _stages_grow(self) -> RolloutSettings:
        if not self.stages:
            raise ValueError("stages: a canary needs one stage at least")
        if self.stages[0].weight < 0.0001:
            raise ValueError("stages.0.weight must be 0.0001 at least: there are 10,000 buckets")
        for number, (before, after) in enumerate(pairwise(self.stages), start=1):
            if after.weight < before.weight:
                raise ValueError(
                    f"stages.{number}.weight {after.weight:g} falls below the "
                    f"{before.weight:g} of the stage before"
                )
        return self

    @model_validator(mode="after")
    def _guardrails_differ(self) -> RolloutSettings:
        metrics = [rail.metric for rail in self.guardrails]
        if not metrics and self.strategy != "shadow":
            raise ValueError("guardrails: nothing is watched; name error_rate at least")
        for metric in metrics:
            if metrics.count(metric) > 1:
                raise ValueError(f"guardrails name {metric} twice")
        if self.strategy == "ab" and self.ab.guard and self.ab.guard not in metrics:
            raise ValueError(f"ab.guard {self.ab.guard!r} is none of the guardrails {metrics}")
        if sum(rail.kind == "latency" for rail in self.guardrails) > 1:
            raise ValueError("guardrails name two percentiles of latency; one threshold is counted")
        return self

    @model_validator(mode="after")
    def _points_exist(self) -> RolloutSettings:
        last = {"canary": len(self.stages), "blue_green": 2}.get(self.strategy, 1) - 1
        for point in self.approvals.before or ():
            if point.startswith("stage:") and int(point[6:]) > last:
                raise ValueError(f"approvals.before: there is no {point}; the last is stage:{last}")
        return self
