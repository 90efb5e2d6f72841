"""The judge of guardrails: what passes, what fails, and what is not enough."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.rollout.evidence import ArmEvidence, StageEvidence
from penstock.rollout.judge.guardrails import judge_stage, limit_of, rollback_bound
from penstock.rollout.judge.verdicts import Judgement, Verdict
from penstock.rollout_settings import RolloutSettings

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PASS, FAIL, INSUFFICIENT, ERROR = Judgement
SEED = RolloutSettings()


def arm(requests: int, errors: int = 0, **more: Any) -> ArmEvidence:
    """Where nothing else is said, each bad answer is a unit of its own."""
    slow = more.get("slow", 0)
    given = {"errors": errors, "error_units": errors, "slow_units": slow}
    return ArmEvidence(requests=requests, **(given | more))


def stage(candidate: ArmEvidence, baseline: ArmEvidence, **more: Any) -> StageEvidence:
    given = {"stage": 0, "weight": 0.1, "seconds": 7200.0, "last_seen": NOW}
    return StageEvidence(candidate=candidate, baseline=baseline, **(given | more))


def of(metric: str, *stages: StageEvidence, **settings: Any) -> Verdict:
    """The verdict on one metric, with the default plan unless something else is said."""
    plan = RolloutSettings.model_validate(settings) if settings else SEED
    verdicts = judge_stage(plan, stages, now=NOW)
    return next(verdict for verdict in verdicts if verdict.metric == metric)


def at_the_end(errors: int, requests: int = 20_000) -> tuple[StageEvidence, StageEvidence]:
    """The candidate has all traffic; before, both arms had 1 %: 1,200 of 120,000 the baseline."""
    return (
        stage(arm(40_000, 400), arm(120_000, 1200), stage=1, weight=0.25),
        stage(arm(requests, errors), arm(0), stage=3, weight=1.0),
    )


@pytest.mark.parametrize(
    ("candidate", "baseline", "judgement", "says"),
    [
        # 28 of 146 errors at a share of 10 %: 14.6 expected, 26.5 if doubled
        (arm(1310, 28), arm(11_800, 118), FAIL, "errors 2.1 % of 1,310 requests against 1 % of"),
        # 13 of 131: as many as expected, yet twice as many are not excluded at 1/20
        (arm(1310, 13), arm(11_800, 118), INSUFFICIENT, "of 40 needed to roll back"),
        # 30 of 300: twice as many are excluded
        (arm(3000, 30), arm(27_000, 270), PASS, "surely less than 2 times the baseline's risk"),
        # none in 6,000: (1 − 0.001)⁻⁶⁰⁰⁰ = 403, mixed over the prior still above 20
        (arm(6000, 0), arm(54_000, 3), PASS, "surely below 0.1 %, which is negligible"),
        # none in 1,000 is no proof, whatever the limit of 5 %
        (arm(1000, 0), arm(9000, 0), INSUFFICIENT, "needed to roll back"),
        # an outage: 30 % in both arms
        (arm(1000, 300), arm(9000, 2700), INSUFFICIENT, "both arms are above the limit of 5 %"),
        # far above the limit, in the candidate alone
        (arm(200, 60), arm(1800, 18), FAIL, "needed to roll back"),
    ],
)
def test_errors_beside_a_baseline(
    candidate: ArmEvidence, baseline: ArmEvidence, judgement: Judgement, says: str
) -> None:
    verdict = of("error_rate", stage(candidate, baseline))
    assert (verdict.judgement, says in verdict.reason) == (judgement, True), verdict.reason


@pytest.mark.parametrize(
    ("errors", "judgement", "says"),
    [
        (200, PASS, "at most 1.4 times the 1 % that the baseline had before"),
        # 1.8 %: above the limit of 1 %, but a change by the time of day is not excluded
        (360, INSUFFICIENT, "above the limit of 1 %"),
        # 4 %: surely more than twice the 1 % that the baseline had before
        (800, FAIL, "a rollback needs 2"),
    ],
)
def test_errors_with_all_traffic(errors: int, judgement: Judgement, says: str) -> None:
    verdict = of("error_rate", *at_the_end(errors))
    assert (verdict.judgement, says in verdict.reason) == (judgement, True), verdict.reason


def test_earlier_stages_do_not_certify_all_traffic() -> None:
    # 0.2 % in 500 requests: one error; between a fraction and many times of 1 %.
    verdict = of("error_rate", *at_the_end(10, requests=500))
    assert verdict.numbers["certificate"] > verdict.numbers["certificate_bound"]
    assert verdict.judgement is INSUFFICIENT


def test_a_limit_alone_never_certifies() -> None:
    # Green alone, 1 % of errors, a limit of 5 %, and nothing to compare with.
    alone = stage(arm(20_000, 200), arm(0), stage=1, weight=1.0)
    verdict = of("error_rate", alone, strategy="blue_green")
    assert verdict.judgement is INSUFFICIENT
    assert "no baseline to compare with" in verdict.reason


def test_blue_green_compares_with_blue_before_the_switch() -> None:
    before = stage(arm(0), arm(20_000, 200), stage=0, weight=0.0)
    after = stage(arm(20_000, 200), arm(0), stage=1, weight=1.0)
    assert of("error_rate", before, after, strategy="blue_green").judgement is PASS
    bad = stage(arm(20_000, 1400), arm(0), stage=1, weight=1.0)
    assert of("error_rate", before, bad, strategy="blue_green").judgement is FAIL


def test_errors_of_one_user_are_one_event() -> None:
    # 40 errors in the candidate's arm of 140, twice too many: but one user had 30 of them.
    clustered = arm(1300, 40, error_units=11)
    assert of("error_rate", stage(clustered, arm(11_700, 100))).judgement is INSUFFICIENT
    assert of("error_rate", stage(arm(1300, 40), arm(11_700, 100))).judgement is FAIL


def test_a_candidate_that_turns_bad_late_is_rolled_back() -> None:
    innocent = stage(arm(10_000, 100), arm(90_000, 900))
    late = stage(arm(5000, 100), arm(5000, 50), stage=2, weight=0.5)
    assert of("error_rate", innocent).judgement is PASS
    assert of("error_rate", innocent, late).judgement is FAIL


@pytest.mark.parametrize(
    ("slow", "baseline_slow", "judgement"),
    [
        # 2 % and 2 % of the answers; the limit is 5 %
        (400, 3600, PASS),
        # 3 % against 2 %: surely slower, surely less than twice, within the limit
        (600, 3600, PASS),
        # 4.5 % against 1 %: within the limit, but it does not pass
        (900, 1800, INSUFFICIENT),
        # 8 % against 2 %
        (1600, 3600, FAIL),
        # 8 % in both arms: the machine is slow
        (1600, 14_400, INSUFFICIENT),
    ],
)
def test_latency_is_judged_by_the_share_of_slow_answers(
    slow: int, baseline_slow: int, judgement: Judgement
) -> None:
    both = stage(arm(20_000, slow=slow), arm(180_000, slow=baseline_slow))
    verdict = of("latency_p95", both)
    assert verdict.judgement is judgement, verdict.reason


def test_little_traffic_within_the_latency_limit_is_enough() -> None:
    # 150 requests prove nothing about twice the baseline's 0.5 %, but that it is not 5 %.
    few = stage(arm(150, slow=1), arm(1350, slow=7))
    verdict = of("latency_p95", few)
    assert verdict.judgement is PASS
    assert "surely within the limit of 5 %" in verdict.reason
    # What was seen at little load does not count at all of it.
    later = stage(arm(20, slow=0), arm(0), stage=3, weight=1.0)
    assert of("latency_p95", few, later).judgement is INSUFFICIENT


def test_a_business_event_without_feedback_is_no_pass() -> None:
    rails = ["event:refund"]
    nothing = of("event:refund", stage(arm(60_000), arm(540_000)), guardrails=rails)
    assert (nothing.judgement, "no feedback" in nothing.reason) == (INSUFFICIENT, True)
    told = stage(arm(6000, events={"refund": 60}), arm(54_000, events={"refund": 200}))
    assert of("event:refund", told, guardrails=rails).judgement is FAIL


@pytest.mark.parametrize(
    ("candidate", "judgement"),
    [
        ({4: 1500, 5: 1500}, PASS),
        # PSI of (.9, .1) and (.5, .5): .4·ln(.9/.5) + .4·ln(.5/.1) = 0.88
        ({4: 2700, 5: 300}, FAIL),
        # so few that chance alone makes as much
        ({4: 6, 5: 4}, INSUFFICIENT),
    ],
)
def test_prediction_drift_holds(candidate: dict[int, int], judgement: Judgement) -> None:
    both = stage(arm(3000, predictions=candidate), arm(27_000, predictions={4: 13_500, 5: 13_500}))
    verdict = of("prediction_drift", both)
    assert (verdict.judgement, verdict.action) == (judgement, "hold"), verdict.reason


def test_drift_is_compared_side_by_side_only() -> None:
    beside = stage(arm(3000, predictions={4: 3000}), arm(27_000, predictions={4: 27_000}))
    alone = stage(arm(9000, predictions={9: 9000}), arm(0), stage=3, weight=1.0)
    assert of("prediction_drift", beside, alone).judgement is PASS


@pytest.mark.parametrize(
    ("evidence", "judgement", "says"),
    [
        # none of 500 reached a share of 10 %: a chance of 0.9⁵⁰⁰
        (stage(arm(0), arm(500)), ERROR, "none of 500 requests reached the candidate"),
        (stage(arm(500), arm(0)), ERROR, "none of 500 requests reached the baseline"),
        # of 20 requests none may well come: 0.9²⁰ = 12 %
        (stage(arm(0), arm(20)), INSUFFICIENT, "no requests of the candidate yet"),
        (stage(arm(0), arm(500), seconds=60.0), INSUFFICIENT, "no requests of the candidate yet"),
        (stage(arm(0), arm(0), last_seen=None), ERROR, "nothing was observed for 120 minutes"),
        (stage(arm(0), arm(0), last_seen=None, seconds=60.0), INSUFFICIENT, "no requests"),
        # two requests a second, and then ten minutes of silence
        (
            stage(arm(1400), arm(13_000), last_seen=NOW - timedelta(minutes=10)),
            ERROR,
            "nothing was observed for 10 minutes",
        ),
        (stage(arm(0), arm(900), weight=0.0), INSUFFICIENT, "the candidate has no traffic"),
    ],
)
def test_missing_data(evidence: StageEvidence, judgement: Judgement, says: str) -> None:
    for verdict in judge_stage(SEED, [evidence], now=NOW):
        assert (verdict.judgement, says in verdict.reason) == (judgement, True), verdict.reason


def test_rare_traffic_is_no_broken_source() -> None:
    # Six requests an hour; the last came ten minutes ago.
    rare = stage(arm(2), arm(10), last_seen=NOW - timedelta(minutes=10))
    assert of("error_rate", rare).judgement is INSUFFICIENT


def test_those_that_may_roll_back_share_the_budget() -> None:
    # error_rate and latency_p95 of the default plan; prediction_drift only holds
    assert rollback_bound(SEED) == pytest.approx(2 / 0.05)
    four = ["error_rate", "latency_p95", "event:refund", "event:complaint"]
    assert rollback_bound(RolloutSettings.model_validate({"guardrails": four})) == 4 / 0.05


def test_the_limits_are_those_of_the_plan() -> None:
    errors, latency = SEED.guardrails[:2]
    assert [limit_of(SEED, errors, i) for i in range(5)] == [0.05, 0.03, 0.02, 0.01, 0.01]
    assert limit_of(SEED, latency, 0) == 0.05


def test_a_verdict_names_its_numbers() -> None:
    numbers = of("error_rate", stage(arm(1310, 28), arm(11_800, 118))).numbers
    assert numbers["candidate_rate"] == pytest.approx(28 / 1310)
    assert numbers["baseline_rate"] == pytest.approx(118 / 11_800)
    assert numbers["candidate_low"] < numbers["candidate_rate"] < numbers["candidate_high"]
    # Mantel and Haenszel, one stage: 28·0.9 / (118·0.1)
    assert numbers["ratio"] == pytest.approx(25.2 / 11.8)
    assert numbers["ratio_low"] < numbers["ratio"] < numbers["ratio_high"]
    assert numbers["e"] > numbers["bound"] == 40


counts = st.integers(0, 5000)
arms = st.tuples(counts, st.floats(0, 1), st.floats(0, 1)).map(
    lambda drawn: arm(
        drawn[0],
        int(drawn[0] * drawn[1]),
        slow=int(drawn[0] * drawn[2]),
        predictions={5: drawn[0]} if drawn[0] else {},
    )
)
evidence = st.lists(st.tuples(arms, arms), min_size=1, max_size=4).map(
    lambda pairs: [
        stage(*pair, stage=i, weight=SEED.stages[i].weight) for i, pair in enumerate(pairs)
    ]
)


@given(evidence)
def test_nothing_passes_without_requests_of_the_candidate(stages: list[StageEvidence]) -> None:
    empty = stages[-1].model_copy(update={"candidate": ArmEvidence()})
    verdicts = judge_stage(SEED, [*stages[:-1], empty], now=NOW)
    assert len(verdicts) == 3
    assert all(verdict.judgement in (INSUFFICIENT, ERROR) for verdict in verdicts)


@given(evidence, st.integers(1, 400))
def test_more_errors_of_the_candidate_never_help_it(stages: list[StageEvidence], more: int) -> None:
    last = stages[-1].candidate
    worse = last.model_copy(
        update={
            "requests": last.requests + more,
            "errors": last.errors + more,
            "error_units": last.error_units + more,
        }
    )
    bad = [*stages[:-1], stages[-1].model_copy(update={"candidate": worse})]
    before, after = of("error_rate", *stages), of("error_rate", *bad)
    assert not (before.judgement is FAIL and after.judgement is PASS)
    if before.numbers and after.numbers:
        assert after.numbers["e"] >= before.numbers["e"] * (1 - 1e-9)


@given(evidence)
def test_what_is_judged_can_be_stored(stages: list[StageEvidence]) -> None:
    for verdict in judge_stage(SEED, stages, now=NOW):
        assert verdict.reason
        assert Verdict.model_validate_json(verdict.model_dump_json()).judgement is verdict.judgement
