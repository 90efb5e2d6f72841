"""Confidence sequences, the sample ratio and paired tests: published vectors and error rates."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.stats.confidence_sequences import (
    Interval,
    asymptotic_interval,
    log_e_value,
    normal_log_mixture,
    normal_mixture_bound,
)
from penstock.stats.e_process import log_e_above, log_e_below
from penstock.stats.paired import (
    PairedSums,
    equivalence,
    log_e_discordant,
    log_e_rate_above,
    log_e_rate_below,
    log_e_worse,
    mcnemar,
    mean_interval,
    rate_interval,
)
from penstock.stats.sample_ratio import chi_square_p, log_e_mismatch, log_e_multinomial

EVEN = (0.5, 0.5)


@pytest.mark.parametrize(("one_sided", "bound"), [(False, 30.35209), (True, 27.66071)])
def test_the_normal_mixture_is_that_of_confseq(one_sided: bool, bound: float) -> None:
    # confseq (Howard et al.): normal_mixture_bound(v=100, alpha=0.05, v_opt=100, alpha_opt=0.05)
    found = normal_mixture_bound(100, 0.05, v_opt=100, one_sided=one_sided)
    assert found == pytest.approx(bound, abs=1e-5)
    at_bound = normal_log_mixture(found, 100, v_opt=100, one_sided=one_sided)
    assert at_bound == pytest.approx(math.log(20))


def test_an_interval_leaves_out_zero_exactly_when_the_evidence_says_so() -> None:
    for z in (3.0, 3.02, 3.04, 3.06, 3.5):
        interval = asymptotic_interval(z, 1.0, 5_000, alpha=0.05, tightest_at=5_000)
        evidence = log_e_value(z, 5_000, tightest_at=5_000)
        assert (interval.low > 0) == (evidence > math.log(20))


def test_few_observations_say_nothing() -> None:
    nothing = asymptotic_interval(1.0, 0.01, 99, alpha=0.05, tightest_at=1_000)
    assert nothing == Interval(-math.inf, math.inf)
    assert mean_interval(PairedSums(), alpha=0.05, tightest_at=10) == nothing


def test_an_always_valid_interval_misses_the_mean_no_more_often_than_said() -> None:
    # 2,000 streams of skewed values, asked after every one from 100 to 2,000: at most 5 % may
    # ever miss; above 0.066 = 0.05 + 3.09·√(0.05·0.95/2,000) would be no chance.
    generator = np.random.default_rng(8)
    values = generator.exponential(1.0, (2_000, 2_000))
    n = np.arange(1, 2_001)
    mean = values.cumsum(axis=1) / n
    variance = (values**2).cumsum(axis=1) / n - mean**2
    half = np.array([normal_mixture_bound(k, 0.05, v_opt=1_000) / k for k in n])
    missed = (np.abs(mean - 1.0) > half * np.sqrt(variance))[:, 99:].any(axis=1).mean()
    assert 0.005 < missed < 0.066


def test_the_sample_ratio_of_two_large_arms() -> None:
    # Kohavi, Tang and Xu 2020, Trustworthy Online Controlled Experiments, ch. 21
    assert chi_square_p([821_588, 815_482], EVEN) == pytest.approx(1.82e-6, rel=2e-3)


@pytest.mark.parametrize(("heads", "e_value"), [(15, 3.2206), (18, 262.801)])
def test_e_values_of_a_uniform_prior(heads: int, e_value: float) -> None:
    # Lindon and Malek 2022: B(k+1, n−k+1)·2ⁿ with n = 20
    log_e = log_e_multinomial([heads, 20 - heads], EVEN, [1, 1])
    assert math.exp(log_e) == pytest.approx(e_value, rel=1e-5)


@given(st.lists(st.floats(0.05, 1), min_size=2, max_size=4), st.data())
@settings(max_examples=60, deadline=None)
def test_the_next_unit_is_worth_one_on_average(weights: list[float], data: st.DataObject) -> None:
    shares = [weight / sum(weights) for weight in weights]
    counts = data.draw(st.lists(st.integers(0, 500), min_size=len(shares), max_size=len(shares)))
    now = log_e_mismatch(counts, shares)
    following = [
        share
        * math.exp(
            log_e_mismatch([*counts[:arm], counts[arm] + 1, *counts[arm + 1 :]], shares) - now
        )
        for arm, share in enumerate(shares)
    ]
    assert sum(following) == pytest.approx(1.0, abs=1e-6)


def test_sound_arms_are_hardly_ever_called_mismatched() -> None:
    # 2,000 experiments of 20,000 units, looked at after every hundred: p < 0.001 in 2 expected,
    # 9 or more in one of a thousand such simulations.
    generator = np.random.default_rng(9)
    treatment = generator.binomial(100, 0.5, (2_000, 200)).cumsum(axis=1)
    alarms = 0
    for run in treatment[:, ::10]:
        alarms += any(
            log_e_mismatch([1_000 * (k + 1) - 900 - int(t), int(t)], EVEN) > math.log(1_000)
            for k, t in enumerate(run)
        )
    assert alarms < 9


@pytest.mark.parametrize(
    ("counts", "found"),
    [
        ((600, 400), True),  # gross: within a thousand units
        ((505_000, 495_000), True),  # one in a hundred sent to the wrong arm, a million units
        ((500_700, 499_300), False),  # 1.4 standard errors
        ((0, 0), False),
    ],
)
def test_units_sent_to_the_wrong_arm_are_found(counts: tuple[int, int], found: bool) -> None:
    assert (log_e_mismatch(counts, EVEN) > math.log(1_000)) is found


def test_mcnemar_of_121_and_59() -> None:
    # statsmodels 0.15.0: mcnemar([[0, 121], [59, 0]], exact=False, correction=False)
    tested = mcnemar(121, 59)
    assert tested.statistic == pytest.approx(21.3556, abs=5e-5)
    assert tested.p == pytest.approx(3.815135865112594e-06)
    assert mcnemar(0, 0).p == 1.0


def test_sequential_mcnemar_takes_the_side_of_the_evidence() -> None:
    assert log_e_discordant(121, 59) == pytest.approx(log_e_discordant(59, 121))
    assert log_e_discordant(121, 59) > math.log(1_000)
    assert log_e_worse(121, 59) > math.log(1_000)  # the baseline alone was right more often
    assert log_e_worse(59, 121) < 0
    assert log_e_discordant(0, 0) == pytest.approx(0.0)


def test_rates_are_told_from_their_limit_both_ways() -> None:
    bound = math.log(20)
    assert log_e_rate_above(200, 10_000, 0.01) > bound
    assert log_e_rate_below(200, 10_000, 0.01) < 0
    assert log_e_rate_below(50, 10_000, 0.01) > bound
    assert log_e_rate_above(100, 10_000, 0.01) < bound
    assert log_e_rate_below(100, 10_000, 0.01) < bound


@given(st.integers(0, 400), st.integers(0, 20_000), st.floats(0.001, 0.3))
@settings(max_examples=60, deadline=None)
def test_an_interval_of_a_rate_holds_what_was_seen(hits: int, others: int, near: float) -> None:
    trials = hits + others
    low, high = rate_interval(hits, trials, near=near, alpha=0.05)
    assert 0 <= low <= high <= 1
    if trials:
        assert low <= hits / trials <= high


def test_a_rate_at_its_limit_is_hardly_ever_called_above_or_below() -> None:
    # 1,000 streams of 10,000 pairs at exactly the limit, asked after each fiftieth: at most 5 %
    # each way; 0.0713 = 0.05 + 3.09·√(0.05·0.95/1,000).
    generator = np.random.default_rng(10)
    hits = generator.binomial(50, 0.01, (1_000, 200)).cumsum(axis=1)
    trials = np.arange(50, 10_001, 50)
    shaped = np.broadcast_to(trials, hits.shape)[..., None]
    for test in (log_e_above, log_e_below):
        log_e = test(shaped, hits[..., None], [0.01], ratio=1.0)
        assert (log_e >= math.log(20)).any(axis=1).mean() < 0.0713


@pytest.mark.parametrize(
    ("interval", "answer"),
    [
        ((-0.1, 0.1), "within"),
        ((-0.2, 0.2), "within"),  # the margins belong to it
        ((-0.3, 0.1), "open"),
        ((0.1, 0.3), "open"),
        ((0.21, 0.3), "beyond"),
        ((-0.3, -0.21), "beyond"),
        ((-math.inf, math.inf), "open"),
    ],
)
def test_equivalence_by_an_interval(interval: tuple[float, float], answer: str) -> None:
    assert equivalence(Interval(*interval), low=-0.2, high=0.2) == answer
