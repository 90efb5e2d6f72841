"""The two-arm e-process: published values, exactness, error rates, and that it stays finite."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from penstock.stats.e_process import (
    DISTANCES,
    LOG_PRIOR,
    log_e_above,
    log_e_below,
    log_e_beta,
    log_e_worsened,
    rate_interval,
    ratio_interval,
    start_bets,
)

SHARES = (0.1, 0.25, 0.5)
stages = st.lists(
    st.tuples(st.integers(0, 500), st.floats(0, 1)).map(
        lambda pair: (pair[0], int(pair[0] * pair[1]))
    ),
    min_size=3,
    max_size=3,
)


@pytest.mark.parametrize(
    ("events", "candidate", "e"),
    [
        # B(16, 6) · 2²⁰ and B(19, 3) · 2²⁰
        (20, 15, 3.2206),
        (20, 18, 262.801),
    ],
)
def test_the_beta_mixture_at_even_odds(events: int, candidate: int, e: float) -> None:
    # Ramdas et al. 2023, Statistical Science 38: the Bayes factor of a uniform prior at θ₀ = ½.
    assert math.exp(log_e_beta(events, candidate, 0.5)) == pytest.approx(e, rel=1e-5)


def test_a_certain_event_in_an_arm_without_units_is_infinite_evidence() -> None:
    assert log_e_beta(5, 1, 0.0) == math.inf
    assert log_e_beta(0, 0, 0.0) == pytest.approx(0.0)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("ratio", [1.0, 1.5, 2.0])
def test_the_mean_under_the_null_is_one(share: float, ratio: float) -> None:
    # Exact, by adding up over all outcomes of 40 events: Σ P(k)·E(k) = 1.
    theta = share * ratio / (share * ratio + 1 - share)
    k = np.arange(41)
    chances = [math.comb(40, i) * theta**i * (1 - theta) ** (40 - i) for i in range(41)]
    for test in (log_e_above, log_e_below):
        e = np.exp(test(np.full((41, 1), 40), k[:, None], [share], ratio=ratio))
        assert float(chances @ e) == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("true_ratio", [0.3, 0.8, 1.0])
def test_the_mean_is_at_most_one_for_candidates_that_are_better(true_ratio: float) -> None:
    theta = 0.1 * true_ratio / (0.1 * true_ratio + 0.9)
    chances = [math.comb(40, i) * theta**i * (1 - theta) ** (40 - i) for i in range(41)]
    e = np.exp(log_e_above(np.full((41, 1), 40), np.arange(41)[:, None], [0.1]))
    assert float(chances @ e) <= 1 + 1e-9


def test_one_stage_is_the_mixture_written_out() -> None:
    # θ(r) = w·r / (w·r + 1 − w), and Σ prior · (θ/θ₀)ᵏ · ((1 − θ)/(1 − θ₀))ⁿ⁻ᵏ
    n, k, w = 60, 14, 0.1
    ratios = np.exp(DISTANCES)
    theta = w * ratios / (w * ratios + 1 - w)
    expected = (np.exp(LOG_PRIOR) * (theta / w) ** k * ((1 - theta) / (1 - w)) ** (n - k)).sum()
    assert math.exp(log_e_above([n], [k], [w])) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("true_ratio", [1.0, 0.7])
def test_it_is_rarely_ever_above_the_bound_when_nothing_is_wrong(true_ratio: float) -> None:
    # Ville: at most α over all looks. 1,000 streams over three stages, looked at fifty times each;
    # the 99.9 % quantile of Binomial(1000, 0.05) is 72.
    generator = np.random.default_rng(7)
    ever = np.zeros(1000, dtype=bool)
    n, k = np.zeros((1000, 3)), np.zeros((1000, 3))
    for stage, share in enumerate(SHARES):
        theta = share * true_ratio / (share * true_ratio + 1 - share)
        for _ in range(50):
            n[:, stage] += 3
            k[:, stage] += generator.binomial(3, theta, size=1000)
            ever |= log_e_worsened(n, k, SHARES) >= math.log(20)
    assert ever.sum() <= 72


def test_the_certificate_is_rarely_given_to_a_candidate_as_bad_as_tolerated() -> None:
    # 1,000 streams, looked at after each four events; see above.
    generator = np.random.default_rng(8)
    theta = 0.1 * 2 / (0.1 * 2 + 0.9)
    k = generator.binomial(4, theta, size=(1000, 100)).cumsum(axis=1)[..., None]
    n = np.broadcast_to(np.arange(4, 401, 4)[:, None], k.shape)
    e = log_e_below(n, k, [0.1], ratio=2.0)
    assert (e >= math.log(20)).any(axis=1).sum() <= 72


def test_a_doubling_is_found_by_a_hundred_odd_events() -> None:
    # 150 events at w = 10 %: 15 expected in the candidate's arm, 27.3 where its risk is doubled.
    assert log_e_above([150], [27], [0.1]) > math.log(20)
    assert log_e_above([150], [15], [0.1]) < 0
    assert log_e_below([150], [15], [0.1], ratio=2.0) > math.log(20)
    assert log_e_below([150], [27], [0.1], ratio=2.0) < 0


def test_turning_bad_late_is_seen_in_spite_of_a_good_past() -> None:
    # A thousand innocent events first; then twice the risk at half of the traffic: 67 of 100.
    counts = ([1000, 200], [100, 134], [0.1, 0.5])
    assert log_e_above(*counts) < math.log(20) < log_e_worsened(*counts)


def test_stages_not_begun_change_nothing() -> None:
    begun = log_e_worsened([80], [14], [0.1])
    assert log_e_worsened([80, 0, 0], [14, 0, 0], SHARES) == pytest.approx(float(begun), abs=1e-12)


@given(st.integers(1, 12))
def test_no_more_is_bet_than_there_is(stages_begun: int) -> None:
    assert 0 < start_bets(stages_begun).sum() < 1


@given(stages, st.integers(0, 2))
def test_more_of_the_events_in_the_candidates_arm_are_more_evidence(
    counts: list[tuple[int, int]], which: int
) -> None:
    n, k = map(list, zip(*counts, strict=True))
    assume(k[which] < n[which])
    more = k.copy()
    more[which] += 1
    assert log_e_above(n, more, SHARES) > log_e_above(n, k, SHARES)
    # Not strictly: a bet that began later may outweigh all others beyond the sixteenth digit.
    assert log_e_worsened(n, more, SHARES) >= log_e_worsened(n, k, SHARES)
    assert log_e_below(n, more, SHARES, ratio=2.0) < log_e_below(n, k, SHARES, ratio=2.0)


@given(st.integers(0, 400), st.integers(0, 400), st.floats(0, 1), st.floats(0.01, 0.99))
def test_stages_of_one_share_are_one_stage(n: int, m: int, part: float, share: float) -> None:
    k, j = int(n * part), int(m * part)
    apart = log_e_above([n, m], [k, j], [share, share])
    assert apart == pytest.approx(float(log_e_above([n + m], [k + j], [share])), abs=1e-6)


def test_a_stage_without_another_arm_is_no_evidence() -> None:
    assert log_e_above([500], [500], [1.0]) == pytest.approx(0.0, abs=1e-9)
    assert log_e_below([500], [500], [1.0], ratio=2.0) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("candidate", [0, 10**8 - 10**5, 10**8, 10**8 + 10**5, 10**9])
def test_a_billion_events_stay_finite_and_keep_their_sense(candidate: int) -> None:
    worse = float(log_e_above([10**9], [candidate], [0.1]))
    within = float(log_e_below([10**9], [candidate], [0.1], ratio=2.0))
    assert math.isfinite(worse)
    assert math.isfinite(within)
    assert (worse > 100) == (candidate == 10**9)
    assert (within > 100) == (candidate < 10**9)
    assert math.isfinite(log_e_beta(10**9, candidate, 0.1))


def test_the_interval_of_the_ratio_holds_what_neither_test_rejects() -> None:
    counts = ([150, 90], [27, 33], [0.1, 0.25])
    low, high = ratio_interval(*counts, alpha=0.05)
    assert low < 2 < high
    bound = math.log(40)
    assert log_e_above(*counts, ratio=low * 0.97) > bound > log_e_above(*counts, ratio=low * 1.05)
    assert log_e_below(*counts, ratio=high * 1.05) > bound > log_e_below(*counts, ratio=high * 0.95)


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        (([0], [0], [0.1]), 0.0, math.inf),  # nothing is known
        (([40], [40], [1.0]), 0.0, math.inf),  # nobody to compare with
    ],
)
def test_ends_that_the_counts_leave_open(
    counts: tuple[list[int], list[int], list[float]], low: float, high: float
) -> None:
    assert ratio_interval(*counts, alpha=0.05) == (low, high)


def test_one_arm_alone_opens_one_end() -> None:
    low, high = ratio_interval([40], [40], [0.1], alpha=0.05)
    assert low > 9
    assert high == math.inf
    low, high = ratio_interval([100], [0], [0.1], alpha=0.05)
    assert low == 0
    assert high < 1


def test_the_interval_of_a_rate_covers_at_all_looks() -> None:
    # 100 streams of 4,000 trials at 1 %, looked at ten times; 99.9 % of Binomial(100, 0.05): 13.
    generator = np.random.default_rng(9)
    missed = 0
    for _ in range(100):
        bad = (generator.random(4000) < 0.01).cumsum()[399::400]
        ends = [rate_interval(400 * (i + 1), float(b), alpha=0.05) for i, b in enumerate(bad)]
        missed += any(not low <= 0.01 <= high for low, high in ends)
    assert missed <= 13
