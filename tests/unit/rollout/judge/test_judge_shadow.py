"""A shadow is judged pair by pair, and by what is missing too."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.rollout.judge.shadow import (
    ShadowEvidence,
    ShadowLimits,
    judge_shadow,
)
from penstock.rollout.judge.verdicts import Judgement, Verdict
from penstock.stats.paired import PairedSums

LIMITS = ShadowLimits()


def sums(n: int, mean: float, sd: float = 0.3) -> PairedSums:
    return PairedSums(n, n * mean, n * (mean * mean + sd * sd))


SOUND = ShadowEvidence(
    seconds=3 * 86_400,
    pairs=10_000,
    disagreements=40,
    log_latency=sums(10_000, math.log(1.05)),
    difference=25.0,
    differences={79: 9_000, 114: 1_000},  # 0.001 and 0.02
    baseline_requests=10_000,
    candidate_requests=10_000,
    baseline_cpu_us=2_000_000,
    candidate_cpu_us=2_400_000,
    baseline_memory_bytes=200_000_000,
    candidate_memory_bytes=250_000_000,
)


def judged(limits: ShadowLimits = LIMITS, **changed: object) -> dict[str, Verdict]:
    verdicts = judge_shadow(SOUND.model_copy(update=changed), limits)
    return {verdict.metric: verdict for verdict in verdicts}


def test_a_sound_shadow_passes_every_question() -> None:
    verdicts = judged()
    assert set(verdicts) == {
        "disagreement",
        "dropped",
        "latency_ratio",
        "cpu_ratio",
        "memory_ratio",
    }
    assert {verdict.judgement for verdict in verdicts.values()} == {Judgement.PASS}
    disagreement = verdicts["disagreement"]
    assert disagreement.numbers["rate"] == pytest.approx(0.004)
    assert disagreement.numbers["low"] < 0.004 < disagreement.numbers["high"] < 0.01
    assert disagreement.numbers["mean_difference"] == pytest.approx(0.0025)
    assert disagreement.numbers["p99_difference"] == pytest.approx(0.02, rel=0.1)
    assert "40 of 10,000 (0.400%" in disagreement.reason
    assert verdicts["latency_ratio"].numbers["ratio"] == pytest.approx(1.05)


@pytest.mark.parametrize(
    ("metric", "changed", "judgement"),
    [
        ("disagreement", {"disagreements": 200}, Judgement.FAIL),
        ("disagreement", {"disagreements": 100}, Judgement.INSUFFICIENT),  # 1 % exactly
        ("disagreement", {"failed": 200}, Judgement.FAIL),  # no answer is no agreement
        ("dropped", {"dropped": 300}, Judgement.FAIL),
        ("dropped", {"dropped": 20}, Judgement.PASS),
        ("latency_ratio", {"log_latency": sums(10_000, math.log(1.3))}, Judgement.FAIL),
        ("latency_ratio", {"log_latency": sums(10_000, math.log(1.2))}, Judgement.INSUFFICIENT),
        ("latency_ratio", {"log_latency": sums(10_000, math.log(0.5))}, Judgement.PASS),
        ("latency_ratio", {"log_latency": sums(99, math.log(9.0))}, Judgement.INSUFFICIENT),
        ("latency_ratio", {"log_latency": PairedSums()}, Judgement.INSUFFICIENT),
        ("cpu_ratio", {"candidate_cpu_us": 4_100_000}, Judgement.FAIL),
        ("cpu_ratio", {"candidate_cpu_us": 0}, Judgement.INSUFFICIENT),  # not measured
        # a half of the requests mirrored: twice the seconds a request
        ("cpu_ratio", {"candidate_requests": 5_000}, Judgement.FAIL),
        ("memory_ratio", {"candidate_memory_bytes": 500_000_000}, Judgement.FAIL),
        ("memory_ratio", {"candidate_memory_bytes": 400_000_000}, Judgement.PASS),
        ("memory_ratio", {"pairs": 999}, Judgement.INSUFFICIENT),
    ],
)
def test_each_question_has_its_limit(
    metric: str, changed: dict[str, object], judgement: Judgement
) -> None:
    verdict = judged(**changed)[metric]
    assert verdict.judgement is judgement, verdict.reason


def test_resources_hold_and_do_not_roll_back() -> None:
    assert judged(candidate_cpu_us=9_000_000)["cpu_ratio"].action == "hold"
    assert judged(disagreements=900)["disagreement"].action == "rollback"


def test_no_mirrored_request_is_an_error_and_not_a_pass() -> None:
    [verdict] = judge_shadow(ShadowEvidence(seconds=600), LIMITS)
    assert verdict.judgement is Judgement.ERROR
    assert verdict.reason == "no request was mirrored in 600 s"


def test_a_shadow_that_only_fails_is_found_out() -> None:
    hung = judge_shadow(ShadowEvidence(seconds=60, failed=50), LIMITS)
    assert hung[0].judgement is Judgement.FAIL
    assert Judgement.PASS not in {verdict.judgement for verdict in hung}
    full = judge_shadow(ShadowEvidence(seconds=60, dropped=50), LIMITS)
    assert {verdict.metric for verdict in full if verdict.judgement is Judgement.FAIL} == {
        "dropped"
    }


@pytest.mark.parametrize(
    ("labelled", "baseline", "candidate", "judgement"),
    [
        (4_000, 121, 59, Judgement.FAIL),  # 1.55 % lost; McNemar 21.4
        (40_000, 121, 59, Judgement.PASS),  # worse, but by 0.16 %: less than the 1 % allowed
        (4_000, 59, 121, Judgement.PASS),
        (4_000, 60, 60, Judgement.PASS),
        (4_000, 80, 70, Judgement.INSUFFICIENT),  # 0.25 % lost, give or take 0.9 %
        (150, 0, 0, Judgement.INSUFFICIENT),  # none seen is not none to come
        (0, 0, 0, Judgement.INSUFFICIENT),
    ],
)
def test_labels_are_compared_by_discordant_pairs(
    labelled: int, baseline: int, candidate: int, judgement: Judgement
) -> None:
    limits = dataclasses.replace(LIMITS, max_accuracy_loss=0.01)
    verdict = judged(
        limits,
        labelled=labelled,
        baseline_alone_right=baseline,
        candidate_alone_right=candidate,
    )["accuracy"]
    assert verdict.judgement is judgement, verdict


def test_limits_of_none_of_zero_and_of_all() -> None:
    unlimited = dataclasses.replace(LIMITS, max_cpu_ratio=None, max_memory_ratio=None)
    assert not {"cpu_ratio", "memory_ratio"} & set(judged(unlimited))
    strict = dataclasses.replace(LIMITS, max_disagreement=0.0)
    assert judged(strict)["disagreement"].judgement is Judgement.FAIL
    assert judged(strict, disagreements=0)["disagreement"].judgement is Judgement.INSUFFICIENT
    lenient = dataclasses.replace(LIMITS, max_disagreement=1.0)
    assert judged(lenient, pairs=900, disagreements=900)["disagreement"].judgement is Judgement.PASS


counts = st.integers(0, 10**6)


@given(pairs=counts, share=st.floats(0, 1), failed=counts, dropped=counts, labelled=counts)
@settings(max_examples=150, deadline=None)
def test_every_evidence_has_an_answer_in_plain_json(
    pairs: int, share: float, failed: int, dropped: int, labelled: int
) -> None:
    evidence = ShadowEvidence(
        pairs=pairs,
        disagreements=round(share * pairs),
        failed=failed,
        dropped=dropped,
        log_latency=sums(pairs, share),
        labelled=labelled,
        baseline_alone_right=round(share * labelled / 2),
    )
    assert ShadowEvidence.model_validate_json(evidence.model_dump_json()) == evidence
    for verdict in judge_shadow(evidence, dataclasses.replace(LIMITS, max_accuracy_loss=0.01)):
        assert verdict.reason
        assert all(math.isfinite(number) for number in verdict.numbers.values())
        assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict


@pytest.mark.slow  # 100 shadows, judged twenty times each
@pytest.mark.slow
def test_a_shadow_at_its_limits_is_failed_no_more_often_than_alpha() -> None:
    # Disagreement and latency exactly at their limits: alpha/3 each; 99.9 % of
    # Binomial(100, 2·0.05/3) is 10.
    generator = np.random.default_rng(14)
    failed = 0
    for _ in range(100):
        hits = generator.binomial(500, 0.01, 20).cumsum()
        logs = generator.normal(math.log(1.2), 0.4, (20, 500))
        totals, squares = logs.sum(axis=1).cumsum(), (logs**2).sum(axis=1).cumsum()
        for look in range(20):
            n = 500 * (look + 1)
            verdicts = judge_shadow(
                ShadowEvidence(
                    pairs=n,
                    disagreements=int(hits[look]),
                    log_latency=PairedSums(n, float(totals[look]), float(squares[look])),
                ),
                LIMITS,
            )
            if any(verdict.judgement is Judgement.FAIL for verdict in verdicts):
                failed += 1
                break
    assert failed <= 10
