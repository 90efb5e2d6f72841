"""[rollout]: the seed plan by default, and every mistake named by its field."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from rollout_worlds import BASELINE, CANDIDATE, DAY, HOUR, MINUTE, NOON, settings_of

from penstock.errors import SettingsError
from penstock.rollout.plans import ab_plan, shadow_limits, stages_of
from penstock.rollout.spec import RolloutSpec, Version, check
from penstock.rollout.spec_file import read_plan
from penstock.rollout_settings import RolloutSettings
from penstock.setting_types import duration_text, parse_duration
from penstock.settings import Settings


def test_the_default_is_the_seed_canary() -> None:
    settings = Settings.model_validate({"project": {"name": "shop"}}).rollout
    assert settings.strategy == "canary"
    assert [(s.weight, s.bake, s.error_rate) for s in settings.stages] == [
        (0.10, 2 * HOUR, 0.05),
        (0.25, 4 * HOUR, 0.03),
        (0.50, 8 * HOUR, 0.02),
        (1.00, 24 * HOUR, 0.01),
    ]
    assert [(g.metric, g.action) for g in settings.guardrails] == [
        ("error_rate", "rollback"),
        ("latency_p95", "rollback"),
        ("prediction_drift", "hold"),
    ]
    latency, drift = settings.guardrails[1:]
    assert (latency.limit_ms, latency.slow_share) == (50, 0.05)
    assert settings.slow_us == 50_000
    assert drift.threshold == 0.2
    assert settings.approval_points == ("start",)


def test_the_seed_blue_green_is_the_default_of_its_strategy() -> None:
    before, switched = stages_of(settings_of(strategy="blue_green"))
    assert (before.weight, before.bake) == (0.0, MINUTE)
    assert (switched.weight, switched.bake, switched.longest) == (1.0, HOUR, 4 * HOUR)
    assert settings_of(strategy="blue_green").blue_green.retain == DAY


def test_the_seed_ab_test_is_the_default_of_its_strategy() -> None:
    settings = settings_of(strategy="ab", approvals={})
    (stage,) = stages_of(settings)
    assert (stage.weight, stage.bake) == (0.5, 7 * DAY)
    plan = ab_plan(settings)
    assert (plan.primary, plan.lift, plan.relative, plan.alpha) == (
        "user_engagement", 0.02, True, 0.05,
    )  # fmt: skip
    assert plan.secondaries == ("prediction_accuracy", "revenue_per_user")
    assert [(g.metric, g.limit) for g in plan.guards] == [("latency_p95", 0.05)]
    assert (plan.min_units, plan.looks, plan.seconds) == (10_000, 5, 7 * 86_400)
    assert settings.approval_points == ("start", "promote")


def test_the_seed_shadow_is_the_default_of_its_strategy() -> None:
    settings = settings_of(strategy="shadow")
    (stage,) = stages_of(settings)
    assert (stage.weight, stage.bake, settings.shadow.share) == (0.0, 3 * DAY, 1.0)
    limits = shadow_limits(settings)
    assert (limits.max_disagreement, limits.max_latency_ratio) == (0.01, 1.2)


@pytest.mark.parametrize("strategy", ["canary", "blue_green", "ab", "shadow"])
def test_a_plan_reads_back_from_the_ledger(strategy: str) -> None:
    settings = settings_of(strategy=strategy, lease="1500ms", unit={"field": "user"})
    assert RolloutSettings.model_validate_json(settings.model_dump_json()) == settings


@given(st.timedeltas(timedelta(0), timedelta(days=400)))
def test_a_duration_reads_back_as_it_is_written(duration: timedelta) -> None:
    back = parse_duration(duration_text(duration))
    assert abs(back - duration) <= timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("duration", "text"), [("90s", "90s"), ("120m", "2h"), ("48h", "2d"), ("0d", "0s")]
)
def test_durations_are_written_as_people_do(duration: str, text: str) -> None:
    assert duration_text(parse_duration(duration)) == text


HALF = {"weight": 0.5, "bake": "1h"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"strategy": "big_bang"}, "strategy"),
        ({"alpha": 0}, "alpha"),
        ({"beta": 1}, "beta"),
        ({"tolerance": 1}, "tolerance"),  # "twice as bad" must be worse than "as bad"
        ({"negligible": -0.1}, "negligible"),
        ({"holdback": 1}, "holdback"),
        ({"on_inconclusive": "pass"}, "on_inconclusive"),  # it does not exist
        ({"on_provider_down": "pass"}, "on_provider_down"),
        ({"lease": "0s"}, "lease"),
        ({"lease": "soon"}, "lease"),
        ({"retain": timedelta(hours=-1)}, "retain"),
        ({"colour": "red"}, "colour"),
        ({"stages": []}, "stages: a canary needs one"),
        ({"stages": [{"weight": 1.2, "bake": "1h"}]}, "stages.0.weight"),
        ({"stages": [{"weight": 0, "bake": "1h"}]}, "stages.0.weight must be 0.0001 at least"),
        ({"stages": [HALF, {"weight": 0.4, "bake": "1h"}]}, "stages.1.weight 0.4 falls below"),
        ({"stages": [{"weight": 0.5}]}, "stages.0\n.*needs time or events"),
        ({"stages": [HALF | {"max": "30m"}]}, "stages.0\n.*max is shorter than bake"),
        ({"stages": [HALF | {"min_events": -1}]}, "stages.0.min_events"),
        ({"stages": [HALF | {"error_rate": 5}]}, "stages.0.error_rate"),
        ({"guardrails": []}, "guardrails: nothing is watched"),
        ({"guardrails": ["error_rate", "error_rate"]}, "guardrails name error_rate twice"),
        ({"guardrails": ["cpu"]}, "guardrails.0\n.*metric 'cpu' is unknown; there are error_rate"),
        ({"guardrails": ["event:Refund!"]}, "'event:Refund!' is unknown"),
        ({"guardrails": ["latency_p5"]}, "'latency_p5' is unknown"),
        ({"guardrails": ["latency_p95", "latency_p99"]}, "two percentiles"),
        ({"guardrails": [{"metric": "latency_p95", "limit_ms": 0}]}, "limit_ms"),
        ({"guardrails": [{"metric": "error_rate", "limit_ms": 9}]}, "limit_ms is of latency"),
        ({"guardrails": [{"metric": "error_rate", "threshold": 1}]}, "threshold is of prediction"),
        ({"guardrails": [{"metric": "error_rate", "action": "ignore"}]}, "guardrails.0.action"),
        ({"approvals": {"required": -1}}, "approvals.required"),
        ({"approvals": {"before": ["lunch"]}}, "before: 'lunch' is none of"),
        ({"approvals": {"before": ["stage:4"]}}, "there is no stage:4; the last is stage:3"),
        ({"ab": {"split": 1.0}}, "ab.split"),
        ({"ab": {"lift": 0}}, "ab.lift"),
        ({"ab": {"looks": 0}}, "ab.looks"),
        ({"ab": {"primary": ""}}, "primary names no metric"),
        ({"ab": {"secondaries": ["user_engagement"]}}, "secondaries name a metric twice"),
        ({"strategy": "ab", "guardrails": ["error_rate"]}, "ab.guard 'latency_p95' is none of"),
        ({"shadow": {"share": 0}}, "shadow.share"),
        ({"shadow": {"max_latency_ratio": -1}}, "shadow.max_latency_ratio"),
        ({"blue_green": {"smoke_requests": -1}}, "blue_green.smoke_requests"),
    ],
)
def test_a_mistake_is_refused_with_its_field(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        RolloutSettings.model_validate(given)


def test_stages_may_keep_their_weight() -> None:
    stages = [HALF, HALF | {"error_rate": 0.01}]
    assert len(RolloutSettings.model_validate({"stages": stages}).stages) == 2


def test_a_guardrail_may_be_named_alone() -> None:
    (rail,) = RolloutSettings.model_validate({"guardrails": ["event:refund"]}).guardrails
    assert (rail.kind, rail.action) == ("event", "rollback")


# Files


def test_a_plan_is_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "fast.toml"
    text = 'watch = "5s"\n[[stages]]\nweight = 0.5\nbake = "3s"\n'
    file.write_text(text)
    plan = read_plan(file)
    assert (plan.watch, [s.bake.total_seconds() for s in plan.stages]) == (5 * MINUTE / 60, [3.0])
    file.write_text("[rollout]\nalpha = 0.01\n")
    assert read_plan(file).alpha == 0.01


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("alpha = 2", r"plan.toml:1: alpha: .* \(seen: 2\)"),
        ("beta = 0.1\n\ncolour = 1", "plan.toml:3: colour: is unknown; remove it"),
        ('[rollout]\n\nlease = "soon"', r"plan.toml:3: lease: 'soon' is not a duration"),
        ("[ab]\n\nlift = -1", "plan.toml:3: ab.lift: "),
        ("alpha = ", "plan.toml: not readable as TOML"),
    ],
)
def test_a_mistake_in_a_file_is_told_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "plan.toml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=said):
        read_plan(file)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no such file"):
        read_plan(tmp_path / "none.toml")
    with pytest.raises(SettingsError, match="not readable"):
        read_plan(tmp_path)


# What the settings alone do not show


def spec(settings: RolloutSettings | None = None, **given: Any) -> RolloutSpec:
    fields = {"candidate": CANDIDATE, "baseline": BASELINE, "created_by": "ann"}
    return RolloutSpec(settings=settings or settings_of(), created_at=NOON, **(fields | given))


def test_nothing_speaks_against_another_version() -> None:
    assert check(spec()) == ()


@pytest.mark.parametrize(
    ("wrong", "quarantined", "field", "said"),
    [
        ({"candidate": BASELINE}, False, "candidate", "has the bytes of the baseline churn@1"),
        (  # registered twice
            {"candidate": Version(release="r3", model="churn@3", digest=BASELINE.digest)},
            False, "candidate", "churn@3 has the bytes of the baseline churn@1",
        ),
        (
            {"candidate": Version(release="r1", model="churn@3", digest="d3")},
            False, "candidate", "is the baseline's release",
        ),
        ({}, True, "candidate", "churn@2 is in quarantine"),
        ({"settings": settings_of(strategy="ab")}, False, "unit", "no unit is named"),
    ],
)  # fmt: skip
def test_what_cannot_be_rolled_out_is_refused_with_its_field(
    wrong: dict[str, Any], quarantined: bool, field: str, said: str
) -> None:
    (refusal,) = check(spec(**wrong), quarantined=quarantined)
    assert refusal.field == field
    assert said in refusal.reason


def ab(**given: Any) -> RolloutSettings:
    return settings_of(strategy="ab", unit={"field": "user"}, ab=given)


def test_an_ab_test_with_too_few_users_is_refused_with_those_it_would_need() -> None:
    # A lift of 2 % of 10 is 0.2; with sd 10: 2 · (1.96 + 0.84)² · (10 / 0.2)² ≈ 39,200 users in
    # each arm of a test with one look.
    stated = {"baseline_mean": 10.0, "baseline_sd": 10.0, "looks": 1}
    (refusal,) = check(spec(settings=ab(**stated)))
    assert refusal.field == "ab.min_units"
    assert "user_engagement" in refusal.reason
    assert "it takes 78," in refusal.hint
    assert check(spec(settings=ab(**stated, min_units=79_000))) == ()
    assert check(spec(settings=ab())) == ()  # nothing is known of the baseline
